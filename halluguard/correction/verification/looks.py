"""Ask the experts about images, and gather what each found as evidence.

An ensemble that says how its experts agree (attributes `experts` and `agree`) is asked expert by expert, so that each
is judged at its own thresholds and weighed by its own recall. Any other detector is asked as one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from halluguard.correction.verification.batches import in_halves
from halluguard.correction.verification.evidence import (
    Calibration,
    Evidence,
    PropertyAnswers,
    TermsOf,
    phrases_for,
    query_terms_for,
)
from halluguard.correction.verification.second_look import size_of
from halluguard.correction.verification.thresholds import Thresholds
from halluguard.errors import ExpertError
from halluguard.records import Box, Claim, Detector
from halluguard.reliability import recall_of


def experts_apart(detector: Detector) -> tuple[Detector, ...]:
    """The experts that are judged separately; the detector itself if it is a single one."""
    if getattr(detector, "agree", None) is None:
        return (detector,)
    return tuple(expert for member in detector.experts for expert in experts_apart(member))  # type: ignore[attr-defined]


def gathered(detector: Detector, parts: Sequence[Evidence]) -> Evidence:
    """The evidence of one image: that of the one expert, or of all experts of an ensemble."""
    if len(parts) == 1:
        return parts[0]
    agree: str = detector.agree  # type: ignore[attr-defined]  # several experts come from an ensemble only
    terms_of = query_terms_for(detector.covers)
    return replace(parts[0], detector=detector, detected={}, terms_of=terms_of, experts=tuple(parts), agree=agree)


@dataclass(frozen=True)
class Look:
    """One expert asked about images.

    Args:
        expert: the expert.
        terms_of: its query terms of a name.
        thresholds: scores at which its verdicts change.
        calibration: makes its scores probabilities.
        detected: image -> boxes by phrase, or the failure of the expert on it.
    """

    expert: Detector
    terms_of: TermsOf
    thresholds: Thresholds
    calibration: Calibration | None
    detected: Mapping[Hashable, Mapping[str, list[Box]] | Exception]

    @classmethod
    def at(
        cls,
        expert: Detector,
        image_of: Mapping[Hashable, object],
        claims: Mapping[Hashable, Sequence[Claim]],
        *,
        thresholds: Thresholds,
        calibration: Calibration | None,
        batch_size: int,
        names: Sequence[str] = (),
    ) -> Look:
        """Ask an expert about the claims of each image; images without phrases cost nothing.

        Args:
            image_of: key of an image -> the image.
            claims: key of an image -> the claims about it.
            names: objects to look for in every image besides.
        """
        terms_of = query_terms_for(expert.covers)
        listed = {phrase for name in names for phrase in terms_of(name)}
        phrases = {
            key: sorted(listed | {phrase for claim in claims[key] for phrase in phrases_for(claim, terms_of)})
            for key in image_of
        }
        return cls(expert, terms_of, thresholds, calibration, _detect(image_of, phrases, expert, batch_size))

    def evidence(self, key: Hashable, image: object, answers: PropertyAnswers) -> Evidence:
        """The evidence of the expert on one image, on which it did not fail."""
        detected = self.detected[key]
        assert not isinstance(detected, Exception)
        return Evidence(
            detected,
            self.expert,
            self.terms_of,
            self.thresholds,
            answers,
            self.calibration,
            size_of(image),
            recall=recall_of(self.expert),
        )


def _detect(
    image_of: Mapping[Hashable, object],
    phrases: Mapping[Hashable, list[str]],
    detector: Detector,
    batch_size: int,
) -> dict[Hashable, Mapping[str, list[Box]] | Exception]:
    """Each image's boxes by phrase, or the detector's failure on it. Images without phrases cost nothing."""

    def call(keys: Sequence[Hashable]) -> list[list[Box]]:
        boxes = detector.detect([image_of[key] for key in keys], [phrases[key] for key in keys])
        if len(boxes) != len(keys):
            raise ExpertError(
                f"{detector.name} must return one list per image, got {len(boxes)} for {len(keys)}; "
                "correct its detect()"
            )
        return boxes

    detected: dict[Hashable, Mapping[str, list[Box]] | Exception] = {key: {} for key in image_of}
    for keys, results in in_halves(call, [key for key in image_of if phrases[key]], batch_size):
        if isinstance(results, Exception):
            detected[keys[0]] = results
        else:
            for key, boxes in zip(keys, results, strict=True):
                detected[key] = _by_phrase(phrases[key], boxes, detector.name)
    return detected


def _by_phrase(phrases: Sequence[str], boxes: Sequence[Box], detector: str) -> Mapping[str, list[Box]] | ExpertError:
    by_phrase: dict[str, list[Box]] = {phrase: [] for phrase in phrases}
    for box in boxes:
        if box.phrase is None or not 0 <= box.phrase < len(phrases):
            return ExpertError(f"{detector} must point each box to one of {len(phrases)} phrases, got {box.phrase}")
        if box.xyxy is not None and not all(map(math.isfinite, box.xyxy)):
            return ExpertError(f"{detector} must return finite boxes, got {box.xyxy} for {phrases[box.phrase]!r}")
        by_phrase[phrases[box.phrase]].append(box)
    return by_phrase
