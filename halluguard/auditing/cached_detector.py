"""The expert as an audit uses it: what it found before comes from the cache, and when it fails, the failure stays
with the picture it failed on.

    in the cache            answered from there
    picture unreadable      the row is skipped as "image"
    expert fails on a batch the batch is halved and tried again, down to one picture; memory is freed before
    ... on one picture      the rows of that picture are skipped as "expert"
    ... on many in a row    the expert is broken, not the pictures: the run ends

Each phrase is asked once per picture. An expert whose answer to one phrase depends on the others asked with it says so
with an attribute `phrases_interact = True`; it is asked the phrases of one caption at a time, and what it found counts
for that set of phrases alone.
"""

from __future__ import annotations

import gc
import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from halluguard.auditing.album import Album, Picture
from halluguard.auditing.detection_store import Boxes, Cache, rounded
from halluguard.errors import ExpertError, ImageError, MissingExtraError, UnsupportedModelError
from halluguard.records import Box, Detector

BATCH = 8
"""Images per detector call."""
PIXELS = 64_000_000
"""Pixels of the pictures of one look, unless it is a single picture."""
BREAKER = 10
"""So many pictures failed in a row, and the expert is taken for broken."""


class Looker:
    """A `Detector` whose images are `Picture`s, around one whose images are PIL.

    Args:
        detector: the expert.
        cache: what it found before.
        album: opens pictures.
        batch: pictures a look.
    """

    def __init__(self, detector: Detector, cache: Cache, album: Album, batch: int = BATCH) -> None:
        self.detector, self.cache, self.album, self.batch = detector, cache, album, batch
        self.interacts = phrases_interact(detector)
        self.looks = 0
        self.unreadable: dict[str, ImageError] = {}
        self.broken: ExpertError | None = None
        self._failed: dict[str, Exception] = {}
        self._failed_in_a_row = 0
        self._found: dict[str, dict[str, Boxes]] = {}
        self._covers: dict[str, bool] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)

    def covers(self, phrase: str) -> bool:
        """Whether the expert can judge the phrase; it is asked once."""
        if phrase not in self._covers:
            if len(self._covers) >= 100_000:
                self._covers.clear()
            self._covers[phrase] = bool(self.detector.covers(phrase))
        return self._covers[phrase]

    def begin(self, pictures: Sequence[Picture]) -> None:
        """Forget the last rows; these pictures come next."""
        self.unreadable.clear()
        self._failed.clear()
        self._found.clear()
        self.album.expect([picture for picture in pictures if self.cache.size(picture.key) is None])

    def open_all(self, pictures: Sequence[Picture]) -> None:
        """Decode the pictures that nothing was asked of, so that a broken one is told whatever its caption says."""
        sizes = {}
        for picture in pictures:
            if picture.key not in self.unreadable and self.cache.size(picture.key) is None:
                image = self._taken(picture)
                if image is not None:
                    sizes[picture.key] = image.size
        if sizes:
            self.cache.put({}, sizes)

    def detect(self, images: Sequence[Picture], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """As `Detector.detect`; a failure is remembered, so that asking again does not repeat it."""
        if not self.detector.needs_image:
            return self.detector.detect(images, phrases)
        if self.broken:
            raise self.broken
        missing: dict[str, tuple[Picture, list[str]]] = {}
        for picture, asked in zip(images, phrases, strict=True):
            stored = self.cache.get(picture.key, [_stored(phrase, asked, self.interacts) for phrase in asked])
            found = self._found.setdefault(picture.key, {})
            found |= stored
            lacking = [phrase for phrase in asked if _stored(phrase, asked, self.interacts) not in found]
            if lacking and picture.key not in self._failed and picture.key not in self.unreadable:
                missing[picture.key] = picture, (list(asked) if self.interacts else lacking)
        if missing:
            self._look_at(list(missing.values()))
        for picture in images:
            if picture.key in self._failed:
                raise self._failed[picture.key]
        return [
            [
                Box(box.label, box.score, box.xyxy, index)
                for index, phrase in enumerate(asked)
                for box in self._found[picture.key].get(_stored(phrase, asked, self.interacts), ())
            ]
            for picture, asked in zip(images, phrases, strict=True)
        ]

    def _look_at(self, wanted: list[tuple[Picture, list[str]]]) -> None:
        """Open the pictures and look at those that open, a few at a time."""
        batch: list[tuple[Picture, Any, list[str]]] = []
        for picture, asked in wanted:
            image = self._taken(picture)
            if image is None:
                continue
            pixels = sum(other.width * other.height for _, other, _ in batch) + image.width * image.height
            if batch and (len(batch) >= self.batch or pixels > PIXELS):
                self._look(batch)
                batch = []
            batch.append((picture, image, asked))
        if batch:
            self._look(batch)

    def _taken(self, picture: Picture) -> Any | None:
        try:
            return self.album.take(picture)
        except ImageError as error:
            self.unreadable[picture.key] = error
            return None

    def _look(self, batch: list[tuple[Picture, Any, list[str]]]) -> None:
        """One call of the expert, halved when it fails."""
        batches = [batch]
        while batches and not self.broken:
            some = batches.pop(0)
            if len(some) > self.batch:  # it ran out of memory since
                batches[:0] = [some[: self.batch], some[self.batch :]]
                continue
            try:
                answers = self._answers(some)
            except (MissingExtraError, UnsupportedModelError):
                raise
            except Exception as error:  # an expert is foreign code: whatever it raises is its failure, and is reported
                self._free(error)
                half = len(some) // 2
                if half:
                    if _out_of_memory(error):
                        self.batch = max(1, half)
                    batches[:0] = [some[:half], some[half:]]
                else:
                    self._fail(some[0][0], error)
                continue
            self._failed_in_a_row = 0
            self._keep(some, answers)
        if self.broken:
            raise self.broken

    def _answers(self, batch: list[tuple[Picture, Any, list[str]]]) -> list[dict[str, Boxes]]:
        """The boxes by phrase of each picture; a picture that exhausts the memory alone gets one more try."""
        images, phrases = [image for _, image, _ in batch], [asked for _, _, asked in batch]
        self.looks += len(batch)
        try:
            found = self.detector.detect(images, phrases)
        except Exception as error:
            if len(batch) > 1 or not _out_of_memory(error):
                raise
            self._free(error)
            found = self.detector.detect(images, phrases)
        if len(found) != len(batch):
            raise ExpertError(f"{self.detector.name} must return one list per image, got {len(found)} for {len(batch)}")
        return [self._by_phrase(asked, boxes) for asked, boxes in zip(phrases, found, strict=True)]

    def _by_phrase(self, asked: Sequence[str], boxes: Sequence[Box]) -> dict[str, Boxes]:
        by_phrase: dict[str, list[Box]] = {phrase: [] for phrase in asked}
        for box in boxes:
            if box.phrase is None or not 0 <= box.phrase < len(asked):
                name = self.detector.name
                raise ExpertError(f"{name} must point each box to one of {len(asked)} phrases, got {box.phrase}")
            if box.xyxy is not None and not all(map(math.isfinite, box.xyxy)):
                phrase = asked[box.phrase]
                raise ExpertError(f"{self.detector.name} must return finite boxes, got {box.xyxy} for {phrase!r}")
            by_phrase[asked[box.phrase]].append(rounded(box))
        return {_stored(phrase, asked, self.interacts): tuple(kept) for phrase, kept in by_phrase.items()}

    def _keep(self, batch: list[tuple[Picture, Any, list[str]]], answers: list[dict[str, Boxes]]) -> None:
        found: dict[str, Mapping[str, Boxes]] = {}
        for (picture, _, _), answer in zip(batch, answers, strict=True):
            self._found[picture.key] |= answer
            found[picture.key] = answer
        self.cache.put(found, {picture.key: image.size for picture, image, _ in batch})

    def _fail(self, picture: Picture, error: Exception) -> None:
        self._failed[picture.key] = error
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= BREAKER:
            self.broken = ExpertError(
                f"{self.detector.name} failed on {BREAKER} pictures in a row, the last time with "
                f"{type(error).__name__}: {error}; mend it and run the same command again: what is finished is kept"
            )

    @staticmethod
    def _free(error: Exception) -> None:
        """Let go of what a failed look holds: the frames of its traceback, and the card's memory."""
        error.__traceback__ = None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def phrases_interact(detector: Any) -> bool:
    """Whether what an expert finds for one phrase depends on the phrases asked with it."""
    said = getattr(detector, "phrases_interact", None)
    if said is not None:
        return bool(said)
    family = getattr(detector, "family", None)
    return not getattr(family, "independent", True) and not getattr(detector, "isolate", True)


def _stored(phrase: str, asked: Sequence[str], interacts: bool) -> str:
    """Under what a finding is kept: the phrase, and where the others matter, a digest of them."""
    if not interacts:
        return phrase
    return f"{phrase}\x00{hashlib.blake2b(chr(0).join(asked).encode(), digest_size=8).hexdigest()}"


def _out_of_memory(error: Exception) -> bool:
    """Whether an expert failed for want of memory: its own, or the card's."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
