"""Attributes and relations put as questions to a model that looks: any image-text-to-text or visual-question model.

    p(yes) = sum of P(first token) over ways to write yes / (the same + the sum over ways to write no)

One question is one short pass on the crop of the thing's box; nothing is generated. A model that puts little on either
word did not understand the question, and the answer is "could not tell" (None).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from transformers import AutoModelForImageTextToText, AutoModelForVisualQuestionAnswering, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from halluguard.checkpoints import load_config
from halluguard.detectors.checkpoints import load_checkpoint, signed
from halluguard.detectors.colour import crop
from halluguard.errors import ExpertError, HalluguardError, SettingsError, UnsupportedModelError, first_line
from halluguard.images import limit_aspect, load_image
from halluguard.records import Box, Question

YES, NO = ("yes", "Yes", "YES"), ("no", "No", "NO")
ATTRIBUTE = "Is the {name} {value}? Answer yes or no."
RELATION = "Is the {name} {value} the {other}? Answer yes or no."


class VisualQuestions:
    """A vision-language model as an expert on attributes and relations.

    Args:
        model, processor: from `AutoModelForImageTextToText` and `AutoProcessor`, or a visual question answering model
            with a fixed list of answers (ViLT) and its processor.
        name: how the expert signs its verdicts.
        attribute, relation: the questions, with {name}, {value} and {other}.
        margin: in [0, 1], the crop is wider than the box by this share on each side.
        heard: in [0, 1], least probability on yes and no together; below it the answer is None.
        unsure: in [0, 0.5], None where p(yes) is within this of 0.5.

    Prefer `Colours` and `SpatialRelations` where they cover the question: they need no model.
    """

    needs_image = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str | None = None,
        attribute: str = ATTRIBUTE,
        relation: str = RELATION,
        margin: float = 0.1,
        heard: float = 0.1,
        unsure: float = 0.1,
    ) -> None:
        for what, value, most in (("margin", margin, 1.0), ("heard", heard, 1.0), ("unsure", unsure, 0.5)):
            if not 0.0 <= value <= most:
                raise SettingsError(f"{what} must be in [0, {most:g}], got {value}")
        self.model, self.processor = model.eval(), processor
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        self.name = name or f"{kind}:{getattr(model, 'name_or_path', '') or 'unnamed'}"
        self.attribute, self.relation = attribute, relation
        self.margin, self.heard, self.unsure = margin, heard, unsure
        self._yes, self._no = self._answers(YES), self._answers(NO)
        if not self._yes or not self._no or self._yes & self._no:
            raise UnsupportedModelError(
                f"{self.name} must have yes and no among its first tokens or answers; use a model trained on questions"
            )

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: Any = None, dtype: Any = None, revision: str | None = None, **options: Any
    ) -> Self:
        """Load a model of the hub or a folder: safetensors weights only, no remote code."""
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
        options.setdefault("name", signed(name))
        return cls(model, processor, **options)

    def covers(self, question: Question) -> bool:
        """Whether there is a word to ask about."""
        return bool(question.value.strip() and question.name.strip())

    def judge(self, images: Sequence[Any], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """p(yes) of each question, one pass each, so that no answer depends on what else is asked.

        Raises:
            ImageError: a picture cannot be opened.
            ExpertError: the model failed or its answer is not finite.
        """
        found = []
        for image, row in zip(images, questions, strict=True):
            picture = load_image(image) if row else None
            found.append([self._judge(picture, question) for question in row])
        return found

    def _judge(self, picture: Any, question: Question) -> float | None:
        import torch

        other = question.other_name or ""
        text = (self.relation if question.kind == "relation" else self.attribute).format(
            name=question.name, value=question.value, other=other
        )
        seen = limit_aspect(crop(picture, _around(question), self.name, self.margin))
        try:
            with torch.inference_mode():
                logits = self._first(seen, text).float()
        except (HalluguardError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the model is foreign code: whatever it raises is the expert's failure
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ExpertError(f"{self.name} failed on {text!r}: {reason}") from error
        if torch.isnan(logits).any() or torch.isposinf(logits).any():
            raise ExpertError(f"{self.name} must give finite logits, got NaN or infinity; check dtype and picture")
        probabilities = logits.softmax(-1)
        yes, no = (float(probabilities[sorted(ids)].sum()) for ids in (self._yes, self._no))
        if yes + no < self.heard or yes + no == 0 or abs(yes / (yes + no) - 0.5) < self.unsure:
            return None
        return min(1.0, yes / (yes + no))

    def _first(self, picture: Any, text: str) -> Any:
        """Logits (V,) of the first token of the answer, or (A,) of the answers of a model with a fixed list."""
        import torch

        asked = text if self._fixed else self._prompt(text)
        inputs = self.processor(images=picture, text=asked, return_tensors="pt").to(self.model.device)
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
            turns = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(turns, add_generation_prompt=True))
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
        found = set()
        for written in [word for plain in words for word in (plain, f" {plain}")]:
            ids = tokenizer(written, add_special_tokens=False)["input_ids"]
            first = [i for i in ids if tokenizer.decode([i]).strip()]  # some tokenizers write the space by itself
            if first and tokenizer.decode(first[:1]).strip().lower() == words[0] and first[0] != tokenizer.unk_token_id:
                found.add(first[0])
        return found


def _around(question: Question) -> Question:
    """A relation is asked on the part of the picture that holds both things."""
    from dataclasses import replace

    a, b = question.box, question.other
    if question.kind != "relation" or a is None:
        return question
    if b is None or a.xyxy is None or b.xyxy is None:
        return replace(question, box=None)
    p, q = a.xyxy, b.xyxy
    both = (min(p[0], q[0]), min(p[1], q[1]), max(p[2], q[2]), max(p[3], q[3]))
    return replace(question, box=Box(a.label, a.score, both))
