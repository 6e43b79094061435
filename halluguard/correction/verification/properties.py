"""Attributes and relations: which questions a claim puts to a property expert, and what the answers make of it.

    p >= high for one of the things found      supported
    p <  low  for every one of them            contradicted
    else, or "could not tell"                  unsure
    no expert for it                           unverifiable

A contradicted property asks on: which colour then, and does the relation hold the other way round? The answer goes into
`Verdict.replacement` only where it is high and clear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halluguard.correction.claims import attributes, relations
from halluguard.correction.verification.existence import Look, denied, existence, presence
from halluguard.errors import ExpertError, HalluguardError
from halluguard.records import Box, Claim, Decision, PropertyExpert, Question, Verdict

HIGH, LOW = 0.6, 0.3
"""Thresholds of an expert that names none of its own (attribute `thresholds`, (high, low))."""
_MARGIN = 0.2  # by which the best other value must beat the next before it is written into a text
_THINGS = 4  # of each name, best first, that a property is asked of

_OPPOSITE_STATES = [
    ("open", "closed"), ("empty", "full"), ("lit", "unlit"), ("wet", "dry"), ("clean", "dirty"), ("raw", "cooked"),
    ("tall", "short"), ("large", "small"), ("big", "small"), ("young", "old"), ("ripe", "unripe"),
]  # fmt: skip
_POSTURES = ("sitting", "standing", "lying", "walking", "running", "jumping")

Ask = Callable[[Sequence[Question]], "list[float | None]"]


@dataclass
class Answers:
    """What property experts say of one picture; each question is asked once.

    Args:
        image: the picture.
        experts: the first that covers a question is asked.
    """

    image: Any
    experts: Sequence[PropertyExpert]
    known: dict[Question, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def expert(self, question: Question) -> PropertyExpert | None:
        return next((expert for expert in self.experts if expert.covers(question)), None)

    def ask(self, questions: Sequence[Question]) -> None:
        """Look up everything that is not known yet, one call per expert. A failing expert is remembered as such."""
        for expert in self.experts:
            new = [q for q in dict.fromkeys(questions) if q not in self.known and self.expert(q) is expert]
            if not new or expert.name in self.failed:
                continue
            try:
                (said,) = expert.judge([self.image], [new])
                if len(said) != len(new):
                    raise ExpertError(f"{expert.name} must answer {len(new)} questions, got {len(said)} answers")
                self.known |= {q: _probability(expert.name, p) for q, p in zip(new, said, strict=True)}
            except Exception as error:  # foreign code: whatever it raises is its failure, and is reported
                why = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
                self.failed[expert.name] = why


def _probability(expert: str, p: float | None) -> float | None:
    if p is None or 0.0 <= p <= 1.0:
        return p
    raise ExpertError(f"{expert} must answer with probabilities in [0, 1] or None, got {p}")


def of_claim(claim: Claim, look: Look, value: str | None = None) -> list[Question]:
    """The questions that decide an attribute, relation or answer claim, one per thing found (or pair of things).

    Args:
        value: another property or relation than the one claimed.
    """
    things: Sequence[Box | None] = look.boxes(claim.name)[:_THINGS] or [None]
    if claim.relation is not None and claim.other_name is not None:
        others: Sequence[Box | None] = look.boxes(claim.other_name)[:_THINGS] or [None]
        value = value or claim.relation
        return [
            Question("relation", claim.name, value, _placed(a), claim.other_name, _placed(b))
            for a in things
            for b in others
            if a is None or a != b
        ]
    if claim.attribute is not None:
        return list(
            dict.fromkeys(Question("attribute", claim.name, value or claim.attribute, _placed(a)) for a in things)
        )
    return []


def _placed(box: Box | None) -> Box | None:
    return box if box is not None and box.xyxy is not None else None


def judge(claim: Claim, look: Look, answers: Answers) -> Verdict:
    """The verdict on an attribute or relation claim. Both things must be there first."""
    there = existence(replace(claim, polarity="asserted"), look)
    if there.decision in ("supported", "unsure") and claim.other_name is not None:
        other = presence(claim.other_name, look)
        there = other if other.decision in ("contradicted", "unverifiable") else there
    if there.decision in ("contradicted", "unverifiable"):
        return denied(there) if claim.polarity == "denied" else there
    questions = of_claim(claim, look)
    answers.ask(questions)
    verdict = _decided(claim, questions, answers)
    if verdict.decision == "contradicted" and not verdict.replacement:
        verdict = _with_instead(verdict, claim, look, answers)
    return denied(verdict) if claim.polarity == "denied" else verdict


def _decided(claim: Claim, questions: Sequence[Question], answers: Answers) -> Verdict:
    expert = answers.expert(questions[0]) if questions else None
    said = f"{claim.name} {claim.attribute or f'{claim.relation} {claim.other_name}'}"
    if expert is None:
        return Verdict(0, "unverifiable", reason=f"no expert judges {said!r}")
    if expert.name in answers.failed:
        why = f"the expert failed: {answers.failed[expert.name]}"
        return Verdict(0, "unverifiable", expert=expert.name, reason=why, error=True)
    high, low = getattr(expert, "thresholds", (HIGH, LOW))
    told = [(answers.known[q], q) for q in questions]
    sure = [(p, q) for p, q in told if p is not None]
    decision: Decision = "unsure"
    if not sure:
        return Verdict(0, "unsure", expert=expert.name, reason=f"{expert.name} could not tell {said!r}")
    best, question = max(sure, key=lambda pair: pair[0])
    if best >= high:
        decision = "supported"
    elif best < low and len(sure) == len(told):
        decision = "contradicted"
    evidence = tuple(box for box in (question.box, question.other) if box is not None)
    sureness = 1 - best if decision == "contradicted" else best
    return Verdict(0, decision, sureness, evidence=evidence, expert=expert.name, reason=f"{said!r} at {best:.2f}")


def _with_instead(verdict: Verdict, claim: Claim, look: Look, answers: Answers) -> Verdict:
    """What holds in place of the claim, if one value does clearly, of everything found."""
    values = others(claim)
    asked = {value: of_claim(claim, look, value) for value in values}
    answers.ask([q for questions in asked.values() for q in questions])
    scores = []
    for value, questions in asked.items():
        told = [answers.known.get(q) for q in questions]
        if told and all(p is not None for p in told):
            scores.append((min(p for p in told if p is not None), value))
    scores.sort(reverse=True)
    if not scores:
        return verdict
    expert = answers.expert(asked[scores[0][1]][0])
    high = getattr(expert, "thresholds", (HIGH, LOW))[0]
    clear = len(scores) == 1 or scores[0][0] - scores[1][0] >= _MARGIN
    if scores[0][0] < high or not clear:
        return verdict
    found = f"{verdict.reason}; {scores[0][1]!r} at {scores[0][0]:.2f}"
    return replace(verdict, replacement=scores[0][1], reason=found)


def others(claim: Claim) -> list[str]:
    """The values that could hold in place of the claimed one: the other colours, the opposite, the other postures."""
    if claim.relation is not None:
        return [relations.OPPOSITE[claim.relation]] if claim.relation in relations.OPPOSITE else []
    value = claim.attribute or ""
    kind = attributes.kind_of(value)
    if kind == "colour":
        return [colour for colour in attributes.COLOURS if colour != value]
    if kind == "action" and value in _POSTURES:
        return [posture for posture in _POSTURES if posture != value]
    return [b for a, b in _OPPOSITE_STATES if a == value] + [a for a, b in _OPPOSITE_STATES if b == value][:1]
