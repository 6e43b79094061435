"""What a run shows while it works: a bar for people, JSON lines for programs, or nothing. All of it goes to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import IO, Any, Literal, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from halluguard.auditing.outputs.summary import DECISIONS

Mode = Literal["bar", "json", "off"]
EVERY_SECONDS = 1.0


class Watch:
    """Adds up what is told to it and shows it.

    Args:
        mode: "bar", "json" (one object a second) or "off".
        total: rows that are to be checked, when known.
        console: of the bar.
        stream: of the JSON lines.
    """

    def __init__(
        self, mode: Mode, total: int | None, console: Console | None = None, stream: IO[str] | None = None
    ) -> None:
        self.mode, self.total = mode, total
        self.counts: Counter[str] = Counter()
        self.began = self._told = time.monotonic()
        self.stream = stream or sys.stderr
        self._bar = _bar(console) if mode == "bar" else None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("auditing", total=self.total, said="", rate=0.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self.mode == "json":
            self._tell()

    def __call__(self, counts: Counter[str]) -> None:
        """Add what a group of rows gave."""
        self.counts += counts
        if self._bar:
            said = self.state()
            verdicts = ", ".join(f"{said['verdicts'][name]} {name}" for name in DECISIONS[:3])
            aside = f"; {said['skipped']} skipped" if said["skipped"] else ""
            self._bar.update(self._task, completed=said["done"], said=verdicts + aside, rate=said["rate"] or 0.0)
        elif self.mode == "json" and time.monotonic() - self._told >= EVERY_SECONDS:
            self._tell()

    def state(self) -> dict[str, Any]:
        """Rows done in this run and in all, rows a second, seconds left, verdicts, skipped rows."""
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

    def _tell(self) -> None:
        self._told = time.monotonic()
        print(json.dumps(self.state()), file=self.stream, flush=True)


def _bar(console: Console | None) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}", style="dim"),
        console=console,
        transient=True,
    )
