"""End a run on Ctrl-C or SIGTERM between two groups of rows, and at once on a second signal.

In both cases, finished work is kept.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal ended the run.

    Args:
        number: number of the signal; the exit code is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Stop:
    """Remember that a signal came."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise `Stopped` if a signal came."""
        if self.number is not None:
            raise Stopped(self.number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.check()
        self.number = number


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs, SIGINT and SIGTERM take effect at the next `check`. Only the main thread gets signals."""
    stop = Stop()
    before = {number: signal.signal(number, stop._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
