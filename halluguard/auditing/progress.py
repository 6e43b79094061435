"""Show the progress of a run on standard error: as a bar, as JSON lines for programs, or not at all."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import IO, Literal, Self, TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from halluguard.auditing.outputs.summary import DECISIONS

Mode = Literal["bar", "json", "off"]
EVERY_SECONDS = 1.0


class State(TypedDict):
    """One JSON line: rows done in this run, total rows, rows per second, seconds left, verdicts, skipped rows."""

    done: int
    total: int | None
    rate: float
    eta: float | None
    verdicts: dict[str, int]
    skipped: int


class ProgressDisplay:
    """Add up the counts of the calls, and show them.

    Args:
        mode: "bar", "json" (one object per second) or "off".
        total: number of rows to check, if known.
        console: console that shows the bar.
        stream: stream for the JSON lines. Default: standard error.
    """

    def __init__(
        self, mode: Mode, total: int | None, console: Console | None = None, stream: IO[str] | None = None
    ) -> None:
        self.mode, self.total = mode, total
        self.counts: Counter[str] = Counter()
        self.began = self._printed = time.monotonic()
        self.stream = stream or sys.stderr
        self._bar = _bar(console) if mode == "bar" else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("auditing", total=self.total, verdicts="", rate=0.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self.mode == "json":
            self._print()

    def __call__(self, counts: Counter[str]) -> None:
        """Add the counts of a group of rows."""
        self.counts += counts
        if self._bar:
            state = self.state()
            verdicts = ", ".join(f"{state['verdicts'][name]} {name}" for name in DECISIONS[:3])
            skipped = f"; {state['skipped']} skipped" if state["skipped"] else ""
            self._bar.update(self._task, completed=state["done"], verdicts=verdicts + skipped, rate=state["rate"])
        elif self.mode == "json" and time.monotonic() - self._printed >= EVERY_SECONDS:
            self._print()

    def state(self) -> State:
        """The counts so far, with the rate and the time left."""
        seconds = time.monotonic() - self.began
        done = self.counts["rows"]
        rate = done / seconds if seconds > 0 else 0.0
        left = (self.total - done) / rate if self.total is not None and rate else None
        return {
            "done": done,
            "total": self.total,
            "rate": round(rate, 2),
            "eta": None if left is None else round(max(0.0, left), 1),
            "verdicts": {name: self.counts[name] for name in DECISIONS},
            "skipped": self.counts["skipped"],
        }

    def _print(self) -> None:
        self._printed = time.monotonic()
        print(json.dumps(self.state()), file=self.stream, flush=True)


def _bar(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[verdicts]}", style="dim"),
        console=console,
        transient=True,
    )
