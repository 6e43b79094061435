"""Repair contradicted claims in place, one function per kind of claim; the table `correction/kinds.py` names them.

A function takes the plan and the index of the contradicted verdict. It edits the text where it can, and returns the
tokens that have to be cut instead: token -> index of the verdict that causes the cut.
"""

from __future__ import annotations

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting import replacements
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.records import Claim, Edit

Cuts = dict[int, int]


def repair_denial(plan: EditPlan, verdict: int) -> Cuts:
    """Correct "There is no dog" if there is one, and cut "without a dog"; other denials have no safe edit."""
    claim = plan.verdicts[verdict].claim
    mention = plan.by_claim.get(claim)
    if plan.claims[claim].polarity != "denied" or mention is None:
        return {}
    parse, noun = plan.parse, plan.mentions[mention].last
    if replacements.affirm(plan.editor, noun, verdict):
        return {}
    first, leaf = parse.first_conjunct(noun), parse.leaf(noun)
    if leaf is not None and leaf.kind == "term":  # "no people"
        return {noun: verdict}
    heir = parse.child(noun, "conj") is not None  # "with no cats, dogs or plates" denies the others with one word
    return {} if heir or parse.words[parse.heads[first]] not in ("with", "without") else {noun: verdict}


def repair_count(plan: EditPlan, verdict: int) -> Cuts:
    """Write the number that was found."""
    claim, mention = _of_a_present_object(plan, verdict)
    if mention is not None:
        replacements.number(plan.editor, mention, claim, plan.verdicts[verdict], verdict)
    return {}


def repair_relation(plan: EditPlan, verdict: int) -> Cuts:
    """Write the opposite relation, where it was found to hold."""
    claim, mention = _of_a_present_object(plan, verdict)
    opposite = plan.verdicts[verdict].replacement
    if mention is not None and opposite is not None:
        replacements.relation(plan.editor, claim, opposite, verdict)
    return {}


def repair_attribute(plan: EditPlan, verdict: int) -> Cuts:
    """Write the attribute that was found, or cut the wrong one."""
    claim, mention = _of_a_present_object(plan, verdict)
    if mention is None:
        return {}
    replacement = plan.verdicts[verdict].replacement
    new_value = None if plan.has(claim, replacement) else replacement
    if not replacements.attribute(plan.editor, claim, new_value, verdict) and claim.trigger is not None:
        return {replacements.tokens_of(plan.editor, *claim.trigger)[-1]: verdict}
    return {}


def repair_text(plan: EditPlan, verdict: int) -> Cuts:
    """Replace a wrong quotation by the text in the image; where that is not one clear line, flag the words."""
    claim, judged = plan.claims[plan.verdicts[verdict].claim], plan.verdicts[verdict]
    tokens = replacements.tokens_of(plan.editor, claim.start, claim.end)
    if judged.replacement is None or not tokens:
        plan.flags.append(
            Edit(claim.start, claim.end, claim.phrase, claim.phrase, (verdict,), judged.reason, "flagged")
        )
        return {}
    plan.editor.delete(tokens[:-1], {verdict})
    for token in tokens[:-1]:
        plan.editor.gaps[token] = ""
    plain = judged.replacement.isdigit() or plan.parse.quoted.issuperset(tokens)
    plan.editor.put(tokens[-1], judged.replacement if plain else f'"{judged.replacement}"', {verdict})
    return {}


def _of_a_present_object(plan: EditPlan, verdict: int) -> tuple[Claim, Mention | None]:
    """The claim, and the mention it is about; None where the object is absent or the claim is a denial."""
    claim = plan.claims[plan.verdicts[verdict].claim]
    mention = plan.by_claim.get(claim.subject) if claim.subject is not None else None
    if mention is None or plan.decision.get(mention) == "contradicted" or claim.polarity == "denied":
        return claim, None
    return claim, plan.mentions[mention]
