"""Check rows on this machine, in this process or in several.

Several processes check the same groups of rows as one process would. This process joins the groups into parts, in the
order of the input.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from halluguard.auditing.cached_experts import AnyExpert, property_experts
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.engines import Progress
from halluguard.auditing.pipeline import Checker, detector_of
from halluguard.auditing.processes import Processes
from halluguard.auditing.source import Source
from halluguard.auditing.work_units import CheckedPart, FinishedParts, check_group, chunks, parts_left
from halluguard.auditing.workers import can_travel, gpus, usable_cores, worker_count
from halluguard.correction import languages
from halluguard.errors import SettingsError
from halluguard.records import Detector


def run(
    config: AuditConfig,
    source: Source,
    finished: FinishedParts,
    detector: Detector,
    experts: Sequence[AnyExpert],
    progress: Progress,
) -> Iterator[CheckedPart]:
    """See `Engine.run`.

    Raises:
        SettingsError: several processes would need a detector or an extractor that only this one has.
    """
    count = worker_count(config, source, detector)
    if count > 1:
        yield from _spread(config, source, finished, progress, count)
        return
    checker = Checker(config, detector, experts, config.cache_file)
    try:
        for part in parts_left(config, source, finished):
            lines: list[str] = []
            for group in chunks(part.rows):
                some, counts = check_group(group, checker)
                lines += some
                progress(counts)
            yield CheckedPart(part.number, lines)
    finally:
        checker.close()


def _spread(
    config: AuditConfig, source: Source, finished: FinishedParts, progress: Progress, count: int
) -> Iterator[CheckedPart]:
    """Check groups of rows in `count` processes."""
    if not isinstance(config.detector, str | tuple):
        raise SettingsError(
            "several workers need a detector that each can load by its name, got an object; give its name, or workers=1"
        )
    fixed = next((one for one in languages.registered() if not can_travel(one)), None)
    if fixed is not None:
        raise SettingsError(
            f"several workers need an extractor for {fixed.language!r} that each can import, got {fixed.load!r}; "
            "register a function of a module, or set workers=1"
        )
    parts: deque[int] = deque()  # of the groups that are being checked

    def groups() -> Iterator[list[Row]]:
        for part in parts_left(config, source, finished):
            for group in chunks(part.rows):
                parts.append(part.number)
                yield group

    devices = gpus(config.device)
    devices_of = [f"cuda:{i % devices}" if config.device == "cuda" else config.device for i in range(count)]
    starts = [
        functools.partial(_start, replace(config, device=device), languages.registered()) for device in devices_of
    ]
    with Processes(starts, threads=max(1, usable_cores() // count)) as processes:
        number, lines = -1, list[str]()
        for some, counts in processes.map(_check, groups()):
            before, number = number, parts.popleft()
            if number != before and lines:
                yield CheckedPart(before, lines)
                lines = []
            lines += some
            progress(counts)
        if lines:
            yield CheckedPart(number, lines)


_checkers: list[Checker] = []
"""The checker of a worker process."""


def _start(config: AuditConfig, extractors: Sequence[languages.Registered]) -> None:
    for one in extractors:
        languages.register(*one)
    detector = detector_of(config)
    _checkers.append(Checker(config, detector, property_experts(config, detector), config.cache_file))


def _check(group: list[Row]) -> tuple[list[str], Counter[str]]:
    return check_group(group, _checkers[0])
