"""Wrap property experts for an audit: they answer from a cache; a failure affects only the image that caused it.

A question is stored like the phrase of a detector, and its probability as the score of one box; no box means "could not
tell". So `cached_detector` provides the cache, the halving of batches and the count of failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from halluguard._version import __version__
from halluguard.auditing.cached_detector import CachedDetector
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.detection_store import DetectionStore, rounded
from halluguard.auditing.image_store import ImageStore, StoredImage
from halluguard.correction.verification.thresholds import property_thresholds
from halluguard.correction.verification.verify import is_reader
from halluguard.detectors.colour import Colours
from halluguard.detectors.ocr import WrittenWords
from halluguard.detectors.precomputed import KnownObjects
from halluguard.detectors.spatial import SpatialRelations
from halluguard.detectors.specs import fingerprint, visual_questions
from halluguard.records import Box, Detector, ImageOrKey, Kind, PropertyExpert, Question, TextReader

AnyExpert = PropertyExpert | TextReader


def property_experts(config: AuditConfig, detector: Detector) -> tuple[AnyExpert, ...]:
    """The experts besides the detector, loaded; the first that covers a question is asked.

    Colours are judged by pixels and spatial relations by boxes, where the detector gives boxes. All other questions go
    to the model that `config.ask` names. Written words are read if `config.ocr` is true.
    """
    experts: list[AnyExpert] = []
    if not isinstance(detector, KnownObjects):  # its objects have no boxes
        experts += [Colours()] if config.attributes else []
        experts += [SpatialRelations()] if config.relations else []
    if config.ask is not None and (config.attributes or config.relations):
        experts.append(visual_questions(config.ask, device=config.device))
    if config.ocr:
        experts.append(WrittenWords())
    return tuple(experts)


def kinds_not_judged(config: AuditConfig) -> frozenset[Kind]:
    """The kinds of claims that the settings switch off."""
    switches: dict[Kind, bool] = {
        "attribute": config.attributes,
        "relation": config.relations,
        "count": config.counts,
    }
    return frozenset(kind for kind, on in switches.items() if not on)


def expert_fingerprint(expert: AnyExpert) -> str:
    """The cache key of an expert: its name, settings and weights, and halluguard's version, as its rules may change."""
    return f"{fingerprint(expert)} of {__version__}"


class CachedExpert:
    """A `PropertyExpert` of stored images.

    Args:
        expert: expert that judges decoded images.
        cache: SQLite file of the cache; None keeps answers in memory.
        images: store that opens the images.
        batch_size: images per call.
    """

    def __init__(self, expert: PropertyExpert, cache: Path | None, images: ImageStore, batch_size: int) -> None:
        self.name, self.needs_image, self.covers = expert.name, expert.needs_image, expert.covers
        self.thresholds = property_thresholds(expert)
        store = DetectionStore(cache if expert.needs_image else None, expert_fingerprint(expert))
        self.cached = CachedDetector(_AsDetector(expert), store, images, batch_size)

    def judge(self, images: Sequence[StoredImage], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """As `PropertyExpert.judge`; probabilities are rounded like a detector's scores."""
        phrases = [[_written(question) for question in row] for row in questions]
        answers = []
        for boxes, row in zip(self.cached.detect(images, phrases), phrases, strict=True):
            scores = {box.phrase: rounded(box).score for box in boxes}
            answers.append([scores.get(i) for i in range(len(row))])
        return answers


class CachedReader:
    """A `TextReader` of stored images; its arguments are those of `CachedExpert`."""

    def __init__(self, reader: TextReader, cache: Path | None, images: ImageStore, batch_size: int) -> None:
        self.name, self.needs_image = reader.name, reader.needs_image
        store = DetectionStore(cache if reader.needs_image else None, expert_fingerprint(reader))
        self.cached = CachedDetector(_ReaderAsDetector(reader), store, images, batch_size)

    def read(self, images: Sequence[StoredImage]) -> list[list[Box]]:
        """As `TextReader.read`."""
        return [[rounded(line) for line in lines] for lines in self.cached.detect(images, [["text"]] * len(images))]


def cached(expert: AnyExpert, cache: Path | None, images: ImageStore, batch_size: int) -> CachedExpert | CachedReader:
    """Put the cache in front of an expert."""
    if is_reader(expert):
        return CachedReader(expert, cache, images, batch_size)
    return CachedExpert(expert, cache, images, batch_size)


class _ReaderAsDetector:
    """Give a reader of written words the protocol of a detector: its lines are the boxes of one fixed phrase."""

    def __init__(self, reader: TextReader) -> None:
        self.reader = reader
        self.name, self.needs_image = reader.name, reader.needs_image

    def covers(self, phrase: str) -> bool:
        return phrase == "text"

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        return [[replace(line, phrase=0) for line in lines] for lines in self.reader.read(images)]


class _AsDetector:
    """Give a property expert the protocol of a detector: phrases are questions as JSON, scores are probabilities."""

    def __init__(self, expert: PropertyExpert) -> None:
        self.expert = expert
        self.name, self.needs_image = expert.name, expert.needs_image

    def covers(self, phrase: str) -> bool:
        return self.expert.covers(Question.from_json(phrase))

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        questions = [[Question.from_json(phrase) for phrase in row] for row in phrases]
        return [
            [Box("", p, phrase=i) for i, p in enumerate(row) if p is not None]
            for row in self.expert.judge(images, questions)
        ]


def _written(question: Question) -> str:
    """The question as JSON, without the fields that depend on the other phrases of the detector call."""
    box, other = (None if box is None else rounded(box) for box in (question.box, question.other))
    return replace(question, box=box, other=other).to_json()
