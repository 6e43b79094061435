"""Share one detector among many requests: images that wait at the same time are detected in one call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from PIL.Image import Image

from halluguard.errors import ExpertError
from halluguard.images import MAX_MODEL_PIXELS
from halluguard.records import Box, Detector


@dataclass
class _Work:
    images: Sequence[Image]
    phrases: Sequence[Sequence[str]]
    result: Future[list[list[Box]]] = field(default_factory=Future)


class SharedDetector:
    """A detector that runs in one thread, on the images of all waiting callers together.

    While a call runs, further callers queue up; the next call takes as many as fit. A call that fails is repeated for
    each caller separately, so that one image cannot make the check of another fail.

    Args:
        detector: the detector.
        batch_size: images per call; fewer if they together have more than `MAX_MODEL_PIXELS`.
        timeout: seconds that a caller waits for its boxes.
        called: function that gets the number of images of each call, for measurements.
    """

    def __init__(self, detector: Detector, batch_size: int, timeout: float, called: Any = None) -> None:
        self._detector, self._batch_size, self._timeout, self._called = detector, batch_size, timeout, called
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="halluguard-detector", daemon=True)
        self._thread.start()
        self.name, self.needs_image = detector.name, detector.needs_image

    def __getattr__(self, name: str) -> Any:
        """Return optional members of the detector, such as its own thresholds."""
        return getattr(self._detector, name)

    def covers(self, phrase: str) -> bool:
        """As `Detector.covers` of the detector."""
        return self._detector.covers(phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """As `Detector.detect`.

        Raises:
            ExpertError: the detector failed, or the boxes took longer than `timeout`.
        """
        work = _Work(images, phrases)
        self._queue.put(work)
        try:
            return work.result.result(self._timeout)
        except TimeoutError as error:
            work.result.cancel()
            raise ExpertError(
                f"the detector {self.name} gave no boxes in {self._timeout:g} seconds; raise the time or its batch size"
            ) from error

    def close(self) -> None:
        """End the thread after the waiting calls."""
        self._queue.put(None)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            batch, goes_on = self._next_batch()
            self._detect([work for work in batch if work.result.set_running_or_notify_cancel()])
            del batch  # an idle thread holds no images

    def _next_batch(self) -> tuple[list[_Work], bool]:
        """The next call, and False if the thread ends after it."""
        batch: list[_Work] = []
        while not batch or self._has_room(batch):
            try:
                work = self._queue.get(block=not batch)
            except Empty:
                break
            if work is None:
                return batch, False
            batch.append(work)
        return batch, True

    def _has_room(self, batch: list[_Work]) -> bool:
        """Whether the next images may join the call; a detector takes several bytes per pixel of all its images."""
        images = [image for work in batch for image in work.images]
        pixels = sum(image.width * image.height for image in images)
        return len(images) < self._batch_size and pixels < MAX_MODEL_PIXELS

    def _detect(self, batch: list[_Work]) -> None:
        if not batch:
            return
        images = [image for work in batch for image in work.images]
        try:
            boxes = self._detector.detect(images, [phrases for work in batch for phrases in work.phrases])
            if self._called is not None:
                self._called(len(images))
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
            else:
                for work in batch:
                    self._detect([work])
            return
        start = 0
        for work in batch:
            work.result.set_result(boxes[start : start + len(work.images)])
            start += len(work.images)
