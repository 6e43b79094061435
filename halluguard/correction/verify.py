"""Verdicts: what the expert found, held against what the answer claims.

Two thresholds per expert and label, because one would turn every doubtful look into a removal:

    s >= high          supported
    low <= s < high    unsure: looked, could not tell
    s <  low           contradicted
    not covered        unverifiable: this expert cannot judge such a thing
    expert failed      unverifiable with `error`: never absence

s is the best score among the boxes found for the claimed name. A denied claim ("there is no cat") reads the same scale
from the other end. One detector pass serves all claims of all captions of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halluguard.correction.evidence import Evidence, ask, count_between, finest, phrases_for
from halluguard.errors import ExpertError, HalluguardError, MissingExtraError, SettingsError, UnsupportedModelError
from halluguard.records import Box, Claim, Detector, Verdict
from halluguard.vocabulary import same


@dataclass(frozen=True)
class Thresholds:
    """Where support ends and contradiction begins, per label.

    Args:
        high: at or above it a claim is supported, in [0, 1].
        low: below it a claim is contradicted, in [0, high]. Between the two the verdict is "unsure".
        labels: name -> (high, low) where a label needs its own, e.g. from `halluguard calibrate`.
    """

    high: float = 0.35
    low: float = 0.2
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (high, low) in {"": (self.high, self.low), **self.labels}.items():
            if not 0.0 <= low <= high <= 1.0:
                of = f" of {name!r}" if name else ""
                raise SettingsError(
                    f"thresholds{of} must satisfy 0 <= low <= high <= 1, got {low=} and {high=}; swap them?"
                )

    def of(self, name: str) -> tuple[float, float]:
        """(high, low) for a name."""
        return self.labels.get(name, (self.high, self.low))


def verify(
    claims: Sequence[Claim], image: Any, detector: Detector, *, thresholds: Thresholds | None = None
) -> list[Verdict]:
    """One verdict per claim, from one look at the image.

    Args:
        claims: what `extract` read from one answer.
        image: an RGB picture (PIL), or a key that the detector knows when it needs no image.
        detector: the expert; see `halluguard.records.Detector`.
        thresholds: default the detector's own `thresholds` attribute, (high, low), or `Thresholds()`.

    Returns:
        Verdicts in the order of the claims, `verdict.claim` being the index. When the expert fails, every verdict says
        so: decision "unverifiable", `error` True, the failure in `reason`.
    """
    return verify_many([claims], [image], detector, thresholds=thresholds)[0]


def verify_many(
    claims: Sequence[Sequence[Claim]],
    images: Sequence[Any],
    detector: Detector,
    *,
    thresholds: Thresholds | None = None,
    batch_size: int = 8,
) -> list[list[Verdict]]:
    """Verdicts for N answers; answers that share an image (the same object, or the same key) share its detector pass.

    Args:
        claims: N lists of claims.
        images: N pictures or keys, one per answer.
        batch_size: images per call of the detector. A call that fails is halved and tried again, down to one image.
    """
    if len(claims) != len(images):
        raise SettingsError(f"one image per answer is needed, got {len(claims)} answers and {len(images)} images")
    limits = thresholds or thresholds_of(detector)
    keys = [_key(image) for image in images]
    wanted: dict[Hashable, set[str]] = {key: set() for key in keys}
    for key, of_answer in zip(keys, claims, strict=True):
        for claim in of_answer:
            wanted[key].update(phrases_for(claim, detector.covers))
    pictures = dict(zip(keys, images, strict=True))
    found: dict[Hashable, Evidence | Exception] = {key: Evidence({}) for key, phrases in wanted.items() if not phrases}
    found |= _look([key for key in pictures if wanted[key]], pictures, wanted, detector, batch_size)
    return [_judge(of_answer, found[key], detector, limits) for key, of_answer in zip(keys, claims, strict=True)]


def thresholds_of(detector: Detector) -> Thresholds:
    """The detector's own `thresholds` attribute, (high, low), or the defaults."""
    return Thresholds(*getattr(detector, "thresholds", (Thresholds.high, Thresholds.low)))


def _key(image: Any) -> Hashable:
    return image if isinstance(image, str | int) else id(image)


def _look(
    keys: Sequence[Hashable],
    pictures: Mapping[Hashable, Any],
    wanted: Mapping[Hashable, Iterable[str]],
    detector: Detector,
    batch_size: int,
) -> dict[Hashable, Evidence | Exception]:
    """What the detector found in each picture, or how it failed there."""
    found: dict[Hashable, Evidence | Exception] = {}
    batches = [list(keys[i : i + batch_size]) for i in range(0, len(keys), batch_size)]
    while batches:
        batch = batches.pop(0)
        phrases = [sorted(wanted[key]) for key in batch]
        try:
            boxes = detector.detect([pictures[key] for key in batch], phrases)
            if len(boxes) != len(batch):
                raise ExpertError(f"{detector.name} must return one list per image, got {len(boxes)} for {len(batch)}")
        except (MissingExtraError, UnsupportedModelError):
            raise  # not a failed look but an expert that cannot work at all
        except Exception as error:  # an expert is foreign code: whatever it raises is its failure, and is reported
            half = len(batch) // 2
            if half:
                batches[:0] = [batch[:half], batch[half:]]
            else:
                found[batch[0]] = error
            continue
        for key, asked, answer in zip(batch, phrases, boxes, strict=True):
            found[key] = _by_phrase(asked, answer, detector.name)
    return found


def _by_phrase(asked: Sequence[str], boxes: Sequence[Box], expert: str) -> Evidence | Exception:
    by_phrase: dict[str, list[Box]] = {phrase: [] for phrase in asked}
    for box in boxes:
        if box.phrase is None or not 0 <= box.phrase < len(asked):
            return ExpertError(f"{expert} must point each box to one of {len(asked)} phrases, got {box.phrase}")
        if box.xyxy is not None and not all(map(math.isfinite, box.xyxy)):
            return ExpertError(f"{expert} must return finite boxes, got {box.xyxy} for {asked[box.phrase]!r}")
        by_phrase[asked[box.phrase]].append(box)
    return Evidence(by_phrase)


def _judge(
    claims: Sequence[Claim], evidence: Evidence | Exception, detector: Detector, limits: Thresholds
) -> list[Verdict]:
    if isinstance(evidence, Exception):
        why = str(evidence) if isinstance(evidence, HalluguardError) else f"{type(evidence).__name__}: {evidence}"
        failed = Verdict(0, "unverifiable", expert=detector.name, reason=f"the expert failed: {why}", error=True)
        return [replace(failed, claim=i) for i in range(len(claims))]
    verdicts = []
    for i, claim in enumerate(claims):
        judge = _JUDGES.get(claim.kind)
        verdict = (
            judge(claim, evidence, detector, limits) if judge else Verdict(0, "unverifiable", reason="no expert for it")
        )
        verdicts.append(replace(verdict, claim=i, expert=verdict.expert or detector.name))
    return verdicts


def _existence(claim: Claim, evidence: Evidence, detector: Detector, limits: Thresholds) -> Verdict:
    aside = _claims_nothing(claim)
    if aside:
        return Verdict(0, "unverifiable", reason=aside)
    verdict = _presence(claim.name, evidence, detector, limits)
    if claim.alternatives and claim.polarity == "asserted":
        others = [_presence(name, evidence, detector, limits) for name in claim.alternatives]
        verdict = next((v for v in [verdict, *others] if v.decision == "supported"), verdict)
        if verdict.decision == "contradicted" and any(v.decision != "contradicted" for v in others):
            verdict = replace(verdict, decision="unsure", reason="one of its alternatives may be there")
    if claim.polarity == "denied":
        verdict = _denied(verdict, claim.name)
    if claim.modality == "irrealis" and verdict.decision == "contradicted":
        return replace(verdict, decision="unverifiable", reason="the text does not say that it is there")
    return verdict


def _claims_nothing(claim: Claim) -> str:
    if claim.modality == "question":
        return "a question claims nothing"
    if claim.modality == "depicted":
        return "it is said to be depicted, not to be there"
    return "matter and places are not things a detector can judge" if claim.rule == "stuff" else ""


def _presence(name: str, evidence: Evidence, detector: Detector, limits: Thresholds) -> Verdict:
    """Is a thing of this name there?"""
    own, wider = ask(name, detector.covers)
    if not own and not wider:
        return Verdict(0, "unverifiable", reason=f"{detector.name} cannot judge {name!r}")
    high, low = limits.of(name)
    boxes = evidence.boxes(own)
    score = max((box.score for box in boxes), default=0.0)
    seen = tuple(box for box in boxes if box.score >= low)
    if own and score >= high:
        return Verdict(0, "supported", score, evidence=seen, reason=f"found {seen[0].label!r} at {score:.2f}")
    if own and score >= low:
        return Verdict(0, "unsure", 1 - score, evidence=seen, reason=f"{name!r} scores {score:.2f}, in [{low}, {high})")
    if not any(detector.covers(phrase) for phrase in (name, same(name))) and own:
        return Verdict(0, "unsure", 0.5, reason=f"none of the kinds of {name!r} that {detector.name} knows was found")
    if wider:
        return _wider(name, wider[0], evidence, limits, covered=bool(own))
    return Verdict(0, "contradicted", 1 - score, reason=f"no {name!r} found: best score {score:.2f} < {low}")


def _wider(name: str, wide: str, evidence: Evidence, limits: Thresholds, *, covered: bool) -> Verdict:
    """Nothing found under the name itself; what does the wider word say?"""
    high, low = limits.of(wide)
    boxes = tuple(box for box in evidence.boxes([wide]) if box.score >= low)
    score = max((box.score for box in boxes), default=0.0)
    if not boxes:
        best = max((box.score for box in evidence.boxes([wide])), default=0.0)
        return Verdict(0, "contradicted", 1 - best, reason=f"no {name!r} and no {wide!r} found: best score {best:.2f}")
    if score >= high and not covered and finest(name, wide):
        return Verdict(0, "supported", score, evidence=boxes, reason=f"found {wide!r}, which covers {name!r}")
    return Verdict(0, "unsure", score, evidence=boxes, reason=f"found {wide!r} at {score:.2f}, could not tell {name!r}")


def _denied(verdict: Verdict, name: str) -> Verdict:
    """The verdict on "there is no such thing"."""
    if verdict.decision == "supported":
        return replace(verdict, decision="contradicted", reason=f"denied, but {verdict.reason}")
    if verdict.decision == "contradicted":
        return replace(verdict, decision="supported", reason=f"rightly denied: {verdict.reason}")
    return verdict


def _count(claim: Claim, evidence: Evidence, detector: Detector, limits: Thresholds) -> Verdict:
    """Is the number right at both thresholds? Between them the expert's own count is not stable."""
    presence = _existence(replace(claim, kind="existence"), evidence, detector, limits)
    if presence.decision in ("contradicted", "unverifiable") or claim.count is None:
        return presence
    own, wider = ask(claim.name, detector.covers)
    boxes = evidence.boxes(own or wider)
    if any(box.xyxy is None for box in boxes):
        return replace(presence, decision="unverifiable", confidence=0.0, reason=f"{detector.name} does not count")
    high, low = limits.of(claim.name)
    fewest, most = count_between(boxes, high, low)
    said = f"{claim.count} claimed ({claim.bound.replace('_', ' ')}), "
    found = f"{fewest} found" if fewest == most else f"between {fewest} and {most} found"
    verdict = replace(presence, reason=said + found, confidence=min((box.score for box in boxes[:fewest]), default=0.0))
    return replace(verdict, decision=_compare(claim, fewest, most, only_upper=not own))


def _compare(claim: Claim, fewest: int, most: int, *, only_upper: bool) -> Any:
    count = claim.count or 0
    lowest, highest = count, count
    if claim.bound == "at_least":
        highest = 10**9
    elif claim.bound == "at_most":
        lowest = 0
    elif claim.bound == "about":
        slack = max(1, round(0.25 * count))
        lowest, highest = count - slack, count + slack
    if most < lowest:
        return "contradicted"
    if fewest > highest:
        # "two people on the bench" leaves room for others; "there are two people" does not.
        return "contradicted" if claim.rule == "total" and not only_upper else "unsure"
    if only_upper:
        return "unsure"
    return "supported" if lowest <= fewest and most <= highest else "unsure"


_Judge = Callable[[Claim, Evidence, Detector, Thresholds], Verdict]
_JUDGES: dict[str, _Judge] = {"existence": _existence, "count": _count}
