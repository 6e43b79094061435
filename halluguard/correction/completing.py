"""Complete a corrected answer: add what an expert found and the answer leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from halluguard.correction.claims.extract import extract_many
from halluguard.correction.rewriting.additions import complete, wants_description
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.omissions import Omission, omissions
from halluguard.records import Answer, Claim, Edit, Verdict, apply_edits

if TYPE_CHECKING:
    from spacy.language import Language


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


def with_additions(
    draft: str,
    question: str | None,
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    edits: Sequence[Edit],
    evidence: Evidence,
    names: Sequence[str],
    *,
    least: float | None = None,
    nlp: Language | None = None,
) -> list[Edit]:
    """The edits of a draft, with additions of what the corrected text leaves out.

    A corrected text is read again: words that were deleted do not name anything any more.

    Args:
        draft, question: the answer before correction, and its question.
        claims, verdicts, edits: of the draft.
        evidence, names, least: as in `omitted_from`.
        nlp: a spaCy pipeline; default the best one installed.
    """
    text, said = apply_edits(draft, edits), list(claims)
    if text != draft:
        (again,) = extract_many([text], [question], errors="yield", nlp=nlp)
        said = again if isinstance(again, list) else []
    return complete(draft, edits, claims, verdicts, omitted_from(text, question, said, evidence, names, least=least))


def completed(answer: Answer, evidence: Evidence, names: Sequence[str], nlp: Language | None = None) -> Answer:
    """The corrected answer with the objects that it leaves out."""
    edits = with_additions(
        answer.draft, answer.question, answer.claims, answer.verdicts, answer.edits, evidence, names, nlp=nlp
    )
    return replace(answer, edits=tuple(edits), text=apply_edits(answer.draft, edits))
