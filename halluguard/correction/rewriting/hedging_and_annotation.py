"""Hedge or annotate instead of deleting: a doubt in the text, or the boxes after each object.

hedge      a dog and a cat  ->  a dog and possibly a cat
annotate   a dog and a cat  ->  a dog [12, 30, 200, 180] and a cat [not found]
"""

from __future__ import annotations

from halluguard.correction.rewriting import replacements
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.yes_no import YesNoRewriter
from halluguard.records import Verdict

HEDGE = "possibly"
_INSIDE = ("det", "amod", "nummod", "poss", "compound", "quantmod", "advmod", "predet")


def hedge(plan: EditPlan) -> None:
    """Put "possibly" before contradicted objects; yes and no are turned as in style "delete". Hedged text stays."""
    settled = YesNoRewriter(plan).settle()
    for i in plan.wrong:
        index = plan.verdicts[i].claim
        claim, mention = plan.claims[index], plan.by_claim.get(index)
        if mention is None or index in settled or claim.modality == "hedged":
            continue
        first = _phrase_start(plan, mention)
        if claim.polarity == "asserted" and not plan.editor.tokens[first].lower().startswith(HEDGE):
            _before(plan, first, i)


def _phrase_start(plan: EditPlan, mention: int) -> int:
    parse, first, head = plan.parse, plan.mentions[mention].first, plan.mentions[mention].last
    return min([first, *(j for j in parse.children[head] if parse.deps[j] in _INSIDE and j < first)])


def _before(plan: EditPlan, token: int, why: int) -> None:
    word = plan.editor.tokens[token]
    opens = token == plan.parse.sentences[plan.parse.sentence[token]][0] and word[:1].isupper()
    if opens:
        lower = word if len(word) > 1 and word.isupper() else word[0].lower() + word[1:]
        plan.editor.put(token, f"{HEDGE.capitalize()} {lower}", {why})
    else:
        plan.editor.put(token, f"{HEDGE} {word}", {why})


def annotate(plan: EditPlan) -> None:
    """Write after each object where it was found (x1, y1, x2, y2 in pixels), or "not found".

    Objects that no expert judged, or found without a box, stay bare, and so does what is annotated already.
    """
    editor = plan.editor
    for i, verdict in enumerate(plan.verdicts):
        claim = plan.claims[verdict.claim]
        mention = plan.by_claim.get(verdict.claim)
        if mention is None or claim.polarity == "denied" or replacements.annotated(plan.parse.text, claim.end):
            continue
        note = _note(verdict)
        if note:
            last = plan.mentions[mention].last
            editor.put(last, f"{editor.tokens[last]} [{note}]", {i})


def _note(verdict: Verdict) -> str:
    if verdict.decision == "contradicted":
        return "not found"
    placed = [box.xyxy for box in verdict.evidence if box.xyxy is not None]
    boxes = "; ".join(", ".join(str(round(value)) for value in xyxy) for xyxy in placed)
    if verdict.decision == "supported":
        return boxes
    return "unsure" if verdict.decision == "unsure" and placed else ""
