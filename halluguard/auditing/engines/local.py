"""In this process, part after part."""

from __future__ import annotations

from collections.abc import Iterator

from halluguard.auditing.engines import Plan, Progress
from halluguard.auditing.work_units import Done, check_all
from halluguard.records import Detector


def run(plan: Plan, detector: Detector | None, progress: Progress) -> Iterator[Done]:
    """The checked rows of each part.

    Args:
        plan: what to do.
        detector: the expert, when it is loaded already.
        progress: told after every group of rows.
    """
    checker = plan.checker(detector)
    try:
        for work in plan.todo():
            lines: list[str] = []
            for some, counts in check_all(work, checker):
                lines += some
                progress(counts)
            yield Done(work.part, lines)
    finally:
        checker.close()
