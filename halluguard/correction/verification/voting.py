"""Combine the verdicts of several experts; "not found" counts by the recall of each expert.

    any      supported if one expert finds the object; contradicted if none does
    all      supported if every expert finds it; contradicted if one with sufficient recall does not
    votes    supported if more than half find it; contradicted if more than half do not

Experts that cannot judge a claim have no vote. "Not found" contradicts only if the joint recall of the experts that did
not find the object reaches `reliability.SPEAKS`; below it the verdict is "unsure". A single expert is one vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from halluguard.records import Verdict
from halluguard.reliability import SPEAKS, joint_recall


@dataclass(frozen=True)
class Vote:
    """The verdict of one expert without regard to its recall, and its recall for the label, in [0, 1]."""

    verdict: Verdict
    recall: float = 1.0


def agreed(votes: Sequence[Vote], agree: str = "any") -> Verdict:
    """The combined verdict of one or more votes; `agree` is described at the top of this file."""
    judging = [vote for vote in votes if vote.verdict.decision != "unverifiable"]
    if not judging:
        return _joined([vote.verdict for vote in votes])
    by_decision = {decision: [v for v in judging if v.verdict.decision == decision] for decision in _ORDER}
    supporting, doubting, silent = by_decision.values()
    if agree == "any":
        return _silence(silent) if len(silent) == len(judging) else _best(supporting or doubting)
    if agree == "votes":
        if 2 * len(supporting) > len(judging):
            return _best(supporting)
        if 2 * len(silent) > len(judging):
            return _silence(silent)
    elif len(supporting) == len(judging):
        return _best(supporting)
    elif speaking := [vote for vote in silent if vote.recall >= SPEAKS] or (silent if silent == judging else []):
        return _silence(speaking)
    verdict = _best(supporting or doubting or silent)
    if verdict.decision == "unsure":
        return verdict
    return replace(verdict, decision="unsure", confidence=0.5, reason=f"the experts disagree: {_reasons(judging)}")


_ORDER = ("supported", "unsure", "contradicted")


def _best(votes: Sequence[Vote]) -> Verdict:
    """The most confident verdict, with the evidence of all."""
    best = max(votes, key=lambda vote: vote.verdict.confidence).verdict
    others = [box for vote in votes for box in vote.verdict.evidence if box not in best.evidence]
    return replace(best, evidence=(*best.evidence, *others)) if others else best


def _silence(votes: Sequence[Vote]) -> Verdict:
    """The verdict if none found the object: "contradicted" if their joint recall is high enough, else "unsure"."""
    verdict = _joined([vote.verdict for vote in votes])
    recall = joint_recall(vote.recall for vote in votes)
    if recall >= SPEAKS:
        return verdict
    reason = f"{verdict.reason}; but the experts find only {recall:.0%} of such objects, so 'not found' decides nothing"
    return replace(verdict, decision="unsure", confidence=0.5, calibrated=False, reason=reason)


def _joined(verdicts: Sequence[Verdict]) -> Verdict:
    """The least confident of equal decisions, with the reasons and names of all."""
    first = min(verdicts, key=lambda verdict: verdict.confidence)
    if len(verdicts) == 1:
        return first
    experts = " and ".join(dict.fromkeys(verdict.expert for verdict in verdicts))
    reason, asked = _reasons([Vote(verdict) for verdict in verdicts]), any(verdict.asked for verdict in verdicts)
    return replace(first, reason=reason, expert=experts, asked=asked)


def _reasons(votes: Sequence[Vote]) -> str:
    if len(votes) == 1:
        return votes[0].verdict.reason
    return "; ".join(f"{vote.verdict.expert}: {vote.verdict.reason}" for vote in votes)
