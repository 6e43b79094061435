"""Turn the candidates of a detection model (tensors) into `Box` records: pixels, clipped, without duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from PIL import Image
from torch import Tensor

from halluguard.boxes import suppress
from halluguard.errors import ExpertError, SettingsError
from halluguard.records import Box

MOST = 300
"""Candidates per phrase that are examined, best first: enough for any image, and a bound on the work."""


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) centre x, centre y, width, height -> x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def in_pixels(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 4) relative to a frame of (width, height) pixels -> pixels of that frame."""
    return boxes * torch.tensor([*size, *size], dtype=boxes.dtype, device=boxes.device)


def check_finite(expert: str, *tensors: Tensor) -> None:
    """Refuse NaN and infinity: compared with a threshold, they would look like nothing found."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ExpertError(f"{expert} must give finite scores and boxes, got NaN or infinity; check dtype and image")


def check_fractions(**settings: float) -> None:
    """Refuse settings outside [0, 1]."""
    for name, value in settings.items():
        if not 0.0 <= value <= 1.0:
            raise SettingsError(f"{name} must be in [0, 1], got {value}; the default suits most models")


def by_frame(images: Sequence[Image.Image], indices: Iterable[int], processor: object) -> list[list[int]]:
    """The indices of images grouped so that no image is padded to the size of another.

    A processor that resizes everything to one height and width shows all images at one size; behind any other, only
    images of one size share a group.
    """
    size = getattr(getattr(processor, "image_processor", processor), "size", None)
    one_frame = size is not None and "height" in size and "width" in size
    groups: dict[tuple[int, int], list[int]] = {}
    for i in indices:
        groups.setdefault((0, 0) if one_frame else images[i].size, []).append(i)
    return list(groups.values())


def records(
    scores: Tensor,
    boxes: Tensor,
    phrases: Sequence[tuple[int, str]],
    size: tuple[int, int],
    *,
    floor: float,
    nms: float,
) -> list[Box]:
    """The boxes of each phrase, best first.

    Args:
        scores: (Q, P) in [0, 1], one column per phrase.
        boxes: (Q, 4) x1, y1, x2, y2 in pixels of the image; clipped to it, and dropped where no area is left.
        phrases: per column, the index of the phrase in the query, and the label of its boxes.
        size: (width, height) of the image in pixels.
        floor: boxes with a lower score are dropped.
        nms: of two boxes of one phrase that overlap by more than this (IoU), the weaker is dropped.
    """
    boxes = boxes.clamp(min=0).minimum(torch.tensor([*size, *size], dtype=boxes.dtype, device=boxes.device))
    area = (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
    kept = []
    for column, (phrase, label) in enumerate(phrases):
        of_phrase = scores[:, column] * (area > 0)
        for row in suppressed(boxes, of_phrase, floor, nms):
            x1, y1, x2, y2 = boxes[row].tolist()
            kept.append(Box(label=label, score=min(1.0, of_phrase[row].item()), xyxy=(x1, y1, x2, y2), phrase=phrase))
    return kept


def suppressed(boxes: Tensor, scores: Tensor, floor: float, max_iou: float) -> list[int]:
    """Indices of boxes with score >= floor that overlap no better box by more than `max_iou`, best first."""
    order = scores.argsort(descending=True, stable=True)[:MOST]
    rows = [i for i, score in zip(order.tolist(), scores[order].tolist(), strict=True) if score >= floor and score > 0]
    return [rows[i] for i in suppress(boxes[rows].tolist(), scores[rows].tolist(), max_iou)]
