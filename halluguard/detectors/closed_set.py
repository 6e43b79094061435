"""Experts with a fixed list of labels: transformers' object detection mapping (DETR, RT-DETR, YOLOS ...).

What is in no label is not covered, so a claim about it is unverifiable, never contradicted. Labels are names through
one table (`labels.label_name`): RT-DETR's "motorbike" and DETR's "motorcycle" are one thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from halluguard.detectors import geometry
from halluguard.detectors.checkpoints import load_checkpoint
from halluguard.detectors.labels import NO_LABELS, Labels, label_name
from halluguard.errors import ExpertError, HalluguardError, SettingsError, UnsupportedModelError, first_line
from halluguard.images import limit_aspect, load_image
from halluguard.records import Box

THRESHOLDS = {"detr": (0.7, 0.3), "yolos": (0.7, 0.3), "conditional_detr": (0.5, 0.25), "table-transformer": (0.7, 0.3)}
"""(high, low) to start from by `model_type`; 0.45 and 0.2 for the rest, whose scores come from sigmoids."""


class ClosedSetDetector:
    """An object detection model with a fixed list of labels as an expert.

    Args:
        model, processor: from `AutoModelForObjectDetection` and `AutoImageProcessor`.
        name: how the expert signs its verdicts.
        thresholds: (high, low), default by family.
        floor: boxes that score less are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this, the weaker is dropped; in [0, 1].
        rows_per_pass: most pictures in one pass.

    Raises:
        UnsupportedModelError: the model has no real names for its labels.
    """

    needs_image = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] | None = None,
        floor: float = 0.05,
        nms: float = 0.5,
        rows_per_pass: int = 16,
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
        for what, value in (("floor", floor), ("nms", nms)):
            if not 0.0 <= value <= 1.0:
                raise SettingsError(f"{what} must be in [0, 1], got {value}; the default suits most models")
        self.model, self.processor = model.eval(), processor
        self.labels = Labels(self._of_index.values())
        kind = model.config.model_type
        self.name = name or f"{kind}:{getattr(model, 'name_or_path', '') or 'unnamed'}"
        self.thresholds = tuple(thresholds or THRESHOLDS.get(kind, (0.45, 0.2)))
        self.floor, self.nms, self.rows_per_pass = floor, nms, max(1, rows_per_pass)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: Any = None, dtype: Any = None, revision: str | None = None, **options: Any
    ) -> Self:
        """Load a model of the hub or a folder: safetensors weights only, no remote code.

        Raises:
            UnsupportedModelError: it is no object detection model, or its labels have no names.
            MissingExtraError: its architecture needs a package that is not installed (timm, torchvision).
        """
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        model, processor, signed = load_checkpoint(
            name,
            *(AutoModelForObjectDetection, AutoImageProcessor),
            device=device,
            dtype=dtype,
            revision=revision,
            expected="an object detection model",
            advice="use ZeroShotDetector for models that take phrases",
        )
        options.setdefault("name", signed)
        return cls(model, processor, **options)

    def covers(self, phrase: str) -> bool:
        """Whether one of the model's labels means the phrase."""
        return self.labels.covers(phrase)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases, one pass per picture size; pictures of one size share it.

        Args:
            images: B pictures: PIL of any mode, arrays, bytes or paths.
            phrases: B lists of phrases.

        Raises:
            ImageError: a picture cannot be opened.
            ExpertError: the model failed, its answer is not finite, or a phrase is not one that it covers.
        """
        for phrase in {phrase for row in phrases for phrase in row}:
            if not self.covers(phrase):
                raise ExpertError(f"{self.name} has no label for {phrase!r}; ask covers() first")
        opened = [load_image(image) for image in images]
        padded = [limit_aspect(picture) for picture in opened]
        sizes: dict[tuple[int, int], list[int]] = {}
        for i, picture in enumerate(padded):
            if phrases[i]:
                sizes.setdefault(picture.size, []).append(i)
        found: list[list[Box]] = [[] for _ in images]
        for group in sizes.values():
            for start in range(0, len(group), self.rows_per_pass):
                rows = group[start : start + self.rows_per_pass]
                for i, things in zip(rows, self._pass([padded[i] for i in rows]), strict=True):
                    found[i] = self._answers(things, phrases[i], opened[i].size)
        return found

    def _pass(self, pictures: list[Any]) -> list[dict[str, Any]]:
        """Per picture: scores (N,), labels (N,), boxes (N, 4) in its pixels."""
        import torch

        try:
            with torch.inference_mode():
                inputs = self.processor(images=pictures, return_tensors="pt").to(self.model.device)
                inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
                output = self.model(**inputs)
                geometry.check_finite(self.name, output.logits, output.pred_boxes)
                found = self.processor.post_process_object_detection(
                    output, threshold=self.floor, target_sizes=[(p.height, p.width) for p in pictures]
                )
        except (HalluguardError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the model is foreign code: whatever it raises is the expert's failure
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ExpertError(f"{self.name} failed: {reason}") from error
        return [{key: one[key].detach().float().cpu() for key in ("scores", "labels", "boxes")} for one in found]

    def _answers(self, things: dict[str, Any], phrases: Sequence[str], size: tuple[int, int]) -> list[Box]:
        import torch

        names = [self._of_index.get(int(label), "") for label in things["labels"]]
        found = []
        for i, phrase in enumerate(phrases):
            rows = [row for row, name in enumerate(names) if name and self.labels.speaks(name, phrase)]
            if rows:
                scores, boxes = things["scores"][rows][:, None], things["boxes"][torch.tensor(rows)]
                found += geometry.records(scores, boxes, [(i, phrase)], size, floor=self.floor, nms=self.nms)
        return found


__all__ = ["ClosedSetDetector", "label_name"]
