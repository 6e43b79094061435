"""Check rows in this process, part after part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from halluguard.auditing.cached_experts import AnyExpert
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.engines import Progress
from halluguard.auditing.pipeline import Checker
from halluguard.auditing.source import Source
from halluguard.auditing.work_units import CheckedPart, FinishedParts, check_part, parts_left
from halluguard.records import Detector


def run(
    config: AuditConfig,
    source: Source,
    finished: FinishedParts,
    detector: Detector,
    experts: Sequence[AnyExpert],
    progress: Progress,
) -> Iterator[CheckedPart]:
    """See `Engine.run`."""
    checker = Checker(config, detector, experts, config.cache_file)
    try:
        for part in parts_left(config, source, finished):
            lines: list[str] = []
            for some, counts in check_part(part, checker):
                lines += some
                progress(counts)
            yield CheckedPart(part.number, lines)
    finally:
        checker.close()
