"""Ask a vision-language model whether an object is there, one question per name: a model as its own detector.

    score(name) = p(yes) / (p(yes) + p(no)) at the first token of the answer to "Is there a NAME in the image?"

Any image-text-to-text model can be used, even the one whose captions are checked: asked about one object, a model is
often right where its caption was wrong. But a model that judges itself keeps its blind spots, so it is a weaker witness
than another model. There are no boxes, so neither counts nor relations are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.detectors.checkpoints import Device
from halluguard.detectors.questions import VisualQuestions
from halluguard.errors import SettingsError
from halluguard.images import limit_size
from halluguard.records import Box
from halluguard.vocabulary import article

QUESTION = "Is there {a} {name} in the image?"
"""The question, with {name} and, where wanted, its article {a}."""


class SelfCheck:
    """A vision-language model as a detector without boxes: every phrase gets its probability of "yes".

    Args:
        model, processor: image-text-to-text model and its processor.
        name: name in verdicts; default that of the model.
        question: the question, with {name} and {a}.
        thresholds: scores at which support ends and contradiction begins, (high, low); between them is "unsure". Fit
            them to a model with `halluguard calibrate`.

    >>> from halluguard import sandbox
    >>> expert = SelfCheck(*sandbox.load_mllm())
    >>> scene = sandbox.scenes(1)[0]
    >>> [[box]] = expert.detect([scene.image], [[scene.names[0]]])
    >>> box.score > 0.5
    True
    """

    needs_image = True

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        name: str | None = None,
        question: str = QUESTION,
        thresholds: tuple[float, float] = (0.6, 0.4),
    ) -> None:
        if "{name}" not in question:
            raise SettingsError(f"the question must have {{name}}, got {question!r}; the default is {QUESTION!r}")
        self.questions = VisualQuestions(model, processor, name=name)
        self.name, self.question, self.thresholds = f"self-check:{self.questions.name}", question, thresholds

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: Device = None, dtype: torch.dtype | str | None = None, **options: Any
    ) -> Self:
        """Load a model of the hub or a folder; arguments as of `VisualQuestions.from_pretrained`, options of the class.

        Raises:
            UnsupportedModelError: it is not a model that answers questions about images.
        """
        questions = VisualQuestions.from_pretrained(name, device=device, dtype=dtype)
        return cls(questions.model, questions.processor, **{"name": questions.name, **options})

    def covers(self, phrase: str) -> bool:
        """Whether the model can be asked: any phrase with a letter."""
        return any(letter.isalpha() for letter in phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """A box without a place for every phrase; its score is the probability of "yes".

        Raises:
            ExpertError: the model failed, or its output is not finite.
        """
        return [
            [Box(phrase, self._score(image, phrase), phrase=i) for i, phrase in enumerate(own) if self.covers(phrase)]
            for image, own in zip(images, phrases, strict=True)
        ]

    def _score(self, image: Image, phrase: str) -> float:
        words = phrase.removeprefix("a ").removeprefix("an ")
        shown, _ = limit_size(image)
        yes, no = self.questions.answer_probabilities(shown, self.question.format(name=words, a=article(words)))
        return min(1.0, yes / (yes + no)) if yes + no > 0 else 0.5
