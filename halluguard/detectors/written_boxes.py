"""Detectors that write boxes or points as text: Florence-2, Qwen3-VL, Molmo2.

    score(box) = exp(mean over the tokens that write the box of log p(token))

under greedy decoding. transformers gives no score for these answers; this is the mode `avg_loc_scores` of Florence-2's
official post-processor, taken for all families. It says how sure the model is of the place. Each phrase is asked in an
answer of its own, so no verdict depends on the other phrases; the image is encoded once for all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.chat_templates import render_chat
from halluguard.detectors import geometry, grounded_answers
from halluguard.detectors.checkpoints import Device, load_checkpoint, model_kind, model_signature
from halluguard.detectors.failures import expert_errors
from halluguard.detectors.grounded_answers import Place
from halluguard.detectors.image_parts import ImageRows, existing, with_forwards
from halluguard.errors import ExpertError, SettingsError, UnsupportedModelError
from halluguard.images import ImageSource, limit_size, load_image
from halluguard.records import Box
from halluguard.reliability import LIST_RECALL, Rates, Stated
from halluguard.vocabulary import COCO, normal, related


@dataclass(frozen=True)
class Dialect:
    """The form in which a family is asked for places, and in which it answers.

    Args:
        prompt: the question, with `{}` for the name.
        read: (answer, (width, height)) -> its boxes in pixels.
        image_parts: paths of modules whose output depends on the image alone.
        chat: whether the question goes through the processor's chat template.
        marks: whether the boxes are written in special tokens, which decoding has to keep.
    """

    prompt: str
    read: Callable[[str, tuple[int, int]], list[Place]]
    image_parts: tuple[str, ...]
    chat: bool = True
    marks: bool = False


_QWEN = Dialect(
    'Locate every instance that belongs to the following categories: "{}". Report bbox coordinates in JSON format.',
    grounded_answers.thousandths,
    ("model.visual",),
)
DIALECTS: Mapping[str, Dialect] = {
    "florence2": Dialect(
        *("<OPEN_VOCABULARY_DETECTION>{}", grounded_answers.florence),
        image_parts=("model.vision_tower", "model.multi_modal_projector"),
        chat=False,
        marks=True,
    ),
    "qwen3_vl": _QWEN,
    "qwen3_vl_moe": _QWEN,
    "molmo2": Dialect(
        "Point to the {}.", grounded_answers.points, ("model.vision_tower", "model.multi_modal_projector")
    ),
}
"""`model_type` -> dialect; the prompts are those of the official examples."""

THRESHOLDS = (0.5, 0.2)
"""(high, low), not fitted to any model: use `halluguard calibrate`."""
LONGEST_NAME = 100
"""Characters of a phrase that can be asked."""


class WrittenBoxes:
    """A model that writes boxes or points, as a detector.

    An answer that cannot be read gives no boxes. Such an answer is no proof of absence, so by default what a model does
    not find is unsure (`recall`); state the recall that was measured.

    Args:
        model, processor: from `AutoModelForImageTextToText` and `AutoProcessor`.
        name: name in verdicts.
        thresholds: (high, low); default the `halluguard_thresholds` of the model's config, or `THRESHOLDS`.
        prompt: the question, with `{}` for the phrase; default the family's. For phrase grounding with Florence-2,
            "<CAPTION_TO_PHRASE_GROUNDING>{}".
        floor: boxes with a lower score are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this (IoU), the weaker is dropped; in [0, 1].
        max_tokens: longest answer, at least 1.
        recall: share of what is there that the model finds, in [0, 1], for all labels or per label; default 1 where
            the config has thresholds fitted to the model, else `reliability.LIST_RECALL`.
        precision: share of what it finds that is there, in the same form. Default 1.

    Raises:
        UnsupportedModelError: the model is of no known family.
    """

    needs_image = True

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] | None = None,
        prompt: str | None = None,
        floor: float = 0.05,
        nms: float = 0.5,
        max_tokens: int = 512,
        recall: Stated | None = None,
        precision: Stated | None = None,
    ) -> None:
        kind = model_kind(model)
        if kind not in DIALECTS:
            raise UnsupportedModelError(
                f"expected a model that writes boxes, of one of the families {', '.join(DIALECTS)}, got {kind!r}; "
                "use SelfCheck, which asks yes-no questions, for other vision-language models"
            )
        geometry.check_fractions(floor=floor, nms=nms)
        if max_tokens < 1:
            raise SettingsError(f"max_tokens must be at least 1, got {max_tokens}; 512 is enough for some 15 boxes")
        self.dialect = DIALECTS[kind]
        self.prompt = prompt or self.dialect.prompt
        if "{}" not in self.prompt:
            raise SettingsError(f"the prompt must have {{}} for the phrase, got {self.prompt!r}; add it")
        self.model: Any = model.eval()  # its inputs and outputs are the family's own
        self.processor: Any = processor
        self.name = name or model_signature(model)
        own = getattr(model.config, "halluguard_thresholds", None)
        self.thresholds = tuple(thresholds or own or THRESHOLDS)
        self.recall = Rates.of_value(recall, 1.0 if own else LIST_RECALL)
        self.precision = Rates.of_value(precision)
        self.floor, self.nms, self.max_tokens = floor, nms, max_tokens

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
            UnsupportedModelError: it is no image-text-to-text model of a known family.
            MissingExtraError: its processor needs a package that is not installed (torchvision).
        """
        refuse_unknown(f"{cls.__name__}.from_pretrained", options, parameters(cls.from_pretrained, cls))
        model, processor, signature = load_checkpoint(
            *(name, AutoModelForImageTextToText, AutoProcessor),
            device=device,
            dtype=dtype,
            revision=revision,
            expected="an image-text-to-text model",
            advice="use ZeroShotDetector for detection models",
        )
        return cls(model, processor, **{"name": signature, **options})

    def covers(self, phrase: str) -> bool:
        """Whether the model can be asked: a phrase with a letter, of at most `LONGEST_NAME` characters."""
        name = _clean(phrase)
        return len(name) <= LONGEST_NAME and any(letter.isalpha() for letter in name)

    def detect(self, images: Sequence[ImageSource], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases, one answer per image and phrase; equal phrases are asked once.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: the model failed, its output is not finite, or a phrase is not covered.
        """
        boxes: list[list[Box]] = []
        for source, row in zip(images, phrases, strict=True):
            image = load_image(source)
            shown, factor = limit_size(image)
            model = self._encoding_once()
            answers: dict[str, list[tuple[Place, float]]] = {}
            of_image: list[Box] = []
            for i, phrase in enumerate(row):
                if not self.covers(phrase):
                    raise ExpertError(f"{self.name} cannot judge {phrase!r} (no words, or too long); leave it out")
                name = _clean(phrase)
                if name not in answers:
                    answers[name] = self._ask(model, shown, name)
                of_image += self._boxes(answers[name], i, phrase, factor, image.size)
            boxes.append(of_image)
        return boxes

    def _encoding_once(self) -> Any:
        """The model, with the image encoded in the first answer only."""
        rows = ImageRows()
        rows.images = [0]
        return with_forwards(self.model, dict.fromkeys(existing(self.model, self.dialect.image_parts), rows.once))

    def _ask(self, model: Any, image: Image, name: str) -> list[tuple[Place, float]]:
        """The places of one answer with their scores."""
        with expert_errors(self.name, f" on {name!r}"), torch.inference_mode():
            inputs = self._inputs(image, self.prompt.format(name))
            output = model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.max_tokens,
                return_dict_in_generate=True,
                output_logits=True,
            )
            logits = torch.stack(output.logits, dim=1)[0].float()
            ids = output.sequences[0, -len(logits) :]
        if torch.isnan(logits).any() or torch.isposinf(logits).any():
            raise ExpertError(f"{self.name} must give finite logits, got NaN or infinity; check dtype and image")
        chosen = logits.log_softmax(-1).gather(-1, ids[:, None].to(logits.device))[:, 0].cpu()
        with expert_errors(self.name, f" on {name!r}"):
            text, ends = self._text(ids.tolist())
        start = text.rfind("</think>") + 1
        places = [place for place in self.dialect.read(text, image.size) if place.start >= start]
        return [(place, _score(place, chosen, ends)) for place in places if _answers(place.label, name)]

    def _inputs(self, image: Image, question: str) -> Any:
        if self.dialect.chat:
            content = [{"type": "image"}, {"type": "text", "text": question}]
            question = render_chat(self.processor, [{"role": "user", "content": content}])
        inputs = self.processor(images=image, text=question, return_tensors="pt").to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs

    def _text(self, ids: list[int]) -> tuple[str, list[int]]:
        """The answer, and where each of its tokens ends in it."""
        tokenizer = self.processor.tokenizer
        keep = {"skip_special_tokens": not self.dialect.marks, "clean_up_tokenization_spaces": False}
        text = tokenizer.decode(ids, **keep)
        ends = [len(tokenizer.decode(ids[: i + 1], **keep)) for i in range(len(ids))]
        return text, ends

    def _boxes(
        self, found: list[tuple[Place, float]], i: int, phrase: str, factor: float, size: tuple[int, int]
    ) -> list[Box]:
        if not found:
            return []
        corners = torch.tensor([place.xyxy for place, _ in found], dtype=torch.float64) * factor
        scores = torch.tensor([score for _, score in found], dtype=torch.float64)
        return geometry.records(scores[:, None], corners, [(i, phrase)], size, floor=self.floor, nms=self.nms)


def _clean(phrase: str) -> str:
    """A phrase as it can stand in a question: a name without marks that the prompts and answers use.

    >>> _clean('the "dog"')
    'dog'
    """
    visible = "".join(c if c.isprintable() else " " for c in phrase)
    return normal(re.sub(r"[<>{}\[\]|\"]+", " ", visible).strip())


def _answers(label: str, name: str) -> bool:
    """Whether a box with this label answers the question for a name: a label that names another category does not."""
    other = normal(label)
    return not other or other not in COCO or name not in COCO or related(name, other) != ""


def _score(place: Place, chosen: Tensor, ends: Sequence[int]) -> float:
    """exp(mean log p) of the tokens that write a place.

    Args:
        chosen: (T,) log p of the answer's tokens.
        ends: where each token ends in the answer.
    """
    starts = [0, *ends[:-1]]
    writing = [i for i, (a, b) in enumerate(zip(starts, ends, strict=True)) if a < place.end and b > place.start]
    return min(1.0, math.exp(chosen[writing].mean().item())) if writing else 0.0
