"""Place the labels of boxes inside the image, so that no label covers another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from halluguard.records import XYXY

SHOWN_WIDTH = 300
"""Least width of an image on a card, in CSS pixels; a wider card only has more room for labels."""
LETTER, LINE, PADDING = 7, 18, 8
"""Width of a letter, height of a line and padding of a label, in CSS pixels, as in style.css."""


class LabelledBox(Protocol):
    """A box with a label; left, top and width are in percent of the image."""

    @property
    def left(self) -> float: ...
    @property
    def top(self) -> float: ...
    @property
    def width(self) -> float: ...
    @property
    def label(self) -> str: ...


def label_places(boxes: Sequence[LabelledBox], ratio: float) -> list[tuple[int, bool]]:
    """The line of each box's label, from 0 at the top, and whether the label is aligned with the right edge.

    A label is aligned with the left edge of its box unless it would leave the image there. It is on the first line
    where it covers no earlier label.

    Args:
        boxes: the boxes of one image.
        ratio: width of the image divided by its height.
    """
    line_height = 100 * LINE * ratio / SHOWN_WIDTH
    taken: list[XYXY] = []
    places: list[tuple[int, bool]] = []
    for box in boxes:
        width = 100 * (LETTER * len(box.label) + PADDING) / SHOWN_WIDTH
        right = box.left + width > 100 and box.left + box.width >= width
        left = box.left + box.width - width if right else box.left
        line = 0
        while any(_meet(_spot(left, width, box.top, line, line_height), other) for other in taken):
            line += 1
        taken.append(_spot(left, width, box.top, line, line_height))
        places.append((line, right))
    return places


def _spot(left: float, width: float, top: float, line: int, height: float) -> XYXY:
    return left, top + line * height, left + width, top + (line + 1) * height


def _meet(a: XYXY, b: XYXY) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
