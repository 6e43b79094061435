"""Verdicts: what the expert found, held against what the answer claims.

Two thresholds per expert and label, because one would turn every doubtful look into a removal:

    s >= high          supported
    low <= s < high    unsure: looked, could not tell
    s <  low           contradicted
    not covered        unverifiable: this expert cannot judge such a thing
    expert failed      unverifiable with `error`: never absence

s is the best score among the boxes found for the claimed name. A denied claim ("there is no cat") reads the same scale
from the other end. One detector pass serves all claims of all captions of an image; a large picture gets a second look,
cut into parts, before any of its claims is contradicted (`closer.py`). Attributes and relations are put to property
experts (`questions.py`); yes and no are judged as what they say yes or no to.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from halluguard.correction.verification import existence
from halluguard.correction.verification import properties as questions
from halluguard.correction.verification import second_look as closer
from halluguard.correction.verification.evidence import Evidence, phrases_for
from halluguard.correction.verification.existence import Calibration, Look
from halluguard.correction.verification.thresholds import Thresholds
from halluguard.errors import ExpertError, HalluguardError, MissingExtraError, SettingsError, UnsupportedModelError
from halluguard.records import Box, Claim, Detector, PropertyExpert, Verdict

__all__ = ["Calibration", "Thresholds", "thresholds_of", "verify", "verify_many"]

Properties = PropertyExpert | Sequence[PropertyExpert] | None


def verify(
    claims: Sequence[Claim],
    image: Any,
    detector: Detector,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
) -> list[Verdict]:
    """One verdict per claim, from one look at the image; see `verify_many` for the arguments.

    Returns:
        Verdicts in the order of the claims, `verdict.claim` being the index. When the expert fails, every verdict says
        so: decision "unverifiable", `error` True, the failure in `reason`.
    """
    (verdicts,) = verify_many(
        [claims],
        [image],
        detector,
        thresholds=thresholds,
        properties=properties,
        calibration=calibration,
        second_look=second_look,
    )
    return verdicts


def verify_many(
    claims: Sequence[Sequence[Claim]],
    images: Sequence[Any],
    detector: Detector,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    batch_size: int = 8,
) -> list[list[Verdict]]:
    """Verdicts for N answers; answers that share an image (the same object, or the same key) share its detector pass.

    Args:
        claims: N lists of claims, from `extract`.
        images: N RGB pictures (PIL), or keys that the detector knows when it needs no image; one per answer.
        detector: the expert on what is there; see `halluguard.records.Detector`.
        thresholds: default the detector's own `thresholds` attribute, (high, low), or `Thresholds()`.
        properties: experts on attributes and relations, the first that covers a question is asked; without one such
            claims are unverifiable unless a thing they speak of is not there at all.
        calibration: makes `Verdict.confidence` a probability (`calibrated` True); without it, it is a raw score.
        second_look: before an absence is called, look again at pictures of 512 pixels or more, cut into four parts;
            what is seen there is "unsure". Costs one more call per picture with a contradiction.
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
    experts = _experts(properties)
    asked = {key: questions.Answers(image, experts) for key, image in pictures.items()}
    verdicts = []
    for key, of_answer in zip(keys, claims, strict=True):
        evidence = found[key]
        if isinstance(evidence, Exception):
            verdicts.append(_failed(of_answer, evidence, detector))
            continue
        look = Look(evidence, detector, limits, calibration, getattr(pictures[key], "size", None))
        judged = _judge(of_answer, look, asked[key])
        doubted = (
            _absent(of_answer, judged, detector) if second_look and closer.worth_it(pictures[key], detector) else []
        )
        if doubted:
            judged = _judge(of_answer, _second_look(look, pictures[key], doubted), asked[key])
        verdicts.append(judged)
    return verdicts


def _experts(properties: Properties) -> list[PropertyExpert]:
    if properties is None:
        return []
    return list(properties) if isinstance(properties, Sequence) else [properties]


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


def _failed(claims: Sequence[Claim], error: Exception, detector: Detector) -> list[Verdict]:
    why = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
    failed = Verdict(0, "unverifiable", expert=detector.name, reason=f"the expert failed: {why}", error=True)
    return [replace(failed, claim=i) for i in range(len(claims))]


def _judge(claims: Sequence[Claim], look: Look, answers: questions.Answers) -> list[Verdict]:
    """One verdict per claim. All first questions of an image go to its property experts together."""
    telling = [claim for claim in claims if claim.attribute is not None or claim.other_name is not None]
    if answers.experts and telling:
        there = [claim for claim in telling if existence.existence(claim, look).decision in ("supported", "unsure")]
        answers.ask([question for claim in there for question in questions.of_claim(claim, look)])
    verdicts = (_verdict(claim, look, answers) for claim in claims)
    return [replace(v, claim=i, expert=v.expert or look.detector.name) for i, v in enumerate(verdicts)]


def _verdict(claim: Claim, look: Look, answers: questions.Answers) -> Verdict:
    if claim.kind == "existence":
        return existence.existence(claim, look)
    if claim.kind == "relation" and claim.written_box is not None:
        return existence.place(claim, look)
    if claim.relation is not None or claim.attribute is not None:
        return questions.judge(claim, look, answers)
    if claim.count is not None:
        verdict = existence.count(replace(claim, polarity="asserted"), look)
        return existence.denied(verdict) if claim.polarity == "denied" else verdict
    return existence.existence(claim, look)


def _absent(claims: Sequence[Claim], verdicts: Sequence[Verdict], detector: Detector) -> list[str]:
    """Phrases of what is claimed to be there and was not found."""
    doubted = set[str]()
    for claim, verdict in zip(claims, verdicts, strict=True):
        if (
            verdict.decision == "contradicted"
            and claim.polarity == "asserted"
            and claim.kind in ("existence", "answer")
        ):
            doubted.update(phrases_for(claim, detector.covers))
    return sorted(doubted)


def _second_look(look: Look, image: Any, phrases: Sequence[str]) -> Look:
    try:
        return replace(look, closer=closer.look(image, phrases, look.detector))
    except Exception as error:  # foreign code, as in the first look; what could not be looked at is not absent
        return replace(look, closer_failed=str(error) or type(error).__name__)
