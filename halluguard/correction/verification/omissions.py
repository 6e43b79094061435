"""Find objects that an expert detects and an answer leaves out.

An object is omitted if all of these hold:

- an expert whose precision for the label is high enough (`reliability.TRUSTED`) finds it, at a given score or, by
  default, at least half-way from its own threshold to 1;
- no expert whose recall is high enough (`reliability.SPEAKS`) looked for it and did not find it;
- no words of the answer name it: not as a synonym, a kind or a wider word, not denied, hedged or quoted.

The score must be above the threshold because most objects in an image are named already: at the threshold itself, half
of the objects that seem to be left out are not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from halluguard.boxes import area, overlap_of_smaller
from halluguard.correction.text.lexicon import words
from halluguard.correction.verification.evidence import Evidence, distinct
from halluguard.correction.verification.existence import presence
from halluguard.records import XYXY, Box, Claim, Verdict
from halluguard.reliability import TRUSTED, precision_of
from halluguard.vocabulary import COCO, FORMS, UNFILED, category, parents, plural, related, same

_PEOPLE = words("people too")
_WORD = re.compile(r"[^\W_]+")
_LONGEST = max(form.count(" ") + 1 for form in FORMS)
_SUPPORTS = ("dining table", "bed", "couch", "bench")
_SIDE = 0.4
"""Share of the width, from either edge, in which the middle of a box lies "on the left" or "on the right"."""


@dataclass(frozen=True)
class Omission:
    """An object that is there and not named.

    Args:
        name: its name.
        evidence: the boxes on which it rests, best first.
        count: number of objects found; None where the evidence has no boxes.
        place: its place in words ("on the left"), or "".
    """

    name: str
    evidence: tuple[Box, ...]
    count: int | None = None
    place: str = ""


def candidates(detector: object, wanted: bool | Sequence[str]) -> tuple[str, ...]:
    """The names to look for: those that are given, else all labels of the experts, else COCO's categories.

    Args:
        detector: a detector; one with a fixed list of labels has an attribute `names`.
        wanted: a vocabulary; True for the detector's own; False or empty for none.
    """
    if not isinstance(wanted, bool):
        return tuple(dict.fromkeys(name.strip().lower() for name in wanted if name.strip()))
    if not wanted:
        return ()
    experts = getattr(detector, "experts", None) or (detector,)
    listed = [getattr(expert, "names", None) for expert in experts]
    return tuple(dict.fromkeys(name for names in listed for name in (COCO if names is None else names)))


def omissions(
    text: str, claims: Sequence[Claim], evidence: Evidence, names: Iterable[str], *, least: float | None = None
) -> list[Omission]:
    """The objects that are there and not named, in the order of the names.

    Args:
        text: the answer.
        claims: its claims.
        evidence: findings of the experts, which were asked for the names.
        names: the names to look for, from `candidates`.
        least: score from which an object counts as there, in [0, 1]; default half-way from an expert's threshold to 1.
    """
    said = _said(text, claims)
    omitted: list[Omission] = []
    for name in sorted(names, key=lambda name: category(name) != name):  # a category stands for its kinds
        if name in UNFILED or _is_said(name, said):
            continue
        verdict = presence(name, evidence)
        if verdict.decision == "supported" and _trusted(name, evidence, least):
            omitted.append(_omission(name, verdict, evidence))
            said.add(name)
    supports = {f"on the {one.name.removeprefix('dining ')}" for one in omitted}
    return [replace(one, place="") if one.place in supports else one for one in omitted]


def _trusted(name: str, evidence: Evidence, least: float | None) -> bool:
    """Whether the experts that found it are precise enough together, and no silence speaks against it."""
    wrong = 1.0
    for one in evidence.experts or (evidence,):
        verdict = presence(name, one)
        enough = (one.thresholds.of(name)[0] + 1) / 2 if least is None else least
        boxes = [box for box in verdict.evidence if related(name, box.label) != "wider" and box.score >= enough]
        if verdict.decision == "supported" and boxes:
            wrong *= 1.0 - precision_of(one.detector).of(name)
        elif verdict.decision == "contradicted":  # recall is high; else it would be "unsure"
            return False
    return 1.0 - wrong >= TRUSTED


def _said(text: str, claims: Sequence[Claim]) -> set[str]:
    """All names that the words of a text could stand for, with the compact forms of its words."""
    tokens = [word.lower() for word in _WORD.findall(text)]
    said = {claim.name for claim in claims} | {name for claim in claims for name in claim.alternatives}
    for first in range(len(tokens)):
        for last in range(first + 1, min(first + _LONGEST, len(tokens)) + 1):
            form = FORMS.get(" ".join(tokens[first:last]))
            if form is not None:
                said.add(form[0])
            elif last - first <= 2:
                said.add(" ".join(tokens[first:last]))
    if not _PEOPLE.isdisjoint(tokens):
        said.add("person")
    return said


def _is_said(name: str, said: set[str]) -> bool:
    """Whether the words name it: itself, a kind of it, its category, or a wider word."""
    forms = {name, same(name), plural(name), name.replace(" ", ""), plural(name).replace(" ", "")}
    if forms & said or not said.isdisjoint(parents(name)):
        return True
    filed = category(name)
    named = [word for word in said if word in FORMS]
    return any((filed and category(word) == filed) or same(name) in (same(word), *parents(word)) for word in named)


def _omission(name: str, verdict: Verdict, evidence: Evidence) -> Omission:
    with_boxes = [box for box in verdict.evidence if box.xyxy is not None]
    if not with_boxes:
        return Omission(name, verdict.evidence)
    boxes = distinct(sorted(_sure(name, with_boxes, evidence), key=lambda box: -box.score))
    place = _place(name, boxes, evidence)
    return Omission(name, verdict.evidence, len(boxes), place)


def _sure(name: str, boxes: Sequence[Box], evidence: Evidence) -> list[Box]:
    """The boxes that reach the threshold of an expert."""
    high = min(one.thresholds.of(name)[0] for one in evidence.experts or (evidence,))
    return [box for box in boxes if box.score >= high] or list(boxes[:1])


def _place(name: str, boxes: Sequence[Box], evidence: Evidence) -> str:
    """The place of the boxes: "on the table", "on the left", or "" if they lie apart or in the middle."""
    corners = [box.xyxy for box in boxes if box.xyxy is not None]
    for support in _SUPPORTS:
        under = [box.xyxy for box in evidence.objects(support) if box.xyxy is not None] if support != name else []
        if under and all(any(_stands_on(box, one) for one in under) for box in corners):
            return f"on the {support.removeprefix('dining ')}"
    if evidence.size is None:
        return ""
    middles = [(box[0] + box[2]) / 2 / evidence.size[0] for box in corners]
    if max(middles) <= _SIDE:
        return "on the left"
    return "on the right" if min(middles) >= 1 - _SIDE else ""


def _stands_on(box: XYXY, support: XYXY) -> bool:
    """Whether a small box ends inside a larger one, below its upper edge."""
    inside = support[0] <= (box[0] + box[2]) / 2 <= support[2] and support[1] <= box[3] <= support[3]
    return inside and 4 * area(box) <= area(support) and overlap_of_smaller(box, support) >= 0.5
