"""From what was found to a verdict: existence and number. Pure functions of the claim and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from halluguard.correction.verification.evidence import Evidence, ask, count_between, distinct, finest, overlap
from halluguard.correction.verification.thresholds import Thresholds
from halluguard.records import Box, Claim, Decision, Detector, Verdict
from halluguard.vocabulary import same


class Calibration(Protocol):
    """Turns an expert's score into a probability, fitted on labelled data."""

    def probability(self, label: str, score: float) -> float | None:
        """The probability in [0, 1] that a thing scored `score` under `label` is there; None where nothing was fitted.

        A score of 0 stands for nothing found.
        """
        ...


@dataclass(frozen=True)
class Look:
    """All that is known of one picture when its claims are judged.

    Args:
        evidence: what the detector found.
        size: width and height of the picture in pixels, where it is known.
        closer: phrase -> best score on the second, closer look; empty when there was none.
        closer_failed: why the second look failed, or "".
    """

    evidence: Evidence
    detector: Detector
    limits: Thresholds
    calibration: Calibration | None = None
    size: tuple[int, int] | None = None
    closer: Mapping[str, float] = field(default_factory=dict)
    closer_failed: str = ""

    def boxes(self, name: str) -> list[Box]:
        """The distinct things found under a name, best first: all that score `high`, or else all that score `low`."""
        own, wider = ask(name, self.detector.covers)
        high, low = self.limits.of(name)
        found = distinct(self.evidence.boxes(own or wider))
        return [box for box in found if box.score >= high] or [box for box in found if box.score >= low]

    def best(self, name: str) -> float:
        """The best score found under a name; 0 when nothing was."""
        own, wider = ask(name, self.detector.covers)
        return max((box.score for box in self.evidence.boxes((*own, *wider))), default=0.0)


def existence(claim: Claim, look: Look) -> Verdict:
    """The verdict on an existence claim, or on the existence of what another claim is about."""
    aside = _claims_nothing(claim)
    if aside:
        return Verdict(0, "unverifiable", reason=aside)
    verdict = presence(claim.name, look)
    if claim.alternatives and claim.polarity == "asserted":
        others = [presence(name, look) for name in claim.alternatives]
        verdict = next((v for v in [verdict, *others] if v.decision == "supported"), verdict)
        if verdict.decision == "contradicted" and any(v.decision != "contradicted" for v in others):
            verdict = replace(verdict, decision="unsure", reason="one of its alternatives may be there")
    if claim.polarity == "denied":
        verdict = denied(verdict)
    if claim.modality == "irrealis" and verdict.decision == "contradicted":
        return replace(verdict, decision="unverifiable", reason="the text does not say that it is there")
    return verdict


def _claims_nothing(claim: Claim) -> str:
    if claim.modality == "question":
        return "a question claims nothing"
    if claim.modality == "depicted":
        return "it is said to be depicted, not to be there"
    return "matter and places are not things a detector can judge" if claim.source_rule == "stuff" else ""


def presence(name: str, look: Look) -> Verdict:
    """Is a thing of this name there? What was missed at first and seen on a closer look is unsure, not absent."""
    verdict = _calibrated(_at_first_sight(name, look), name, look)
    if verdict.decision != "contradicted":
        return verdict
    if look.closer_failed:
        return replace(verdict, decision="unsure", confidence=0.0, reason=f"a closer look failed: {look.closer_failed}")
    own, wider = ask(name, look.detector.covers)
    score = max((look.closer.get(phrase, 0.0) for phrase in (*own, *wider)), default=0.0)
    if score < look.limits.of(name)[1]:
        return verdict
    return replace(verdict, decision="unsure", confidence=1 - score, reason=f"seen only on a closer look: {score:.2f}")


def _calibrated(verdict: Verdict, name: str, look: Look) -> Verdict:
    """The verdict with a confidence fitted on labelled data, where there is one."""
    if look.calibration is None or verdict.decision not in ("supported", "contradicted"):
        return verdict
    score = max((box.score for box in verdict.evidence), default=look.best(name))
    chance = look.calibration.probability(name, score)
    if chance is None:
        return verdict
    return replace(verdict, confidence=chance if verdict.decision == "supported" else 1 - chance, calibrated=True)


def _at_first_sight(name: str, look: Look) -> Verdict:
    own, wider = ask(name, look.detector.covers)
    if not own and not wider:
        return Verdict(0, "unverifiable", reason=f"{look.detector.name} cannot judge {name!r}")
    high, low = look.limits.of(name)
    boxes = look.evidence.boxes(own)
    score = max((box.score for box in boxes), default=0.0)
    seen = tuple(box for box in boxes if box.score >= low)
    if own and score >= high:
        return Verdict(0, "supported", score, evidence=seen, reason=f"found {seen[0].label!r} at {score:.2f}")
    if own and score >= low:
        return Verdict(0, "unsure", 1 - score, evidence=seen, reason=f"{name!r} scores {score:.2f}, in [{low}, {high})")
    if not any(look.detector.covers(phrase) for phrase in (name, same(name))) and own:
        return Verdict(
            0, "unsure", 0.5, reason=f"none of the kinds of {name!r} that {look.detector.name} knows was found"
        )
    if wider:
        return _wider(name, wider[0], look, covered=bool(own))
    return Verdict(0, "contradicted", 1 - score, reason=f"no {name!r} found: best score {score:.2f} < {low}")


def _wider(name: str, wide: str, look: Look, *, covered: bool) -> Verdict:
    """Nothing found under the name itself; what does the wider word say?"""
    high, low = look.limits.of(wide)
    boxes = tuple(box for box in look.evidence.boxes([wide]) if box.score >= low)
    score = max((box.score for box in boxes), default=0.0)
    if not boxes:
        best = max((box.score for box in look.evidence.boxes([wide])), default=0.0)
        return Verdict(0, "contradicted", 1 - best, reason=f"no {name!r} and no {wide!r} found: best score {best:.2f}")
    if score >= high and not covered and finest(name, wide):
        return Verdict(0, "supported", score, evidence=boxes, reason=f"found {wide!r}, which covers {name!r}")
    return Verdict(0, "unsure", score, evidence=boxes, reason=f"found {wide!r} at {score:.2f}, could not tell {name!r}")


def denied(verdict: Verdict) -> Verdict:
    """The verdict on "there is no such thing"."""
    if verdict.decision == "supported":
        return replace(verdict, decision="contradicted", reason=f"denied, but {verdict.reason}")
    if verdict.decision == "contradicted":
        return replace(verdict, decision="supported", reason=f"rightly denied: {verdict.reason}")
    return verdict


def count(claim: Claim, look: Look) -> Verdict:
    """Is the number right at both thresholds? Between them the expert's own count is not stable."""
    there = existence(claim, look)
    if there.decision in ("contradicted", "unverifiable") or claim.count is None:
        return there
    own, wider = ask(claim.name, look.detector.covers)
    boxes = look.evidence.boxes(own or wider)
    if any(box.xyxy is None for box in boxes):
        return replace(there, decision="unverifiable", confidence=0.0, reason=f"{look.detector.name} does not count")
    high, low = look.limits.of(claim.name)
    fewest, most = count_between(boxes, high, low)
    said = f"{claim.count} claimed ({claim.bound.replace('_', ' ')}), "
    found = f"{fewest} found" if fewest == most else f"between {fewest} and {most} found"
    decision = _compare(claim, fewest, most, only_upper=not own)
    stable = decision == "contradicted" and fewest == most and fewest > 0 and bool(own)
    return replace(
        there,
        decision=decision,
        reason=said + found,
        confidence=min((box.score for box in distinct(boxes)[:fewest]), default=0.0),
        calibrated=False,
        replacement=str(fewest) if stable else None,
    )


def _compare(claim: Claim, fewest: int, most: int, *, only_upper: bool) -> Decision:
    count = claim.count or 0
    lowest, highest = count, count
    if claim.bound == "at_least":
        highest = 10**9
    elif claim.bound == "at_most":
        lowest = 0
    elif claim.bound == "about":
        slack = max(1, round(0.25 * count))
        lowest, highest = count - slack, count + slack
    if most < lowest:
        return "contradicted"
    if fewest > highest:
        # "two people on the bench" leaves room for others; "there are two people" does not, nor a yes to
        # "are there two people?".
        return "contradicted" if claim.source_rule in ("total", "question") and not only_upper else "unsure"
    if only_upper:
        return "unsure"
    return "supported" if lowest <= fewest and most <= highest else "unsure"


def place(claim: Claim, look: Look) -> Verdict:
    """Is the thing where the answer's own box says? By the best overlap (IoU) with what was found.

    0.5 or more supports, less than 0.1 contradicts, and in between it is unsure.
    """
    there = existence(replace(claim, kind="existence"), look)
    if there.decision in ("contradicted", "unverifiable") or claim.written_box is None:
        return there
    boxes = [box for box in look.boxes(claim.name) if box.xyxy is not None]
    if look.size is None or not boxes:
        return replace(there, decision="unverifiable", confidence=0.0, reason="no box was found to hold it against")
    x1, y1, x2, y2 = claim.written_box
    width, height = look.size
    said = Box(claim.name, 1.0, (x1 * width, y1 * height, x2 * width, y2 * height))
    best = max(overlap(said, box) for box in boxes)
    decision: Decision = "supported" if best >= 0.5 else "contradicted" if best < 0.1 else "unsure"
    sure = 1 - best if decision == "contradicted" else best
    reason = f"the box written for {claim.name!r} overlaps what was found by {best:.2f} (IoU)"
    return replace(there, decision=decision, confidence=sure, calibrated=False, reason=reason, evidence=tuple(boxes))
