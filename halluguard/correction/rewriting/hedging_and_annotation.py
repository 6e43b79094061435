"""Other ways to tell a reader what was found: a doubt in the text, or the boxes behind each object.

hedge      a dog and a cat  ->  a dog and possibly a cat
annotate   a dog and a cat  ->  a dog [12, 30, 200, 180] and a cat [not found]
"""

from __future__ import annotations

from collections.abc import Sequence

from halluguard.correction.rewriting import replacements
from halluguard.correction.rewriting.edit_plan import Plan
from halluguard.correction.rewriting.yes_no import Replies
from halluguard.records import Claim, Verdict

HEDGE = "possibly"
_INSIDE = ("det", "amod", "nummod", "poss", "compound", "quantmod", "advmod", "predet")


def hedge(plan: Plan, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> None:
    """Put "possibly" before what is contradicted; yes and no are still turned round. What is hedged already stays."""
    wrong = [i for i, v in enumerate(verdicts) if v.decision == "contradicted"]
    settled = Replies(plan, claims, verdicts).settle([i for i in wrong if claims[verdicts[i].claim].kind == "answer"])
    for i in wrong:
        claim = claims[verdicts[i].claim]
        mention = plan.by_claim.get(verdicts[i].claim)
        if mention is None or verdicts[i].claim in settled or claim.modality == "hedged":
            continue
        first = _phrase_start(plan, mention)
        if claim.polarity == "asserted" and not plan.surface.tokens[first].lower().startswith(HEDGE):
            _before(plan, first, i)


def _phrase_start(plan: Plan, mention: int) -> int:
    parse, found = plan.parse, plan.mentions[mention]
    return min([found.first, *(j for j in parse.children[found.last] if parse.deps[j] in _INSIDE and j < found.first)])


def _before(plan: Plan, token: int, why: int) -> None:
    word = plan.surface.tokens[token]
    opens = token == plan.parse.sentences[plan.parse.sentence[token]][0] and word[:1].isupper()
    if opens:
        lower = word if len(word) > 1 and word.isupper() else word[0].lower() + word[1:]
        plan.surface.put(token, f"{HEDGE.capitalize()} {lower}", {why})
    else:
        plan.surface.put(token, f"{HEDGE} {word}", {why})


def annotate(plan: Plan, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> None:
    """Write after each object where it was found (x1, y1, x2, y2 in pixels), or "not found".

    Objects that no expert judged, or found without a box, stay bare, and so does what is annotated already.
    """
    surface = plan.surface
    for i, verdict in enumerate(verdicts):
        claim = claims[verdict.claim]
        mention = plan.by_claim.get(verdict.claim)
        if mention is None or claim.polarity == "denied" or replacements.annotated(plan.parse.text, claim.end):
            continue
        note = _note(verdict)
        if note:
            last = plan.mentions[mention].last
            surface.put(last, f"{surface.tokens[last]} [{note}]", {i})


def _note(verdict: Verdict) -> str:
    if verdict.decision == "contradicted":
        return "not found"
    placed = [box.xyxy for box in verdict.evidence if box.xyxy is not None]
    boxes = "; ".join(", ".join(str(round(value)) for value in xyxy) for xyxy in placed)
    if verdict.decision == "supported":
        return boxes
    return "unsure" if verdict.decision == "unsure" and placed else ""
