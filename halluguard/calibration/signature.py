"""Compare detectors and vocabularies, so that a promise made for one pair is not used for another."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from halluguard.correction.text import pipeline
from halluguard.detectors.specs import fingerprint
from halluguard.errors import SettingsError
from halluguard.metrics.vocabulary import Vocabulary
from halluguard.records import Detector

_OF_FILE = re.compile(r"\b(known-objects|objects|precomputed|coco|rows):[^\s,()]+(?:,[0-9a-f]{12})?")
"""Name of a detector that reads a file; the content of the file differs between audits."""
_KINDS = frozenset({"known-objects", "objects", "precomputed", "coco", "rows"})
"""Names that stand for a file whose detector was not declared."""


@dataclass(frozen=True)
class Signature:
    """Identity of a detector and of the objects that a promise is about.

    Args:
        detector: name, settings and weights; for a file of detections, its kind or the declared name of its detector.
        categories: number of the vocabulary's categories.
        covered: number of these categories that the detector can judge.
        vocabulary: digest of the categories, their words, and which of them are covered.
        experts: the other experts that decide verdicts, on attributes, relations and counts.
    """

    detector: str
    categories: int
    covered: int
    vocabulary: str
    experts: tuple[str, ...] = ()

    def words(self) -> str:
        """The signature in a few words."""
        return f"the detector {self.detector}, which can judge {self.covered} of the {self.categories} kinds of objects"

    def differences(self, now: Signature) -> Iterator[str]:
        """Each difference, as the end of a sentence "it was calibrated with ..."."""
        if self.detector != now.detector:
            named = f"; declare --detector-name {self.detector} if it made the file" if now.detector in _KINDS else ""
            yield f"the detector {self.detector}, and this is {now.detector}{named or '; calibrate again'}"
        if tuple(self.experts) != now.experts:
            yield (
                f"the experts {', '.join(self.experts) or 'none'} beside the detector, and these are "
                f"{', '.join(now.experts) or 'none'}; calibrate again"
            )
        if self.vocabulary != now.vocabulary:
            yield (
                f"another vocabulary ({self.covered} of {self.categories} kinds of objects can be judged, now "
                f"{now.covered} of {now.categories}); calibrate again"
            )


def signature(detector: Detector, vocabulary: Vocabulary, name: str = "", experts: Sequence[str] = ()) -> Signature:
    """Make the signature of a detector with a vocabulary.

    Args:
        detector: the detector.
        vocabulary: the objects that are counted.
        name: declared name of the detector that made the file of detections.
        experts: names of the other experts.

    Raises:
        SettingsError: the detector can judge none of the objects.
    """
    covered = [category for category in vocabulary.categories if detector.covers(category)]
    if not covered:
        raise SettingsError(
            f"{detector.name} can judge none of the {len(vocabulary.categories)} kinds of objects that are counted; "
            "use another detector or vocabulary"
        )
    words = "\n".join([*(f"{word}={category}" for word, category in sorted(vocabulary.words.items())), "", *covered])
    identity = fingerprint(detector) if detector.needs_image else _OF_FILE.sub(r"\1", name or detector.name)
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    return Signature(identity, len(vocabulary.categories), len(covered), digest, tuple(experts))


def language() -> str:
    """Name and version of the spaCy pipeline that reads captions."""
    meta = pipeline().meta
    return f"{meta['lang']}_{meta['name']}-{meta['version']}"
