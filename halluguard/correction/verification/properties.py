"""Verdicts on attributes and relations, from the answers of property experts.

    p >= high for one of the objects      supported
    p <  low  for every one of them       contradicted
    otherwise, or "could not tell"        unsure
    no expert covers the question         unverifiable

A contradicted property is followed up: which colour is it then, and does the relation hold the other way round? The
value goes into `Verdict.replacement` only where its score is high and well ahead of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halluguard.correction.claims import attributes, relations
from halluguard.correction.verification.counts import verify_written_box
from halluguard.correction.verification.evidence import Evidence, PropertyAnswers
from halluguard.correction.verification.existence import denied, existence, presence
from halluguard.correction.verification.thresholds import REPLACEMENT_MARGIN, property_thresholds
from halluguard.records import Box, Claim, Decision, Question, Verdict

_MOST_OBJECTS = 4  # largest number of objects per name, best first, about which a property is asked

_OPPOSITE_STATES = [
    ("open", "closed"), ("empty", "full"), ("lit", "unlit"), ("wet", "dry"), ("clean", "dirty"), ("raw", "cooked"),
    ("tall", "short"), ("large", "small"), ("big", "small"), ("young", "old"), ("ripe", "unripe"),
]  # fmt: skip
_POSTURES = ("sitting", "standing", "lying", "walking", "running", "jumping")


def questions_of(claim: Claim, evidence: Evidence, value: str | None = None) -> list[Question]:
    """The questions that decide an attribute, relation or answer claim, one per object (or pair of objects).

    Args:
        value: an attribute or relation to ask about in place of the claimed one.
    """
    objects: Sequence[Box | None] = evidence.objects(claim.name)[:_MOST_OBJECTS] or [None]
    if claim.relation is not None and claim.other_name is not None:
        others: Sequence[Box | None] = evidence.objects(claim.other_name)[:_MOST_OBJECTS] or [None]
        value = value or claim.relation
        return [
            Question("relation", claim.name, value, _with_geometry(a), claim.other_name, _with_geometry(b))
            for a in objects
            for b in others
            if a is None or a != b
        ]
    if claim.attribute is not None:
        value = value or claim.attribute
        return list(dict.fromkeys(Question("attribute", claim.name, value, _with_geometry(a)) for a in objects))
    return []


def _with_geometry(box: Box | None) -> Box | None:
    return box if box is not None and box.xyxy is not None else None


def verify_property(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on an attribute or relation claim. Its objects must be there first."""
    verdict = existence(replace(claim, polarity="asserted"), evidence)
    if verdict.decision == "contradicted" and claim.modality == "disjunctive":
        return Verdict(0, "unverifiable", reason=f"{claim.name!r} is one of several that may be meant")
    if verdict.decision in ("supported", "unsure") and claim.other_name is not None:
        other = presence(claim.other_name, evidence)
        verdict = other if other.decision in ("contradicted", "unverifiable") else verdict
    if verdict.decision not in ("contradicted", "unverifiable"):
        questions = questions_of(claim, evidence)
        evidence.answers.ask(questions)
        verdict = _decide(claim, questions, evidence.answers)
        if verdict.decision == "contradicted":
            verdict = _with_replacement(verdict, claim, evidence)
    return denied(verdict) if claim.polarity == "denied" else verdict


def verify_relation(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on a relation claim: a place that the answer wrote as a box, or a relation of two objects."""
    return verify_property(claim, evidence) if claim.written_box is None else verify_written_box(claim, evidence)


def _decide(claim: Claim, questions: Sequence[Question], answers: PropertyAnswers) -> Verdict:
    expert = answers.expert(questions[0]) if questions else None
    statement = f"{claim.name} {claim.attribute or f'{claim.relation} {claim.other_name}'}"
    if expert is None:
        return Verdict(0, "unverifiable", reason=f"no expert judges {statement!r}", asked=False)
    if expert.name in answers.failed:
        reason = f"the expert failed: {answers.failed[expert.name]}"
        return Verdict(0, "unverifiable", expert=expert.name, reason=reason, error=True)
    high, low = property_thresholds(expert)
    scored = [(p, q) for q in questions if (p := answers.known[q]) is not None]
    if not scored:
        return Verdict(0, "unsure", expert=expert.name, reason=f"{expert.name} could not tell {statement!r}")
    best, question = max(scored, key=lambda pair: pair[0])
    decision: Decision = "unsure"
    if best >= high:
        decision = "supported"
    elif best < low and len(scored) == len(questions):
        decision = "contradicted"
    boxes = tuple(box for box in (question.box, question.other) if box is not None)
    confidence = 1 - best if decision == "contradicted" else best
    reason = f"{statement!r} at {best:.2f}"
    return Verdict(0, decision, confidence, evidence=boxes, expert=expert.name, reason=reason)


def _with_replacement(verdict: Verdict, claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict with the value that holds in place of the claimed one, if one clearly does for every object."""
    by_value, answers = {value: questions_of(claim, evidence, value) for value in other_values(claim)}, evidence.answers
    answers.ask([q for questions in by_value.values() for q in questions])
    scores = []
    for value, questions in by_value.items():
        probabilities = [p for q in questions if (p := answers.known.get(q)) is not None]
        if questions and len(probabilities) == len(questions):
            scores.append((min(probabilities), value))
    scores.sort(reverse=True)
    if not scores:
        return verdict
    best, value = scores[0]
    high, _ = property_thresholds(answers.expert(by_value[value][0]))
    if best < high or (len(scores) > 1 and best - scores[1][0] < REPLACEMENT_MARGIN):
        return verdict
    return replace(verdict, replacement=value, reason=f"{verdict.reason}; {value!r} at {best:.2f}")


def other_values(claim: Claim) -> list[str]:
    """The values that could hold in place of the claimed one: other colours, the opposite, other postures."""
    if claim.relation is not None:
        return [relations.OPPOSITE[claim.relation]] if claim.relation in relations.OPPOSITE else []
    value = claim.attribute or ""
    kind = attributes.kind_of(value)
    if kind == "colour":
        return [colour for colour in attributes.COLOURS if colour != value]
    if kind == "action" and value in _POSTURES:
        return [posture for posture in _POSTURES if posture != value]
    return [b for a, b in _OPPOSITE_STATES if a == value] + [a for a, b in _OPPOSITE_STATES if b == value][:1]
