"""Ask a vision-language model whether an object is there, one question per name: a model as its own detector.

    score(name) = p(yes) / (p(yes) + p(no)) at the first token of the answer to "Is there a NAME in the image?"

Any image-text-to-text model can be used, even the one whose captions are checked: asked about one object, a model is
often right where its caption was wrong. But a model that judges itself keeps its blind spots, so it is a weaker witness
than another model. There are no boxes, so neither counts nor relations are judged.

`two_branch_scores` is cheaper and says less: what the image added to a word where the caption has it. It is a prior on
which names to doubt first and contradicts nothing. A third way, a probe on the model's states that a detector's
verdicts have taught, is in `taught_probe.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.chat_templates import render_chat
from halluguard.detectors.checkpoints import Device, model_signature
from halluguard.detectors.failures import expert_errors
from halluguard.detectors.questions import VisualQuestions
from halluguard.errors import ExpertError, InputError, SettingsError, UnsupportedModelError
from halluguard.images import limit_size
from halluguard.records import Box
from halluguard.vocabulary import article

QUESTION = "Is there {a} {name} in the image?"
"""The question, with {name} and, where wanted, its article {a}."""


class AskedModel(ABC):
    """A detector without boxes that asks its model about one phrase at a time; every phrase gets a score in [0, 1]."""

    needs_image = True

    def covers(self, phrase: str) -> bool:
        """Whether the model can be asked: any phrase with a letter."""
        return any(letter.isalpha() for letter in phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """A box without a place for every phrase.

        Raises:
            ExpertError: the model failed, or its output is not finite.
        """
        return [
            [Box(phrase, self._score(image, phrase), phrase=i) for i, phrase in enumerate(own) if self.covers(phrase)]
            for image, own in zip(images, phrases, strict=True)
        ]

    @abstractmethod
    def _score(self, image: Image, phrase: str) -> float:
        """The score of a phrase."""


def question_about(phrase: str, question: str) -> str:
    """A question with a phrase in it.

    >>> question_about("an apple", QUESTION)
    'Is there an apple in the image?'
    """
    words = phrase.removeprefix("a ").removeprefix("an ")
    return question.format(name=words, a=article(words))


class SelfCheck(AskedModel):
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
            SettingsError: neither this function nor the class takes an option.
            UnsupportedModelError: it is not a model that answers questions about images.
        """
        refuse_unknown(f"{cls.__name__}.from_pretrained", options, parameters(cls.from_pretrained, cls))
        questions = VisualQuestions.from_pretrained(name, device=device, dtype=dtype)
        return cls(questions.model, questions.processor, **{"name": questions.name, **options})

    def _score(self, image: Image, phrase: str) -> float:
        shown, _ = limit_size(image)
        yes, no = self.questions.answer_probabilities(shown, question_about(phrase, self.question))
        return min(1.0, yes / (yes + no)) if yes + no > 0 else 0.5


@dataclass(frozen=True)
class Reading:
    """One forward of a model over a prompt and the beginning of its answer.

    Args:
        states: (S, H) fp32, the last hidden states, after the final norm.
        logits: (S, V) fp32.
        ids: (S,) token ids.
    """

    states: Tensor
    logits: Tensor
    ids: Tensor


class ModelReader:
    """Read a question and the beginning of its answer, with an image or without one.

    Args:
        model, processor: image-text-to-text model and its processor.
        name: name in errors; default that of the model.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, name: str | None = None) -> None:
        if model.config.is_encoder_decoder:
            raise UnsupportedModelError(
                f"a decoder-only model is expected, got {type(model).__name__}; ask it with SelfCheck"
            )
        self.model: Any = model.eval()  # its outputs are the family's own
        self.processor: Any = processor
        self.name = name or model_signature(model)

    def read(self, image: Image | None, question: str, answer: str = "") -> Reading:
        """One forward; `image` None leaves the image out of the prompt.

        Raises:
            ExpertError: the model failed, or its output is not finite.
        """
        prompt = f"{self._prompt(question, image is not None)}{answer}"
        pictured = {} if image is None else {"images": [image]}
        with expert_errors(self.name, f" on {question!r}"), torch.inference_mode():
            inputs = self.processor(text=[prompt], return_tensors="pt", **pictured).to(self.model.device)
            if "pixel_values" in inputs:
                inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
            output = self.model(**inputs, output_hidden_states=True)
        reading = Reading(output.hidden_states[-1][0].float(), output.logits[0].float(), inputs["input_ids"][0])
        if not bool(reading.states.isfinite().all()):
            raise ExpertError(f"{self.name} must give finite states, got NaN or infinity; check dtype and image")
        return reading

    def _prompt(self, question: str, pictured: bool) -> str:
        if not getattr(self.processor, "chat_template", None):
            raise UnsupportedModelError(
                f"a processor with a chat template is expected, got {type(self.processor).__name__}; ask it with "
                "SelfCheck"
            )
        content = [{"type": "image"}] * pictured + [{"type": "text", "text": question}]
        return render_chat(self.processor, [{"role": "user", "content": content}])


def two_branch_scores(
    model: PreTrainedModel, processor: ProcessorMixin, image: Image, prompt: str, caption: str, starts: Sequence[int]
) -> list[float]:
    """The image's share in words of a caption: log-odds with the image minus log-odds without it.

        score = logit p(t | image, prompt, words before) - logit p(t | prompt, words before)
        t: first token of the word

    Two forwards for a whole caption. The score falls along a caption whatever is true, so it is a prior: compare it
    with the place alone (`benchmarks/self_check.py`), and contradict nothing by it.

    Args:
        model, processor: image-text-to-text model, decoder-only, and its processor.
        image: the image.
        prompt: the question that the caption answers.
        caption: the model's answer.
        starts: the characters of the caption at which the words begin.

    Raises:
        InputError: the caption's tokens cannot be told in the model's input.
        ExpertError: the model failed.

    >>> from halluguard import sandbox
    >>> model, processor = sandbox.load_mllm()
    >>> scene = sandbox.scenes(1)[0]
    >>> caption = f"The image depicts a {scene.names[0]}."
    >>> [score] = two_branch_scores(model, processor, scene.image, "Describe the image.", caption, [20])
    >>> score > 0
    True
    """
    reader = ModelReader(model, processor)
    answer = f" {caption}"
    tokenized = reader.processor.tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
    tokens, ends = tokenized["input_ids"], [end for _, end in tokenized["offset_mapping"]]
    at = [next((i for i, end in enumerate(ends) if end > start + 1), len(ends) - 1) for start in starts]
    shown, _ = limit_size(image)
    odds = []
    for one in (shown, None):
        reading = reader.read(one, prompt, answer)
        if reading.ids[-len(tokens) :].tolist() != tokens:
            raise InputError(f"{reader.name} joins the caption with its prompt, so its words cannot be told apart")
        places = torch.tensor([len(reading.ids) - len(tokens) + i for i in at], device=reading.ids.device)
        log_p = reading.logits[places - 1].log_softmax(-1).gather(-1, reading.ids[places][:, None])[:, 0]
        odds.append(log_p - torch.log1p(-log_p.exp().clamp_max(1 - 1e-6)))
    return (odds[0] - odds[1]).tolist()
