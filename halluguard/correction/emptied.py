"""Choose the text of an answer of which no sentence is left: that nothing could be confirmed, or "No."."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from halluguard.correction.claims.extract import asked_for
from halluguard.correction.rewriting.rewrite import FALLBACK
from halluguard.records import Claim, Verdict

if TYPE_CHECKING:
    from spacy.language import Language


def text_if_emptied(
    question: str | None, claims: Sequence[Claim], verdicts: Sequence[Verdict], *, nlp: Language | None = None
) -> str:
    """ "No." where the answer affirms, wrongly, what a question of yes or no asks for; else the fallback sentence.

    "Is there a bus?"  "There is a bus on the left."  without a bus: "No."

    Args:
        question: the question that was answered, if there was one.
        claims, verdicts: of the answer; `verdict.claim` indexes the claims.
    """
    affirmed = [claims[v.claim] for v in verdicts if v.decision == "contradicted"]
    false = {claim.name for claim in affirmed if claim.kind == "existence" and claim.polarity == "asserted"}
    if not question or not false:
        return FALLBACK
    asked = {name for claim in asked_for(question, nlp=nlp) for name in (claim.name, *claim.alternatives)}
    return "No." if asked & false else FALLBACK
