"""Compute overlap, duplicates, clipping and conversion of boxes, by pure functions on four numbers.

A box is x1, y1, x2, y2: x to the right, y down, any unit, as in `records.Box.xyxy`.
"""

from __future__ import annotations

from collections.abc import Sequence

from halluguard.records import XYXY


def area(box: XYXY) -> float:
    """Width times height; 0 for a box whose right edge is left of its left edge, or whose bottom is above its top."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a: XYXY, b: XYXY) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def iou(a: XYXY | None, b: XYXY | None) -> float:
    """Intersection over union in [0, 1]; 0 if a box is None (evidence without geometry) or both boxes have no area.

    >>> iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    if a is None or b is None:
        return 0.0
    shared = intersection(a, b)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def overlap_of_smaller(a: XYXY, b: XYXY) -> float:
    """Shared area as a fraction of the smaller box, in [0, 1]; 0 if a box has no area.

    >>> overlap_of_smaller((0, 0, 10, 10), (8, 0, 12, 10))
    0.5
    """
    smaller = min(area(a), area(b))
    return intersection(a, b) / smaller if smaller > 0 else 0.0


def suppress(boxes: Sequence[XYXY | None], scores: Sequence[float], max_iou: float) -> list[int]:
    """Non-maximum suppression: indices of kept boxes, best first. No two of them have an IoU above `max_iou`.

    A box without geometry (None) overlaps nothing. Of equal scores the first wins.

    >>> suppress([(0, 0, 10, 10), (1, 0, 10, 10), (20, 0, 30, 10)], [0.5, 0.9, 0.4], max_iou=0.5)
    [1, 2]
    """
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j]) <= max_iou for j in kept):
            kept.append(i)
    return kept


def turned(box: XYXY, size: tuple[float, float], orientation: int) -> XYXY:
    """Convert a box of the stored image to the upright image.

    Args:
        box: x1, y1, x2, y2.
        size: width and height as stored.
        orientation: EXIF orientation, from 1 (upright) to 8.

    >>> turned((0, 0, 2, 1), (10, 5), 6)
    (4, 0, 5, 2)
    """
    (x1, y1, x2, y2), (width, height) = box, size
    if orientation in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if orientation >= 5 else (x1, y1, x2, y2)


def clip(box: XYXY, size: tuple[float, float]) -> XYXY:
    """The part of a box inside an image of size (width, height).

    >>> clip((-1.0, 2.0, 50.0, 60.0), (40, 40))
    (0.0, 2.0, 40, 40)
    """
    return max(0.0, box[0]), max(0.0, box[1]), min(box[2], size[0]), min(box[3], size[1])


def from_xywh(x: float, y: float, width: float, height: float) -> XYXY:
    """Corners of a box given by its upper left corner and its size, as COCO writes it.

    >>> from_xywh(10, 20, 30, 40)
    (10, 20, 40, 60)
    """
    return x, y, x + width, y + height
