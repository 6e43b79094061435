"""Complete a corrected answer: add what an expert found and the answer leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halluguard.correction.rewriting.additions import complete, wants_description
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.omissions import Omission, omissions
from halluguard.records import Answer, Claim, apply_edits


def omitted_from(
    text: str,
    question: str | None,
    claims: Sequence[Claim],
    evidence: Evidence,
    names: Sequence[str],
    *,
    least: float | None = None,
) -> list[Omission]:
    """The objects that an answer leaves out; none if its question does not ask for a description.

    Args:
        text: the answer.
        question: its question.
        claims: its claims.
        evidence: findings of the experts, which were asked for `names` too.
        names: the vocabulary, from `omissions.candidates`.
        least: score from which an object counts as there; see `omissions`.
    """
    if not wants_description(question) or any(claim.kind == "answer" for claim in claims):
        return []
    return omissions(text, claims, evidence, names, least=least)


def completed(answer: Answer, evidence: Evidence, names: Sequence[str]) -> Answer:
    """The corrected answer, with the objects added that it leaves out."""
    left_out = omitted_from(answer.draft, answer.question, answer.claims, evidence, names)
    edits = complete(answer.draft, answer.edits, answer.claims, answer.verdicts, left_out)
    return replace(answer, edits=tuple(edits), text=apply_edits(answer.draft, edits))
