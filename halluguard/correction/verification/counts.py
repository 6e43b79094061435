"""Verdicts on numbers, and on boxes that the answer itself writes."""

from __future__ import annotations

from dataclasses import replace

from halluguard.boxes import iou
from halluguard.correction.verification.evidence import Evidence, distinct
from halluguard.correction.verification.existence import denied, existence
from halluguard.correction.verification.thresholds import OVERLAP_HIGH, OVERLAP_LOW
from halluguard.correction.verification.voting import Vote, agreed
from halluguard.records import Claim, Decision, Verdict
from halluguard.reliability import SPEAKS


def verify_count(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a number, from the lowest and the highest count that the two thresholds allow."""
    if claim.polarity == "denied":
        return denied(verify_count(replace(claim, polarity="asserted"), evidence))
    verdict = existence(claim, evidence)
    if verdict.decision in ("contradicted", "unverifiable") or claim.count is None:
        return verdict
    if evidence.experts:
        experts = [one for one in evidence.experts if one.boxes(one.terms_of(claim.name))] or evidence.experts
        return agreed([Vote(_counted(claim, one, verdict)) for one in experts], evidence.agree)
    return _counted(claim, evidence, verdict)


def _counted(claim: Claim, evidence: Evidence, verdict: Verdict) -> Verdict:
    """The verdict of one expert on the number, given the verdict on existence."""
    terms, expert = evidence.terms_of(claim.name), evidence.detector.name
    boxes = evidence.boxes(terms.own or terms.wider)
    if not boxes:
        return verdict  # what was not found may be there under a name that the expert does not know
    if any(box.xyxy is None for box in boxes):
        reason = f"{expert} does not count"
        return replace(verdict, decision="unverifiable", confidence=0.0, expert=expert, reason=reason)
    high, low = evidence.thresholds.of(claim.name)
    objects = distinct(boxes)
    fewest, most = (sum(box.score >= least for box in objects) for least in (high, low))
    decision = _compare(claim, fewest, most, only_upper=not terms.own)
    if decision == "contradicted" and most < (claim.count or 0) and evidence.recall.of(claim.name) < SPEAKS:
        decision = "unsure"  # those that are missing may be among those that it misses
    stable = decision == "contradicted" and fewest == most and fewest > 0 and bool(terms.own)
    number = f"{fewest} found" if fewest == most else f"between {fewest} and {most} found"
    return replace(
        verdict,
        decision=decision,
        reason=f"{claim.count} claimed ({claim.bound.replace('_', ' ')}), {number}",
        confidence=min((box.score for box in objects[:fewest]), default=0.0),
        calibrated=False,
        expert=expert,
        replacement=str(fewest) if stable else None,
    )


def _compare(claim: Claim, fewest: int, most: int, *, only_upper: bool) -> Decision:
    """Compare the claimed number with the detected range.

    Args:
        only_upper: whether only a wider class was detected, which bounds the number from above.
    """
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


def verify_written_box(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a box that the answer writes, by its best overlap (IoU) with the detected boxes."""
    verdict = existence(replace(claim, kind="existence"), evidence)
    if verdict.decision in ("contradicted", "unverifiable") or claim.written_box is None:
        return verdict
    boxes = [box for box in evidence.objects(claim.name) if box.xyxy is not None]
    if evidence.size is None or not boxes:
        reason = "no box was found to hold it against"
        return replace(verdict, decision="unverifiable", confidence=0.0, reason=reason)
    x1, y1, x2, y2 = claim.written_box
    width, height = evidence.size
    written = (x1 * width, y1 * height, x2 * width, y2 * height)
    best = max(iou(written, box.xyxy) for box in boxes)
    decision: Decision = "supported" if best >= OVERLAP_HIGH else "contradicted" if best < OVERLAP_LOW else "unsure"
    confidence = 1 - best if decision == "contradicted" else best
    reason = f"the box written for {claim.name!r} overlaps what was found by {best:.2f} (IoU)"
    return replace(
        verdict, decision=decision, confidence=confidence, calibrated=False, reason=reason, evidence=tuple(boxes)
    )
