"""Judge spatial relations by boxes alone; no image is opened and no model is needed.

Each relation has a margin m in [-1, 1], positive where it holds. The probability is 1 / (1 + e^(-8 m)), or None ("could
not tell") where |m| < 0.05. x runs to the right and y down, in pixels; "left" is the viewer's left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from halluguard.boxes import area, intersection
from halluguard.errors import ExpertError
from halluguard.records import XYXY, ImageOrKey, Question

SHARPNESS = 8.0
UNSURE = 0.05


def _size(a: float, b: float, c: float, d: float) -> float:
    """The mean extent of two spans (a, b) and (c, d), never 0."""
    return max(((b - a) + (d - c)) / 2, 1e-9)


def left_of(a: XYXY, b: XYXY) -> float:
    """Distance of the centres along x, in units of the mean width."""
    return ((b[0] + b[2]) - (a[0] + a[2])) / 2 / _size(a[0], a[2], b[0], b[2])


def above(a: XYXY, b: XYXY) -> float:
    """Distance of the centres along y, in units of the mean height."""
    return ((b[1] + b[3]) - (a[1] + a[3])) / 2 / _size(a[1], a[3], b[1], b[3])


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Common part of two spans as a fraction of the shorter; negative for a gap."""
    return (min(a[1], b[1]) - max(a[0], b[0])) / max(min(a[1] - a[0], b[1] - b[0]), 1e-9)


def on(a: XYXY, b: XYXY) -> float:
    """a rests on b: they share columns, a's lower edge reaches b, and a's centre is above b's."""
    shared = overlap((a[0], a[2]), (b[0], b[2])) - 0.25
    touching = overlap((a[1], a[3]), (b[1], b[3])) + 0.15
    return min(shared, touching, above(a, b))


def inside(a: XYXY, b: XYXY) -> float:
    """The fraction of a that lies in b, minus 0.7."""
    return intersection(a, b) / max(area(a), 1e-9) - 0.7


def near(a: XYXY, b: XYXY) -> float:
    """1 minus the gap between the boxes in units of the mean diagonal."""
    gap = math.hypot(max(a[0] - b[2], b[0] - a[2], 0.0), max(a[1] - b[3], b[1] - a[3], 0.0))
    diagonal = (math.hypot(a[2] - a[0], a[3] - a[1]) + math.hypot(b[2] - b[0], b[3] - b[1])) / 2
    return 1 - gap / max(diagonal, 1e-9)


def _swapped(relation: Callable[[XYXY, XYXY], float]) -> Callable[[XYXY, XYXY], float]:
    return lambda a, b: relation(b, a)


RELATIONS: dict[str, Callable[[XYXY, XYXY], float]] = {
    **dict.fromkeys(("left of", "to the left of", "on the left of", "on the left side of"), left_of),
    **dict.fromkeys(("right of", "to the right of", "on the right of", "on the right side of"), _swapped(left_of)),
    **dict.fromkeys(("above", "over", "higher than"), above),
    **dict.fromkeys(("below", "under", "beneath", "underneath", "lower than"), _swapped(above)),
    **dict.fromkeys(("on", "on top of", "atop", "upon", "sitting on", "standing on", "lying on", "resting on"), on),
    **dict.fromkeys(("in", "inside", "inside of", "within"), inside),
    **dict.fromkeys(("near", "next to", "beside", "close to", "by", "alongside", "adjacent to"), near),
}
"""Relation -> margin of (box of the subject, box of the other party). Relations that need depth or a pose ("behind",
"in front of", "holding", "wearing", "riding") are not among them: ask `VisualQuestions`."""


class SpatialRelations:
    """Judges the place of one object relative to another by their boxes.

    >>> from halluguard.records import Box
    >>> cup, table = Box("cup", 0.9, (40, 10, 60, 32)), Box("table", 0.9, (0, 30, 100, 80))
    >>> expert = SpatialRelations()
    >>> [round(p, 2) for p in expert.judge([None], [[Question("relation", "cup", "on", cup, "table", table)]])[0]]
    [0.87]
    """

    name = "spatial-relations"
    needs_image = False

    def covers(self, question: Question) -> bool:
        """Whether boxes show the relation, and both boxes are known."""
        boxes = [box.xyxy for box in (question.box, question.other) if box is not None]
        known = len(boxes) == 2 and None not in boxes
        return known and question.kind == "relation" and _normal(question.value) in RELATIONS

    def judge(self, images: Sequence[ImageOrKey], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """The probability of each relation; None where the boxes allow either answer."""
        return [[self._judge(question) for question in row] for row in questions]

    def _judge(self, question: Question) -> float | None:
        box, other = question.box, question.other
        relation = RELATIONS.get(_normal(question.value))
        if relation is None or box is None or other is None or box.xyxy is None or other.xyxy is None:
            raise ExpertError(f"{self.name} cannot judge {question.value!r} of {question.name!r}; ask covers() first")
        if not all(map(math.isfinite, (*box.xyxy, *other.xyxy))):
            raise ExpertError(f"{self.name} needs finite boxes, got {box.xyxy} and {other.xyxy}; check the detector")
        margin = max(-1.0, min(1.0, relation(box.xyxy, other.xyxy)))
        return None if abs(margin) < UNSURE else 1 / (1 + math.exp(-SHARPNESS * margin))


def _normal(relation: str) -> str:
    return " ".join(relation.lower().split())
