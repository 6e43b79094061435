"""One detector for many requests: images that arrive together are detected in one call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from PIL.Image import Image

from halluguard.errors import ExpertError
from halluguard.records import Box, Detector


@dataclass
class _Work:
    images: Sequence[Image]
    phrases: Sequence[Sequence[str]]
    result: Future[list[list[Box]]] = field(default_factory=Future)


class SharedDetector:
    """A detector that is called from one thread of its own, with the images of all callers that wait.

    While a call runs, further callers queue up; the next call takes as many as fit. A call that fails is made again
    for each caller alone, so that one image cannot spoil the check of another.

    Args:
        detector: the detector.
        batch_size: images per call.
        timeout: seconds that a caller waits for its boxes.
        called: called with the number of images of each call, for measurements.
    """

    def __init__(self, detector: Detector, batch_size: int, timeout: float, called: Any = None) -> None:
        self._detector, self._batch_size, self._timeout, self._called = detector, batch_size, timeout, called
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="halluguard-detector", daemon=True)
        self._thread.start()
        self.name, self.needs_image = detector.name, detector.needs_image

    def __getattr__(self, name: str) -> Any:
        """Optional members of a detector, such as its own thresholds, are the detector's."""
        return getattr(self._detector, name)

    def covers(self, phrase: str) -> bool:
        """As the detector says."""
        return self._detector.covers(phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases.

        Raises:
            ExpertError: the detector failed, or its queue took longer than `timeout`.
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
        """End the thread after what waits."""
        self._queue.put(None)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, ends = [first], False
            while sum(len(work.images) for work in batch) < self._batch_size:
                try:
                    work = self._queue.get_nowait()
                except Empty:
                    break
                if work is None:
                    ends = True
                    break
                batch.append(work)
            self._detect([work for work in batch if work.result.set_running_or_notify_cancel()])
            if ends:
                return

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
