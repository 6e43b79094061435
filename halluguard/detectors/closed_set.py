"""Detectors with a fixed list of labels: transformers' object detection models (DETR, RT-DETR, YOLOS ...).

A phrase that no label means is not covered, so a claim about it is unverifiable, never contradicted. Labels become
names by one table (`labels.label_name`): RT-DETR's "motorbike" and DETR's "motorcycle" are the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForObjectDetection
from transformers.image_processing_utils import BaseImageProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.detectors import geometry
from halluguard.detectors.checkpoints import Device, load_checkpoint, model_kind, model_signature
from halluguard.detectors.failures import expert_errors
from halluguard.detectors.labels import NO_LABELS, Labels
from halluguard.errors import ExpertError, UnsupportedModelError
from halluguard.images import ImageSource, limit_size, load_image
from halluguard.records import Box
from halluguard.reliability import Rates, Stated, assumed_recall

THRESHOLDS = {"detr": (0.7, 0.3), "yolos": (0.7, 0.3), "conditional_detr": (0.5, 0.25), "table-transformer": (0.7, 0.3)}
"""(high, low) per `model_type`; (0.45, 0.2) for all others, whose scores come from sigmoids."""


class ClosedSetDetector:
    """An object detection model with a fixed list of labels.

    Args:
        model, processor: from `AutoModelForObjectDetection` and `AutoImageProcessor`.
        name: name in verdicts.
        thresholds: (high, low); default those of the family.
        floor: boxes with a lower score are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this (IoU), the weaker is dropped; in [0, 1].
        rows_per_pass: images per forward pass.
        compile: whether the model runs through `torch.compile`; the first passes take longer. It changes the given
            model.
        recall: share of what is there that the model finds, in [0, 1], for all labels or per label; default what is
            assumed of a detector that nobody measured (`reliability.assumed_recall`).
        precision: share of what it finds that is there, in the same form. Default 1.

    Raises:
        UnsupportedModelError: the model has no real names for its labels.
    """

    needs_image = True

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin | BaseImageProcessor,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] | None = None,
        floor: float = 0.05,
        nms: float = 0.5,
        rows_per_pass: int = 16,
        compile: bool = False,
        recall: Stated | None = None,
        precision: Stated | None = None,
    ) -> None:
        labels = getattr(getattr(model, "config", None), "id2label", None)
        if not labels or not hasattr(processor, "post_process_object_detection"):
            raise UnsupportedModelError(
                f"expected an object detection model and its image processor, got {type(model).__name__} and "
                f"{type(processor).__name__}; use ZeroShotDetector for models that take phrases"
            )
        self._of_index = {int(i): str(label) for i, label in labels.items() if str(label).lower() not in NO_LABELS}
        if not self._of_index or all(label.upper().startswith("LABEL_") for label in self._of_index.values()):
            raise UnsupportedModelError(
                f"expected names for the labels of {type(model).__name__}, got {list(self._of_index.values())[:3]}; "
                "set model.config.id2label to the names it was trained with"
            )
        geometry.check_fractions(floor=floor, nms=nms)
        self.model, self.processor = model.eval(), processor
        if compile:
            self.model.compile()
        self.labels = Labels(self._of_index.values())
        self.name = name or model_signature(model)
        self.thresholds = tuple(thresholds or THRESHOLDS.get(model_kind(model), (0.45, 0.2)))
        self.recall = assumed_recall() if recall is None else Rates.of_value(recall)
        self.precision = Rates.of_value(precision)
        self.floor, self.nms, self.rows_per_pass = floor, nms, max(1, rows_per_pass)

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
            UnsupportedModelError: it is no object detection model, or its labels have no names.
            MissingExtraError: its architecture needs a package that is not installed (timm, torchvision).
        """
        refuse_unknown(f"{cls.__name__}.from_pretrained", options, parameters(cls.from_pretrained, cls))
        model, processor, signature = load_checkpoint(
            *(name, AutoModelForObjectDetection, AutoImageProcessor),
            device=device,
            dtype=dtype,
            revision=revision,
            expected="an object detection model",
            advice="use ZeroShotDetector for models that take phrases",
        )
        return cls(model, processor, **{"name": signature, **options})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model's labels, sorted."""
        return tuple(sorted(self.labels.names))

    def covers(self, phrase: str) -> bool:
        """Whether one of the model's labels means the phrase."""
        return self.labels.covers(phrase)

    def detect(self, images: Sequence[ImageSource], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases; images that the model sees at one size share forward passes.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: the model failed, its output is not finite, or a phrase is not covered.
        """
        for phrase in {phrase for row in phrases for phrase in row}:
            if not self.covers(phrase):
                raise ExpertError(f"{self.name} has no label for {phrase!r}; ask covers() first")
        loaded = [load_image(image) for image in images]
        sized = [limit_size(image) for image in loaded]
        padded = [image for image, _ in sized]
        boxes: list[list[Box]] = [[] for _ in images]
        for group in geometry.by_frame(padded, (i for i, row in enumerate(phrases) if row), self.processor):
            for start in range(0, len(group), self.rows_per_pass):
                rows = group[start : start + self.rows_per_pass]
                for i, candidates in zip(rows, self._forward([padded[i] for i in rows]), strict=True):
                    candidates["boxes"] = candidates["boxes"] * sized[i][1]
                    boxes[i] = self._boxes(candidates, phrases[i], loaded[i].size)
        return boxes

    def _forward(self, images: list[Image]) -> list[dict[str, Tensor]]:
        """Scores (N,), labels (N,) and boxes (N, 4), in its pixels, of each image."""
        processor: Any = self.processor  # its methods are the family's own
        with expert_errors(self.name), torch.inference_mode():
            inputs = processor(images=images, return_tensors="pt").to(self.model.device)
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
            output = self.model(**inputs)
            geometry.check_finite(self.name, output.logits, output.pred_boxes)
            results = processor.post_process_object_detection(
                output, threshold=self.floor, target_sizes=[(image.height, image.width) for image in images]
            )
            return [{key: one[key].detach().float().cpu() for key in ("scores", "labels", "boxes")} for one in results]

    def _boxes(self, candidates: dict[str, Tensor], phrases: Sequence[str], size: tuple[int, int]) -> list[Box]:
        labels = [self._of_index.get(int(label), "") for label in candidates["labels"]]
        boxes = []
        for i, phrase in enumerate(phrases):
            rows = [row for row, label in enumerate(labels) if label and self.labels.answers(label, phrase)]
            if rows:
                scores, corners = candidates["scores"][rows][:, None], candidates["boxes"][rows]
                boxes += geometry.records(scores, corners, [(i, phrase)], size, floor=self.floor, nms=self.nms)
        return boxes
