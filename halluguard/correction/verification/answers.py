"""Verdicts on yes/no answers, and on kinds of claims that no expert judges."""

from __future__ import annotations

from halluguard.correction.verification.counts import verify_count
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.existence import existence
from halluguard.correction.verification.properties import verify_property
from halluguard.records import Claim, Verdict


def verify_answer(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a yes or no, as on the claim that the answer makes."""
    if claim.relation is not None or claim.attribute is not None:
        return verify_property(claim, evidence)
    return existence(claim, evidence) if claim.count is None else verify_count(claim, evidence)


def unverifiable(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a kind of claim that no expert judges."""
    return Verdict(0, "unverifiable", reason=f"no expert judges claims of the kind {claim.kind!r}", asked=False)
