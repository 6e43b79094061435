"""Complete a corrected answer: add what an expert found and the answer leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from halluguard.correction.claims.extract import extract_many
from halluguard.correction.rewriting.additions import complete, wants_description
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.omissions import Omission, omissions
from halluguard.records import Answer, Claim, Edit, apply_edits

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


def claims_left(
    texts: Sequence[str],
    drafts: Sequence[str],
    questions: Sequence[str | None],
    claims: Sequence[Sequence[Claim]],
    *,
    nlp: Language | None = None,
) -> list[Sequence[Claim]]:
    """The claims of N corrected texts, which are read together: words that were deleted name nothing any more.

    Args:
        texts: the corrected texts; one that equals its draft is not read again.
        drafts, questions, claims: of the answers before correction.
        nlp: a spaCy pipeline; default the best one installed.

    Returns:
        For each text its claims; none for a text that cannot be read.
    """
    changed = [i for i, (text, draft) in enumerate(zip(texts, drafts, strict=True)) if text != draft]
    left = list(claims)
    again = extract_many([texts[i] for i in changed], [questions[i] for i in changed], errors="yield", nlp=nlp)
    for i, own in zip(changed, again, strict=True):
        left[i] = own if isinstance(own, list) else []
    return left


def with_additions(
    answer: Answer,
    left: Sequence[Claim],
    evidence: Evidence,
    names: Sequence[str],
    *,
    least: float | None = None,
) -> list[Edit]:
    """The edits of an answer, with additions of what its corrected text leaves out.

    Args:
        answer: the answer with its claims, verdicts and edits; its `text` is not read.
        left: claims of the corrected text, from `claims_left`.
        evidence, names, least: as in `omitted_from`.
    """
    text = apply_edits(answer.draft, answer.edits)
    omitted = omitted_from(text, answer.question, left, evidence, names, least=least)
    return complete(answer.draft, answer.edits, answer.claims, answer.verdicts, omitted)


def completed(answer: Answer, evidence: Evidence, names: Sequence[str], nlp: Language | None = None) -> Answer:
    """The corrected answer with the objects that it leaves out."""
    (left,) = claims_left([answer.text], [answer.draft], [answer.question], [answer.claims], nlp=nlp)
    edits = with_additions(answer, left, evidence, names)
    return replace(answer, edits=tuple(edits), text=apply_edits(answer.draft, edits))
