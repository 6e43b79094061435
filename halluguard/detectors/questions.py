"""Put attributes and relations as yes-no questions to a vision-language model.

    p(yes) = sum of P(first token) over the spellings of yes / (the same + the sum over the spellings of no)

Each question is one forward pass on a crop of the image; nothing is generated. A model that puts little probability on
either word did not understand the question: the answer is None, "could not tell".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoModelForVisualQuestionAnswering, AutoProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.chat_templates import render_chat
from halluguard.checkpoints import load_config
from halluguard.detectors.checkpoints import Device, load_checkpoint, model_signature, signature
from halluguard.detectors.colour import crop, judge_image
from halluguard.detectors.failures import expert_errors
from halluguard.errors import ExpertError, SettingsError, UnsupportedModelError
from halluguard.images import ImageSource, limit_size
from halluguard.records import Box, Question

YES, NO = ("yes", "Yes", "YES"), ("no", "No", "NO")
ATTRIBUTE = "Is the {name} {value}? Answer yes or no."
RELATION = "Is the {name} {value} the {other}? Answer yes or no."


class VisualQuestions:
    """A vision-language model as an expert on attributes and relations.

    Prefer `Colours` and `SpatialRelations` where they cover the question: they need no model.

    Args:
        model, processor: from `AutoModelForImageTextToText` and `AutoProcessor`, or a visual question answering model
            with a fixed list of answers (ViLT) and its processor.
        name: name in verdicts.
        attribute, relation: templates of the questions, with {name}, {value} and {other}.
        margin: margin of the crop around the box, as a fraction of the box's size on each side; in [0, 1].
        heard: least probability of yes and no together, below which the answer is None; in [0, 1].
        unsure: the answer is None where p(yes) is within this distance of 0.5; in [0, 0.5].
    """

    needs_image = True

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        name: str | None = None,
        attribute: str = ATTRIBUTE,
        relation: str = RELATION,
        margin: float = 0.1,
        heard: float = 0.1,
        unsure: float = 0.1,
    ) -> None:
        for setting, value, most in (("margin", margin, 1.0), ("heard", heard, 1.0), ("unsure", unsure, 0.5)):
            if not 0.0 <= value <= most:
                raise SettingsError(f"{setting} must be in [0, {most:g}], got {value}; the default suits most models")
        self.model: Any = model.eval()  # its outputs are the family's own
        self.processor: Any = processor
        self.name = name or model_signature(model)
        self.attribute, self.relation = attribute, relation
        self.margin, self.heard, self.unsure = margin, heard, unsure
        self._yes, self._no = self._answers(YES), self._answers(NO)
        if not self._yes or not self._no or self._yes & self._no:
            raise UnsupportedModelError(
                f"{self.name} must have yes and no among its first tokens or answers; use a model trained on questions"
            )

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: Device = None,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a model of the hub or a folder; arguments as in `load_checkpoint`, options are those of the class.

        Raises:
            SettingsError: neither this function nor the class takes an option.
            UnsupportedModelError: it is not a model that answers questions about images.
        """
        refuse_unknown(f"{cls.__name__}.from_pretrained", options, parameters(cls.from_pretrained, cls))
        kind = load_config(name, revision=revision).model_type
        model, processor, _ = load_checkpoint(
            name,
            AutoModelForImageTextToText
            if kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
            else AutoModelForVisualQuestionAnswering,
            AutoProcessor,
            device=device,
            dtype=dtype,
            revision=revision,
            expected="a model that answers questions about images",
            advice="name an image-text-to-text or visual question answering model",
        )
        return cls(model, processor, **{"name": signature(name), **options})

    def covers(self, question: Question) -> bool:
        """Whether the question has a name and a value."""
        return bool(question.value.strip() and question.name.strip())

    def judge(self, images: Sequence[ImageSource], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """p(yes) of each question, one forward pass each, so that no answer depends on the other questions.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: the model failed or its output is not finite.
        """
        return [judge_image(self._judge, image, row) for image, row in zip(images, questions, strict=True)]

    def _judge(self, image: Image, question: Question) -> float | None:
        template = self.relation if question.kind == "relation" else self.attribute
        text = template.format(name=question.name, value=question.value, other=question.other_name or "")
        part, _ = limit_size(crop(image, _around(question), self.name, self.margin))
        yes, no = self.answer_probabilities(part, text)
        if yes + no < self.heard or yes + no == 0 or abs(yes / (yes + no) - 0.5) < self.unsure:
            return None
        return min(1.0, yes / (yes + no))

    def answer_probabilities(self, image: Image, text: str) -> tuple[float, float]:
        """Probabilities that the answer to a question begins with yes, and with no.

        Raises:
            ExpertError: the model failed or its output is not finite.
        """
        with expert_errors(self.name, f" on {text!r}"), torch.inference_mode():
            logits = self._first_logits(image, text).float()
        if torch.isnan(logits).any() or torch.isposinf(logits).any():
            raise ExpertError(f"{self.name} must give finite logits, got NaN or infinity; check dtype and image")
        probabilities = logits.softmax(-1)
        yes, no = (float(probabilities[sorted(ids)].sum()) for ids in (self._yes, self._no))
        return yes, no

    def _first_logits(self, image: Image, text: str) -> Tensor:
        """Logits (V,) of the answer's first token, or (A,) of the answers of a model with a fixed list."""
        prompt = text if self._fixed else self._prompt(text)
        inputs = self.processor(images=image, text=prompt, return_tensors="pt").to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        if self.model.config.is_encoder_decoder:
            start = self.model.generation_config.decoder_start_token_id
            start = self.model.config.decoder_start_token_id if start is None else start
            inputs["decoder_input_ids"] = torch.tensor([[start]], device=self.model.device)
        logits = self.model(**inputs).logits
        return logits[0] if self._fixed else logits[0, -1]

    def _prompt(self, text: str) -> str:
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": text}]
            messages = [{"role": "user", "content": content}]
            return render_chat(self.processor, messages)
        return f"Question: {text} Answer:"

    @property
    def _fixed(self) -> bool:
        """Whether the model chooses from a fixed list of answers."""
        return bool(getattr(self.model.config, "model_type", "") == "vilt")

    def _answers(self, words: Sequence[str]) -> set[int]:
        """Ids of the first tokens (or fixed answers) that say one of the words."""
        if self._fixed:
            return {int(i) for i, label in self.model.config.id2label.items() if str(label) in words}
        tokenizer = self.processor.tokenizer
        answers = set()
        for spelling in [word for plain in words for word in (plain, f" {plain}")]:
            ids = tokenizer(spelling, add_special_tokens=False)["input_ids"]
            first = [i for i in ids if tokenizer.decode([i]).strip()]  # some tokenizers write the space by itself
            if first and tokenizer.decode(first[:1]).strip().lower() == words[0] and first[0] != tokenizer.unk_token_id:
                answers.add(first[0])
        return answers


def _around(question: Question) -> Question:
    """The question with the box to crop; for a relation, the box around both objects."""
    a, b = question.box, question.other
    if question.kind != "relation" or a is None:
        return question
    if b is None or a.xyxy is None or b.xyxy is None:
        return replace(question, box=None)
    p, q = a.xyxy, b.xyxy
    both = (min(p[0], q[0]), min(p[1], q[1]), max(p[2], q[2]), max(p[3], q[3]))
    return replace(question, box=Box(a.label, a.score, both))
