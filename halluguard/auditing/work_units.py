"""What is left to do in a run folder: parts that are missing, and rows of finished parts that failed.

An engine takes a stream of `Work` and gives a stream of `Done`, in any order; the run folder takes each as it comes.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.pipeline import OK, Checked, Checker, to_dict
from halluguard.auditing.run_folder import RunFolder
from halluguard.auditing.source import Selection, Source
from halluguard.io import json_line

CHUNK = 128
"""Rows checked together; captions of one picture that follow each other are not parted."""
RETRIED = ("image", "expert")
"""Codes of rows that another run may find mended: they are tried again when a run is continued."""


@dataclass(frozen=True)
class Work:
    """Rows of one part that are to be checked; `rows` is a stream, to be read once and before the next work."""

    part: int
    rows: Iterable[Row]


@dataclass(frozen=True)
class Done:
    """Checked rows of one part, as lines of its file."""

    part: int
    lines: list[str]


def failed_rows(folder: RunFolder) -> dict[int, frozenset[int]]:
    """Each finished part with the places of its rows that are to be tried again."""
    found = {}
    for number in folder.finished():
        with folder.part(number).open(encoding="utf-8") as file:
            failed = ((i, json.loads(line)["code"]) for i, line in enumerate(file) if '"code": "ok"' not in line)
            found[number] = frozenset(i for i, code in failed if code in RETRIED)
    return found


def todo(
    source: Source, selection: Selection, part_rows: int, finished: Mapping[int, frozenset[int]]
) -> Iterator[Work]:
    """The work that is left, in the order of the input.

    Args:
        source, selection: which rows.
        part_rows: rows a part.
        finished: the finished parts, with the places of rows in them that are to be tried again.
    """
    stream = selection.rows(source)
    for number in itertools.count():
        first = next(stream, None)
        if first is None:
            return
        rows = itertools.chain([first], itertools.islice(stream, part_rows - 1))
        places = finished.get(number)
        if places is None:
            yield Work(number, rows)
        elif places:
            yield Work(number, [row for i, row in enumerate(rows) if i in places])
        for _ in rows:  # what nobody wanted
            pass


def chunks(rows: Iterable[Row], size: int = CHUNK) -> Iterator[list[Row]]:
    """Rows in groups of `size` or a few more: rows of one picture that follow each other share a group."""
    group: list[Row] = []
    for row in rows:
        if len(group) >= size and (row.image != group[-1].image or len(group) >= 2 * size):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def check_all(work: Work, checker: Checker) -> Iterator[tuple[list[str], Counter[str]]]:
    """The lines of each group of rows, and how many rows, skipped rows and verdicts of each kind they hold."""
    for group in chunks(work.rows):
        checked = checker.check(group)
        yield [json_line(to_dict(one)) for one in checked], counts_of(checked)


def counts_of(checked: Iterable[Checked]) -> Counter[str]:
    """Rows, skipped rows, and verdicts by decision."""
    counts: Counter[str] = Counter()
    for one in checked:
        counts["rows"] += 1
        counts["skipped"] += one.code != OK
        counts.update(verdict.decision for verdict in one.verdicts)
    return counts
