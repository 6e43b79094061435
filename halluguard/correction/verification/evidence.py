"""What an expert found in one picture, by phrase, and which phrases speak for which names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from halluguard.records import Box, Claim
from halluguard.vocabulary import category, children, parents, same

Covers = Callable[[str], bool]


@dataclass(frozen=True)
class Evidence:
    """Boxes per phrase that was put to the expert. A phrase without boxes was looked for and not found."""

    by_phrase: Mapping[str, Sequence[Box]]

    def boxes(self, phrases: Iterable[str]) -> list[Box]:
        """All boxes of these phrases, best first."""
        return sorted((box for phrase in phrases for box in self.by_phrase.get(phrase, ())), key=lambda box: -box.score)


def finest(name: str, wide: str) -> bool:
    """Whether an expert that only knows the wider word has said all it can: a man is filed under person."""
    return category(name) == wide or wide in parents(name)[:1]


def phrases_for(claim: Claim, covers: Covers) -> list[str]:
    """What to ask the expert for the sake of one claim; nothing where it claims no presence."""
    if claim.modality in ("question", "depicted") or claim.source_rule == "stuff":
        return []
    asked = [ask(name, covers) for name in (claim.name, *claim.alternatives)]
    return [phrase for own, wider in asked for phrase in (*own, *wider)]


def ask(name: str, covers: Covers) -> tuple[list[str], list[str]]:
    """Phrases that mean the name, and at most one wider phrase. They depend on nothing but the name and the expert.

    The name and its synonym, where the expert covers them; else the nearest wider word ("man" -> "person"), or the
    kinds of it ("vehicle" -> "bus", "car", ...). A covered name is asked together with its COCO category, so that a
    person who may be a man is told from nobody at all.
    """
    own = [phrase for phrase in dict.fromkeys((name, same(name))) if covers(phrase)]
    wider = [wide for wide in parents(name) if covers(wide)][:1]
    if own:
        return own, wider if wider == [category(name)] else []
    return ([], wider) if wider else ([kind for kind in children(name) if covers(kind)], [])


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 when one has no geometry."""
    if a.xyxy is None or b.xyxy is None:
        return 0.0
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.xyxy, b.xyxy
    inter = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter
    return inter / union if union > 0 else 0.0


def distinct(boxes: Sequence[Box], iou: float = 0.5) -> list[Box]:
    """Boxes left after the weaker of two that overlap by more than `iou` is dropped; best first."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b.score):
        if all(overlap(box, other) <= iou for other in kept):
            kept.append(box)
    return kept


def count_between(boxes: Sequence[Box], high: float, low: float) -> tuple[int, int]:
    """How many things there are at least (score >= high) and at most (score >= low)."""
    things = distinct(boxes)
    return sum(box.score >= high for box in things), sum(box.score >= low for box in things)
