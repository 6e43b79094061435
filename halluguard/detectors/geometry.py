"""Boxes as a model gives them (tensors, relative) into boxes as records hold them (pixels, clipped, distinct)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halluguard.boxes import suppress
from halluguard.errors import ExpertError
from halluguard.records import Box

MOST = 300
"""Candidates of one phrase that are looked at, best first; enough for any picture, and a bound on the work."""


def corners(boxes: Any) -> Any:
    """(..., 4) centre x, centre y, width, height -> x1 y1 x2 y2."""
    import torch

    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def in_pixels(boxes: Any, size: tuple[int, int]) -> Any:
    """(..., 4) relative to a frame of (width, height) pixels -> pixels of that frame."""
    import torch

    return boxes * torch.tensor([*size, *size], dtype=boxes.dtype)


def check_finite(expert: str, *tensors: Any) -> None:
    """Refuse NaN and infinity: they pass thresholds as if nothing had been found."""
    import torch

    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ExpertError(f"{expert} must give finite scores and boxes, got NaN or infinity; check dtype and picture")


def records(
    scores: Any, boxes: Any, phrases: Sequence[tuple[int, str]], size: tuple[int, int], *, floor: float, nms: float
) -> list[Box]:
    """What is left of a model's candidates, as records.

    Args:
        scores: (Q, P) in [0, 1], one column per phrase.
        boxes: (Q, 4) x1 y1 x2 y2 in pixels of the picture; clipped to it, and dropped where nothing is left.
        phrases: per column, the index of the phrase in the query and the label to give.
        size: (width, height) of the picture in pixels.
        floor: weaker candidates are dropped.
        nms: of two boxes of one phrase that overlap by more than this (intersection over union), the weaker is dropped.
    """
    import torch

    limit = torch.tensor([*size, *size], dtype=boxes.dtype)
    boxes = boxes.clamp(min=0).minimum(limit)
    area = (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
    found = []
    for column, (phrase, label) in enumerate(phrases):
        of_phrase = scores[:, column] * (area > 0)
        for row in suppressed(boxes, of_phrase, floor, nms):
            xyxy = tuple(boxes[row].tolist())
            found.append(Box(label=label, score=min(1.0, of_phrase[row].item()), xyxy=xyxy, phrase=phrase))
    return found


def suppressed(boxes: Any, scores: Any, floor: float, max_iou: float) -> list[int]:
    """Rows with score >= floor that no better row overlaps by more than `max_iou`, best first."""
    order = scores.argsort(descending=True, stable=True)[:MOST]
    rows = [i for i, score in zip(order.tolist(), scores[order].tolist(), strict=True) if score >= floor and score > 0]
    return [rows[i] for i in suppress(boxes[rows].tolist(), scores[rows].tolist(), max_iou)]
