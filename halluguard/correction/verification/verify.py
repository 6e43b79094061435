"""Verify claims with a detector: one verdict per claim.

Each label has two thresholds, because one would turn every doubtful score into a removal:

    score >= high           supported
    low <= score < high     unsure: the detector looked and could not tell
    score <  low            contradicted (0.2 by default, see `thresholds.py`)
    not covered             unverifiable: this detector cannot judge such an object
    recall is low           unsure in place of contradicted: the detector often misses such objects (`voting.py`)
    detector failed         unverifiable with `error`: never absence

The score is the best among the boxes of the claimed name. A denied claim ("there is no cat") reads the same scale from
the other end. One detector pass serves all claims of all answers about an image; a large image gets a second look
before any of its claims is contradicted (`second_look.py`). Attributes and relations are put to property experts
(`properties.py`). Which function verifies which kind of claim is in the table `correction/kinds.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from halluguard.correction import kinds
from halluguard.correction.verification.batches import failure_reason
from halluguard.correction.verification.evidence import Calibration, Evidence, PropertyAnswers, TermsOf, phrases_for
from halluguard.correction.verification.existence import existence
from halluguard.correction.verification.looks import Look, experts_apart, gathered
from halluguard.correction.verification.properties import questions_of
from halluguard.correction.verification.second_look import has_more_detail, second_look_scores
from halluguard.correction.verification.thresholds import Thresholds, thresholds_of
from halluguard.errors import SettingsError
from halluguard.records import Claim, Detector, PropertyExpert, TextReader, Verdict

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Properties = PropertyExpert | TextReader | Sequence[PropertyExpert | TextReader] | None
"""Experts on attributes and relations, and one that reads written words; those with a method `read` are readers."""


class Settings(TypedDict, total=False):
    """Keyword arguments of `verify` and `verify_many`.

    Args:
        thresholds: default the detector's own `thresholds` attribute, (high, low), or `Thresholds()`.
        properties: experts on attributes and relations; the first that covers a question is asked. Without one, such
            claims are unverifiable unless an object that they are about is not there at all. An expert with a method
            `read` reads written words; without one, quotations are unverifiable.
        calibration: makes `Verdict.confidence` a probability (`calibrated` True); without it, it is a raw score.
        second_look: whether images of 512 pixels or more are cut into four parts and looked at again before an object
            is called absent; what is seen there is "unsure". It costs one more call per image with a contradiction.
            Default True.
    """

    thresholds: Thresholds | None
    properties: Properties
    calibration: Calibration | None
    second_look: bool


def verify(claims: Sequence[Claim], image: object, detector: Detector, **settings: Unpack[Settings]) -> list[Verdict]:
    """One verdict per claim of one answer; see `verify_many` for the arguments.

    Returns:
        Verdicts in the order of the claims, `verdict.claim` being the index. When the detector fails, every verdict
        says so: decision "unverifiable", `error` True, the failure in `reason`.
    """
    (verdicts,) = verify_many([claims], [image], detector, **settings)
    return verdicts


def verify_many(
    claims: Sequence[Sequence[Claim]],
    images: Sequence[object],
    detector: Detector,
    *,
    batch_size: int = 8,
    **settings: Unpack[Settings],
) -> list[list[Verdict]]:
    """Verdicts for N answers; answers that share an image (the same object, or the same key) share its detector pass.

    Args:
        claims: N lists of claims, from `extract`.
        images: N RGB images (PIL), or keys that the detector knows when it needs no image; one per answer.
        detector: finds objects; see `halluguard.records.Detector`.
        batch_size: images per detector call. A call that fails is halved and tried again, down to one image.
        **settings: thresholds, properties, calibration, second_look; see `Settings`.
    """
    examined = examine_many(claims, images, detector, batch_size=batch_size, **settings)
    return [verdicts for verdicts, _ in examined]


def examine_many(
    claims: Sequence[Sequence[Claim]],
    images: Sequence[object],
    detector: Detector,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    batch_size: int = 8,
    names: Sequence[str] = (),
) -> list[tuple[list[Verdict], Evidence | None]]:
    """The verdicts of `verify_many` with the evidence that they rest on; None where the detector failed.

    Args:
        names: objects to look for in every image, besides those that are claimed; the other arguments as there.
    """
    if len(claims) != len(images):
        raise SettingsError(
            f"one image per answer is needed, got {len(claims)} answers and {len(images)} images; give one each"
        )
    keys = [key_of(image) for image in images]
    image_of = dict(zip(keys, images, strict=True))
    claims_of: dict[Hashable, list[Claim]] = {key: [] for key in image_of}
    for key, of_answer in zip(keys, claims, strict=True):
        claims_of[key] += of_answer
    looks = [
        Look.at(
            expert,
            image_of,
            claims_of,
            thresholds=thresholds or thresholds_of(expert),
            calibration=calibration,
            batch_size=batch_size,
            names=names,
        )
        for expert in experts_apart(detector)
    ]
    experts, reader = _by_protocol(properties)
    answers = {key: PropertyAnswers(image, experts, reader) for key, image in image_of.items()}
    examined: list[tuple[list[Verdict], Evidence | None]] = []
    for key, of_answer in zip(keys, claims, strict=True):
        failures = [(look.expert, failure) for look in looks if isinstance(failure := look.detected[key], Exception)]
        if failures:
            expert, error = failures[0]
            examined.append((_failed(of_answer, error, expert), None))
            continue
        evidence = gathered(detector, [look.evidence(key, image_of[key], answers[key]) for look in looks])
        judged = _judge(of_answer, evidence)
        if second_look:
            again = _looked_again(evidence, image_of[key], of_answer, judged)
            judged = judged if again is evidence else _judge(of_answer, again)
        examined.append((judged, evidence))
    return examined


def _by_protocol(properties: Properties) -> tuple[list[PropertyExpert], TextReader | None]:
    """The property experts, and the first reader of written words."""
    if properties is None:
        return [], None
    experts = list(properties) if isinstance(properties, Sequence) else [properties]
    reader = next((expert for expert in experts if is_reader(expert)), None)
    return [expert for expert in experts if not is_reader(expert)], reader


def is_reader(expert: PropertyExpert | TextReader) -> TypeIs[TextReader]:
    """Whether an expert reads written words."""
    return callable(getattr(expert, "read", None))


def key_of(image: object) -> Hashable:
    """A hashable key of an image: the string or number that stands for it, else the id of the object."""
    return image if isinstance(image, str | int) else id(image)


def _failed(claims: Sequence[Claim], error: Exception, detector: Detector) -> list[Verdict]:
    reason = failure_reason(error)
    return [Verdict(i, "unverifiable", expert=detector.name, reason=reason, error=True) for i in range(len(claims))]


def _judge(claims: Sequence[Claim], evidence: Evidence) -> list[Verdict]:
    """One verdict per claim. All first questions about an image go to its property experts together."""
    if evidence.answers.experts:
        about_properties = [claim for claim in claims if claim.attribute is not None or claim.other_name is not None]
        there = [c for c in about_properties if existence(c, evidence).decision in ("supported", "unsure")]
        evidence.answers.ask([question for claim in there for question in questions_of(claim, evidence)])
    verdicts = [kinds.KINDS[claim.kind].verify(claim, evidence) for claim in claims]
    return [replace(v, claim=i, expert=v.expert or evidence.detector.name) for i, v in enumerate(verdicts)]


def _phrases_called_absent(claims: Sequence[Claim], verdicts: Sequence[Verdict], terms_of: TermsOf) -> list[str]:
    """Phrases of objects that are claimed to be there and were not found."""
    doubted = [
        claim
        for claim, verdict in zip(claims, verdicts, strict=True)
        if verdict.decision == "contradicted" and claim.polarity == "asserted" and claim.kind in ("existence", "answer")
    ]
    return sorted({phrase for claim in doubted for phrase in phrases_for(claim, terms_of)})


def _looked_again(evidence: Evidence, image: Any, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> Evidence:
    """The evidence after a second look by each expert that can see more; the same object where none can."""
    parts = evidence.experts or (evidence,)
    looked = [_looked_again_by(one, image, claims, verdicts) for one in parts]
    if all(a is b for a, b in zip(looked, parts, strict=True)):
        return evidence
    return replace(evidence, experts=tuple(looked)) if evidence.experts else looked[0]


def _looked_again_by(evidence: Evidence, image: Any, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> Evidence:
    if not has_more_detail(image, evidence.detector):
        return evidence
    phrases = _phrases_called_absent(claims, verdicts, evidence.terms_of)
    if not phrases:
        return evidence
    try:
        return replace(evidence, second_look=second_look_scores(image, phrases, evidence.detector))
    except Exception as error:  # foreign code, as in the first look; what could not be looked at is not absent
        return replace(evidence, second_look_failed=str(error) or type(error).__name__)
