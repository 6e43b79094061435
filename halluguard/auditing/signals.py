"""Ctrl-C and SIGTERM end a run between two groups of rows; a second one ends it at once. Either way nothing finished
is lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal ended the run.

    Args:
        number: of the signal; the exit code is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Stop:
    """Remembers that a signal came."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise `Stopped` if a signal came."""
        if self.number is not None:
            raise Stopped(self.number)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise Stopped(number)
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """While open, SIGINT and SIGTERM wait for the next `check`. Only in the main thread, where signals arrive."""
    stop = Stop()
    before = {number: signal.signal(number, stop._came) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
