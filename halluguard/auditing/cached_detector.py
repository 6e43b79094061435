"""Wrap a detector for an audit: it answers from a cache, and a failure affects only the image that caused it.

    boxes in the cache          they are returned
    image unreadable            its rows are skipped as "image"
    detector fails on a batch   the batch is halved and tried again, down to one image; memory is freed first
    ... on one image            the rows of that image are skipped as "expert"
    ... on many in a row        the detector is broken, not the images: the run ends

Each phrase is asked once per image. If the boxes of a phrase depend on the other phrases of the call, the detector has
the attribute `phrases_interact = True`. Such a detector is asked the phrases of one caption at a time, and its answer
is stored for that set of phrases alone.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.auditing.detection_store import Boxes, DetectionStore, rounded
from halluguard.auditing.image_store import ImageStore, StoredImage
from halluguard.boxes import turned
from halluguard.correction.verification.batches import in_halves
from halluguard.correction.verification.looks import experts_apart
from halluguard.correction.verification.thresholds import thresholds_of
from halluguard.detectors.ensemble import Ensemble
from halluguard.detectors.specs import fingerprint
from halluguard.errors import ExpertError, ImageError, forget_frames
from halluguard.records import XYXY, Box, Detector
from halluguard.reliability import precision_of, recall_of

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 64_000_000
"""Most pixels of all images of one detector call together; a single image may have more."""
_PROPORTION = 0.02
"""An image counts as a resized copy of another if its two scale factors differ relatively by at most this."""
FAILURES = 10
"""Number of failed images in a row after which the detector counts as broken."""


@dataclass(frozen=True)
class _Query:
    """An opened image and the phrases to find in it."""

    stored: StoredImage
    image: Image
    phrases: list[str]


class CachedDetector:
    """A `Detector` of stored images (or of keys, where the detector needs no image).

    Args:
        detector: detector that gets decoded images.
        store: store of the detections.
        images: store that opens the images.
        batch_size: images per detector call.
    """

    def __init__(self, detector: Detector, store: DetectionStore, images: ImageStore, batch_size: int) -> None:
        self.detector, self.store, self.images, self.batch_size = detector, store, images, batch_size
        self.name, self.needs_image = detector.name, detector.needs_image
        self.fingerprint = store.detector
        limits = thresholds_of(detector)
        self.thresholds = limits.high, limits.low
        self.recall, self.precision = recall_of(detector), precision_of(detector)
        self.lists, self.names = getattr(detector, "lists", None), getattr(detector, "names", None)
        self.interacts = phrases_interact(detector)
        self.covers = functools.lru_cache(100_000)(lambda phrase: bool(detector.covers(phrase)))
        self.unreadable: dict[str, ImageError] = {}
        self.broken: ExpertError | None = None
        self._failed: dict[str, Exception] = {}
        self._failed_in_a_row = 0
        self._boxes: dict[str, dict[str, Boxes]] = {}

    def begin(self, images: Sequence[StoredImage]) -> None:
        """Forget the last rows, and announce the images that come next."""
        self.unreadable.clear()
        self._failed.clear()
        self._boxes.clear()
        self.images.expect([image for image in images if self.store.size(image.key) is None])

    def open_all(self, images: Sequence[StoredImage]) -> None:
        """Decode images without a detector call too: a broken image is noticed whatever its caption says."""
        sizes = {}
        for stored in images:
            if stored.key not in self.unreadable and self.store.size(stored.key) is None:
                image = self._opened(stored)
                if image is not None:
                    sizes[stored.key] = image.size
        if sizes:
            self.store.put({}, sizes)

    def detect(self, images: Sequence[StoredImage], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """As `Detector.detect`; a failure is remembered, so that a second call does not repeat it."""
        if not self.needs_image:
            return self._known(images, phrases)
        if self.broken:
            raise self.broken
        missing: dict[str, tuple[StoredImage, list[str]]] = {}
        for image, words in zip(images, phrases, strict=True):
            known = self._boxes.setdefault(image.key, {})
            known |= self.store.get(image.key, [self._record(phrase, words) for phrase in words])
            lacking = [phrase for phrase in words if self._record(phrase, words) not in known]
            if lacking and image.key not in self._failed and image.key not in self.unreadable:
                missing[image.key] = image, (list(words) if self.interacts else lacking)
        self._detect_all(missing.values())
        for image in images:
            if image.key in self._failed:
                raise self._failed[image.key]
        return [
            [
                Box(box.label, box.score, box.xyxy, index)
                for index, phrase in enumerate(words)
                for box in self._boxes[image.key].get(self._record(phrase, words), ())
            ]
            for image, words in zip(images, phrases, strict=True)
        ]

    def _known(self, images: Sequence[StoredImage | str], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of a detector that knows images by name, in pixels of the upright image if it is available."""
        size_of: Callable[[str], tuple[int, int] | None] | None = getattr(self.detector, "size_of", None)
        names = [image.name if isinstance(image, StoredImage) else image for image in images]
        answers = self.detector.detect(names, phrases)
        if size_of is None:
            return answers
        return [
            _fitted(boxes, size_of(image.name), image) if isinstance(image, StoredImage) else boxes
            for boxes, image in zip(answers, images, strict=True)
        ]

    def _detect_all(self, missing: Iterable[tuple[StoredImage, list[str]]]) -> None:
        """Open the images and ask the detector, in batches that it can take.

        The memory of a batch is freed before the next image is opened: two of the largest images would take gigabytes.
        """
        batch: list[_Query] = []
        for stored, phrases in missing:
            pixels = sum(query.stored.pixels for query in batch) + stored.pixels
            if batch and (len(batch) >= self.batch_size or pixels > PIXELS):
                self._detect(batch)
                batch = []
            batch += self._queries(stored, phrases)
        if batch:
            self._detect(batch)

    def _queries(self, stored: StoredImage, phrases: list[str]) -> list[_Query]:
        """One query, or none if the image cannot be opened."""
        image = self._opened(stored)
        return [] if image is None else [_Query(stored, image, phrases)]

    def _opened(self, stored: StoredImage) -> Image | None:
        try:
            return self.images.open(stored)
        except ImageError as error:
            forget_frames(error)
            self.unreadable[stored.key] = error
            return None

    def _detect(self, batch: list[_Query]) -> None:
        """Ask the detector and keep its answers; remember on which images it fails."""
        for queries, answers in in_halves(self._answers, batch, self.batch_size, self._smaller):
            if isinstance(answers, Exception):
                self._fail(queries[0].stored, answers)
                continue
            self._failed_in_a_row = 0
            by_image: dict[str, Mapping[str, Boxes]] = {}
            for query, boxes in zip(queries, answers, strict=True):
                self._boxes[query.stored.key] |= boxes
                by_image[query.stored.key] = boxes
            self.store.put(by_image, {query.stored.key: query.image.size for query in queries})

    def _smaller(self, error: Exception, size: int) -> int:
        """Free memory after a failure, and return the next batch size; after lack of memory it stays smaller."""
        _free_memory(error)
        if size > 1 and _out_of_memory(error):
            self.batch_size = size // 2
        return self.batch_size

    def _answers(self, queries: Sequence[_Query]) -> list[dict[str, Boxes]]:
        """The boxes of each image by phrase. A single image that exhausts the memory gets one more try."""
        images, phrases = [query.image for query in queries], [query.phrases for query in queries]
        try:
            boxes = self.detector.detect(images, phrases)
        except Exception as error:
            if len(queries) > 1 or not _out_of_memory(error):
                raise
            _free_memory(error)
            boxes = self.detector.detect(images, phrases)
        if len(boxes) != len(queries):
            raise ExpertError(
                f"{self.name} must return one list per image, got {len(boxes)} for {len(queries)}; correct the detector"
            )
        return [self._by_phrase(words, of_image) for words, of_image in zip(phrases, boxes, strict=True)]

    def _by_phrase(self, phrases: Sequence[str], boxes: Sequence[Box]) -> dict[str, Boxes]:
        by_phrase: dict[str, list[Box]] = {phrase: [] for phrase in phrases}
        for box in boxes:
            if box.phrase is None or not 0 <= box.phrase < len(phrases):
                raise ExpertError(
                    f"{self.name} must assign each box to one of {len(phrases)} phrases, got {box.phrase}; "
                    "correct the detector"
                )
            phrase = phrases[box.phrase]
            if box.xyxy is not None and not all(map(math.isfinite, box.xyxy)):
                raise ExpertError(
                    f"{self.name} must return finite boxes, got {box.xyxy} for {phrase!r}; correct the detector"
                )
            by_phrase[phrase].append(rounded(box))
        return {self._record(phrase, phrases): tuple(found) for phrase, found in by_phrase.items()}

    def _record(self, phrase: str, phrases: Sequence[str]) -> str:
        """The key under which boxes are stored: the phrase, and a digest of the other phrases where they matter."""
        if not self.interacts:
            return phrase
        return f"{phrase}\x00{hashlib.blake2b(chr(0).join(phrases).encode(), digest_size=8).hexdigest()}"

    def _fail(self, image: StoredImage, error: Exception) -> None:
        self._failed[image.key] = error
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILURES:
            self.broken = ExpertError(
                f"{self.name} failed on {FAILURES} images in a row, the last time with {type(error).__name__}: "
                f"{error}; correct it and run the same command again: what is finished is kept"
            )
            raise self.broken

    def close(self) -> None:
        self.images.close()
        self.store.close()


class CachedEnsemble:
    """Several cached detectors that are judged separately; see `detectors.ensemble`.

    Args:
        ensemble: the ensemble of decoded images, or of keys, or of both.
        experts: its experts, cached.
    """

    def __init__(self, ensemble: Ensemble, experts: Sequence[CachedDetector]) -> None:
        self.experts, self.agree, self.covers = tuple(experts), ensemble.agree, ensemble.covers
        self.name, self.needs_image = ensemble.name, ensemble.needs_image
        self.interacts = any(expert.interacts for expert in experts)
        self._looking = [expert for expert in experts if expert.needs_image]

    @property
    def unreadable(self) -> Mapping[str, ImageError]:
        """Key of an image -> reason why no expert could open it."""
        return {key: error for expert in self._looking for key, error in expert.unreadable.items()}

    @property
    def broken(self) -> ExpertError | None:
        """The error of an expert that failed on many images in a row."""
        return next((expert.broken for expert in self._looking if expert.broken), None)

    def begin(self, images: Sequence[StoredImage]) -> None:
        """As `CachedDetector.begin`."""
        for expert in self._looking:
            expert.begin(images)

    def open_all(self, images: Sequence[StoredImage]) -> None:
        """As `CachedDetector.open_all`, run by one expert, because all experts store the sizes in one file."""
        for expert in self._looking[:1]:
            expert.open_all(images)

    def detect(self, images: Sequence[StoredImage], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """The boxes of all experts; each expert is asked only the phrases that it covers."""
        boxes: list[list[Box]] = [[] for _ in images]
        for expert in self.experts:
            covered = [[i for i, phrase in enumerate(row) if expert.covers(phrase)] for row in phrases]
            rows = [b for b, row in enumerate(covered) if row]
            queries = [[phrases[b][i] for i in covered[b]] for b in rows]
            for b, detected in zip(rows, expert.detect([images[b] for b in rows], queries), strict=True):
                boxes[b] += [replace(box, phrase=covered[b][box.phrase or 0]) for box in detected]
        return boxes

    def close(self) -> None:
        for expert in self.experts:
            expert.close()


def cached_detector(
    detector: Detector, cache: Path | None, images: ImageStore, batch_size: int
) -> CachedDetector | CachedEnsemble:
    """A detector, or the experts of an ensemble, with a cache.

    Args:
        cache: file of the detection cache; None keeps detections in memory.
        images: store that opens the images.
        batch_size: images per detector call.
    """
    experts = [
        CachedDetector(
            expert, DetectionStore(cache if expert.needs_image else None, fingerprint(expert)), images, batch_size
        )
        for expert in experts_apart(detector)
    ]
    return CachedEnsemble(detector, experts) if isinstance(detector, Ensemble) and len(experts) > 1 else experts[0]


def _fitted(boxes: Sequence[Box], made_on: tuple[int, int] | None, image: StoredImage) -> list[Box]:
    """Boxes in pixels of the upright image; boxes made on the stored image are turned, those of a resized one scaled.

    Raises:
        ExpertError: the boxes were made on an image of other proportions.
    """
    if made_on is None or image.stored_size is None:
        return list(boxes)
    stored = image.stored_size
    upright = stored if image.orientation < 5 else (stored[1], stored[0])
    if made_on == upright:  # for an upside-down or mirrored image, the size does not tell how its boxes were made
        return list(boxes)
    if made_on == stored:
        return [_moved(box, lambda xyxy: turned(xyxy, stored, image.orientation)) for box in boxes]
    x, y = upright[0] / made_on[0], upright[1] / made_on[1]
    if abs(x - y) > _PROPORTION * max(x, y):
        raise ExpertError(
            f"the boxes were made on an image of {made_on[0]} x {made_on[1]} pixels, {image.name!r} has {upright[0]} x "
            f"{upright[1]}; make them on the same images"
        )
    return [_moved(box, lambda xyxy: (xyxy[0] * x, xyxy[1] * y, xyxy[2] * x, xyxy[3] * y)) for box in boxes]


def _moved(box: Box, move: Callable[[XYXY], XYXY]) -> Box:
    return box if box.xyxy is None else replace(box, xyxy=move(box.xyxy))


def phrases_interact(detector: Detector) -> bool:
    """Whether a detector's boxes for one phrase depend on the other phrases of the call."""
    own = getattr(detector, "phrases_interact", None)
    if own is not None:
        return bool(own)
    family = getattr(detector, "family", None)
    return not getattr(family, "independent", True) and not getattr(detector, "isolate", True)


def _out_of_memory(error: Exception) -> bool:
    """Whether a detector failed because memory ran out, on the CPU or the GPU."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def _free_memory(error: Exception) -> None:
    """Free the memory of a failed call: the frames of its traceback, and the GPU's cached memory."""
    forget_frames(error)
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
