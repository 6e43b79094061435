"""Find the remaining work of a run folder: missing parts, and failed rows of finished parts.

An engine takes a stream of `Part` and yields a stream of `CheckedPart`, in any order. The run folder writes each one
when it arrives.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.part_lines import OK_CODE, to_line
from halluguard.auditing.pipeline import OK, Checked, Checker, to_dict
from halluguard.auditing.run_folder import RunFolder, open_part
from halluguard.auditing.source import Source, selected_rows
from halluguard.lean_imports import exempt_loaded

CHUNK = 128
"""Number of rows checked together; consecutive captions of one image stay together."""
CHUNK_BYTES = 64 * 1024**2
"""Most characters of captions and bytes of images in one group; a single row may have more."""
RETRIED = ("image", "expert")
"""Codes of skipped rows that a continued run checks again, because the cause may be temporary."""

FinishedParts = Mapping[int, frozenset[int]]
"""Number of a finished part -> indices of its rows that are to be checked again."""


@dataclass(frozen=True)
class Part:
    """The rows of one part to check; `rows` is a stream that must be read before the next part."""

    number: int
    rows: Iterable[Row]


@dataclass(frozen=True)
class CheckedPart:
    """The checked rows of one part, as lines of its file."""

    number: int
    lines: list[str]


def finished_parts(folder: RunFolder) -> FinishedParts:
    """The finished parts of a run folder, with the rows that are to be checked again."""
    parts = {}
    for number in folder.finished():
        with open_part(folder.part(number)) as file:
            failed = ((i, json.loads(line)["code"]) for i, line in enumerate(file) if OK_CODE not in line)
            parts[number] = frozenset(i for i, code in failed if code in RETRIED)
    return parts


def parts_left(config: AuditConfig, source: Source, finished: FinishedParts) -> Iterator[Part]:
    """Yield the parts that are still to be checked, in the order of the input."""
    stream = selected_rows(config, source)
    for number in itertools.count():
        first = next(stream, None)
        if first is None:
            return
        rows = itertools.chain([first], itertools.islice(stream, config.part_rows - 1))
        places = finished.get(number)
        if places is None:
            yield Part(number, rows)
        elif places:
            yield Part(number, [row for i, row in enumerate(rows) if i in places])
        deque(rows, maxlen=0)  # skips the rows that were not read


def chunks(rows: Iterable[Row], size: int = CHUNK) -> Iterator[list[Row]]:
    """Yield groups of `size` rows or a few more: consecutive rows of one image share a group.

    A group ends early where its captions and images together have more than `CHUNK_BYTES`.
    """
    group: list[Row] = []
    held = 0
    for row in rows:
        full = len(group) >= size and (row.image != group[-1].image or len(group) >= 2 * size)
        if full or held > CHUNK_BYTES:
            yield group
            group, held = [], 0
        group.append(row)
        held += len(row.caption) + len(row.image_bytes or b"")
    if group:
        yield group


def check_group(group: Sequence[Row], checker: Checker) -> tuple[list[str], Counter[str]]:
    """(lines, counts) of a group of rows; see `counts_of`."""
    checked = checker.check(group)
    exempt_loaded()
    return [to_line(to_dict(one)) for one in checked], counts_of(checked)


def counts_of(checked: Iterable[Checked]) -> Counter[str]:
    """Numbers of rows, of skipped rows, and of verdicts by decision."""
    counts: Counter[str] = Counter()
    for one in checked:
        counts["rows"] += 1
        counts["skipped"] += one.code != OK
        counts.update(verdict.decision for verdict in one.verdicts)
    return counts
