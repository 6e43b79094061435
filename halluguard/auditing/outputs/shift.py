"""Watch whether the images of a run differ from the images on which its policy was calibrated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from halluguard.auditing.part_lines import read_row
from halluguard.calibration.outcomes import agreement
from halluguard.calibration.watching import ShiftMonitor
from halluguard.io import JsonObject
from halluguard.records import Verdict

ENOUGH_SCORES = 30
"""Least number of calibration scores for which shifts are watched."""


class ShiftWatch:
    """Feed a shift monitor with checked rows: the first row of each image.

    Args:
        monitor: the monitor.
    """

    def __init__(self, monitor: ShiftMonitor) -> None:
        self.monitor = monitor
        self._images: set[int] = set()

    def add(self, row: JsonObject) -> bool:
        """Add a checked row, and return True if it raised the alarm."""
        name = hashlib.blake2b(str(row["image"]).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        image = int.from_bytes(name, "big")
        if row["code"] != "ok" or image in self._images:
            return False
        self._images.add(image)
        score = agreement([Verdict.from_dict(verdict) for verdict in row["verdicts"]])
        before = self.monitor.alarm_at
        if score is not None:
            self.monitor.add(score)
        return before is None and self.monitor.alarm_at is not None

    def add_lines(self, lines: Iterable[str]) -> bool:
        """Add the lines of a part, and return True if one raised the alarm."""
        alarms = [self.add(read_row(line)) for line in lines]
        return any(alarms)

    def result(self) -> JsonObject:
        """The result of the monitor, as JSON values."""
        monitor = self.monitor
        return {"words": monitor.words(), "alarm_at": monitor.alarm_at, "evidence": float(f"{monitor.highest:.6g}")}


def shift_watch(scores: Sequence[float]) -> ShiftWatch | None:
    """A watch that compares with the calibration's scores; None if the policy holds too few of them."""
    return ShiftWatch(ShiftMonitor(scores)) if len(scores) >= ENOUGH_SCORES else None


def without_scores(value: object) -> object:
    """Settings without the calibration's scores, of which there are too many to read."""
    return {k: v for k, v in value.items() if k != "agreements"} if isinstance(value, Mapping) else value
