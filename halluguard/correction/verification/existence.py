"""Verdicts on existence: pure functions of a claim and the evidence of its image."""

from __future__ import annotations

from dataclasses import replace

from halluguard.correction.verification.evidence import Evidence, best_score, why_not_asked
from halluguard.correction.verification.voting import Vote, agreed
from halluguard.records import Claim, Detector, Verdict
from halluguard.vocabulary import UNFILED, category, parents, same


def existence(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on an existence claim, or on the existence of the object that another claim is about."""
    if reason := why_not_asked(claim):
        return Verdict(0, "unverifiable", reason=reason, asked=False)
    verdict = presence(claim.name, evidence)
    if claim.alternatives:
        others = [presence(name, evidence) for name in claim.alternatives]
        verdict = next((v for v in [verdict, *others] if v.decision == "supported"), verdict)
        if verdict.decision == "contradicted" and any(v.decision != "contradicted" for v in others):
            verdict = replace(verdict, decision="unsure", reason="one of its alternatives may be there")
        verdict = replace(verdict, asked=verdict.asked or any(v.asked for v in others))
    if claim.polarity == "denied":
        verdict = denied(verdict)
    if claim.modality == "irrealis" and verdict.decision == "contradicted":
        return replace(verdict, decision="unverifiable", reason="the text does not say that it is there")
    if claim.modality == "restricted" and verdict.decision == "contradicted":
        return replace(verdict, decision="unverifiable", reason="it is denied of some only, not of all")
    return verdict


def presence(name: str, evidence: Evidence) -> Verdict:
    """The verdict on "there is such an object", made once per name and image."""
    if name not in evidence.presence:
        evidence.presence[name] = _presence(name, evidence)
    return evidence.presence[name]


def _presence(name: str, evidence: Evidence) -> Verdict:
    """The verdict on "there is such an object". An object that an expert often misses is not called absent."""
    experts = evidence.experts or (evidence,)
    votes = [Vote(_unpriced(name, one), one.recall.of(name)) for one in experts]
    verdict = agreed(votes, evidence.agree)
    if (
        verdict.decision == "contradicted"
        and name in UNFILED
        and not any(_lists(one.detector, name) for one in experts)
    ):
        reason = f"{verdict.reason}; but {name!r} is often left out of its category"
        return replace(verdict, decision="unsure", confidence=0.5, reason=reason)
    return verdict


def _lists(detector: Detector, name: str) -> bool:
    """Whether the detector knows the name itself, and not only a wider word for it."""
    lists = getattr(detector, "lists", None)
    return bool(lists(name)) if callable(lists) else detector.covers(name)


def _unpriced(name: str, evidence: Evidence) -> Verdict:
    """The verdict of one expert without regard to its recall. Objects seen only by the second look are unsure."""
    verdict = _calibrated(_at_first_look(name, evidence), name, evidence)
    if verdict.decision != "contradicted":
        return replace(verdict, expert=evidence.detector.name)
    if evidence.second_look_failed:
        reason = f"a closer look failed: {evidence.second_look_failed}"
        verdict = replace(verdict, decision="unsure", confidence=0.0, reason=reason)
    score = max((evidence.second_look.get(phrase, 0.0) for phrase in evidence.terms_of(name)), default=0.0)
    if verdict.decision == "contradicted" and score >= evidence.thresholds.of(name)[1]:
        reason = f"seen only on a closer look: {score:.2f}"
        verdict = replace(verdict, decision="unsure", confidence=1 - score, reason=reason)
    return replace(verdict, expert=evidence.detector.name)


def _calibrated(verdict: Verdict, name: str, evidence: Evidence) -> Verdict:
    """The verdict with a confidence fitted on labelled data, where there is one."""
    if evidence.calibration is None or verdict.decision not in ("supported", "contradicted"):
        return verdict
    score = best_score(verdict.evidence or evidence.boxes(evidence.terms_of(name)))
    probability = evidence.calibration.probability(name, score)
    if probability is None:
        return verdict
    confidence = probability if verdict.decision == "supported" else 1 - probability
    return replace(verdict, confidence=confidence, calibrated=True)


def _at_first_look(name: str, evidence: Evidence) -> Verdict:
    terms, expert = evidence.terms_of(name), evidence.detector
    if not terms.own and not terms.wider:
        return Verdict(0, "unverifiable", reason=f"{expert.name} cannot judge {name!r}", asked=False)
    high, low = evidence.thresholds.of(name)
    boxes = evidence.boxes(terms.own)
    score = best_score(boxes)
    seen = tuple(box for box in boxes if box.score >= low)
    if terms.own and score >= high:
        return Verdict(0, "supported", score, evidence=seen, reason=f"found {seen[0].label!r} at {score:.2f}")
    if terms.own and score >= low:
        return Verdict(0, "unsure", 1 - score, evidence=seen, reason=f"{name!r} scores {score:.2f}, in [{low}, {high})")
    if terms.own and not any(phrase in (name, same(name)) for phrase in terms.own):
        return Verdict(0, "unsure", 0.5, reason=f"none of the kinds of {name!r} that {expert.name} knows was found")
    if terms.wider:
        return _from_wider(name, terms.wider[0], evidence, covered=bool(terms.own))
    return Verdict(0, "contradicted", 1 - score, reason=f"no {name!r} found: best score {score:.2f} < {low}")


def _from_wider(name: str, wide: str, evidence: Evidence, *, covered: bool) -> Verdict:
    """The verdict of the wider word, when nothing was found under the name itself."""
    high, low = evidence.thresholds.of(wide)
    boxes = evidence.boxes([wide])
    score = best_score(boxes)
    seen = tuple(box for box in boxes if box.score >= low)
    if not seen:
        return Verdict(
            0, "contradicted", 1 - score, reason=f"no {name!r} and no {wide!r} found: best score {score:.2f}"
        )
    # A detector that knows only the wider word has said all it can: a man is filed under person.
    finest = category(name) == wide or wide in parents(name)[:1]
    if score >= high and not covered and finest:
        return Verdict(0, "supported", score, evidence=seen, reason=f"found {wide!r}, which covers {name!r}")
    return Verdict(0, "unsure", score, evidence=seen, reason=f"found {wide!r} at {score:.2f}, could not tell {name!r}")


def denied(verdict: Verdict) -> Verdict:
    """The verdict on "there is no such object"."""
    if verdict.decision == "supported":
        return replace(verdict, decision="contradicted", reason=f"denied, but {verdict.reason}")
    if verdict.decision == "contradicted":
        return replace(verdict, decision="supported", reason=f"rightly denied: {verdict.reason}")
    return verdict
