"""A run from start to end: open the input, check what is not yet checked, write the outputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halluguard._version import __version__
from halluguard.auditing.checking import Checked, Checker, to_dict
from halluguard.auditing.experts import load_expert
from halluguard.auditing.export import export as write_export
from halluguard.auditing.folder import RunFolder, json_line, write_json
from halluguard.auditing.outputs import write_tables
from halluguard.auditing.pictures import Pictures
from halluguard.auditing.rows import Row
from halluguard.auditing.source import Selection, Source, manifest_of, open_source
from halluguard.auditing.summary import thresholds_dict
from halluguard.correction.verify import Thresholds
from halluguard.records import Detector

PART_ROWS = 1000
"""Rows a part: what is lost at most when a run is killed, apart from the expert's findings, which the cache keeps."""
CHUNK = 64
"""Rows checked together; results do not depend on it."""
RETRIED = ("image", "expert")
"""Codes of rows that another run may find mended: they are tried again when a run is continued."""


@dataclass(frozen=True)
class Job:
    """What is to be audited, with what.

    Args:
        source: the input.
        detector: the expert.
        thresholds: None takes the expert's own.
        selection: which rows.
        part_rows: rows a part.
        pictures: where the pictures are; unused by an expert that needs none.
    """

    source: Source
    detector: Detector
    thresholds: Thresholds | None = None
    selection: Selection = field(default_factory=Selection)
    part_rows: int = PART_ROWS
    pictures: Pictures = field(default_factory=lambda: Pictures(None))

    def manifest(self) -> dict[str, Any]:
        """The settings that decide the results."""
        return {
            "halluguard": __version__,
            **manifest_of(self.source, self.selection),
            "expert": self.detector.name,
            "thresholds": thresholds_dict(self.thresholds),
            "part_rows": self.part_rows,
        }


def audit(
    captions: Path,
    out: Path,
    *,
    detector: str | Detector,
    images: Path | None = None,
    thresholds: Thresholds | None = None,
    export: Path | None = None,
    force_new: bool = False,
) -> dict[str, Any]:
    """Audit a captions file into the folder `out`; the summary comes back.

    Args:
        captions: the input, in any format of `auditing.formats`.
        out: a new folder, or one of a run with the same settings, which is continued.
        detector: an expert, or the name of one as `auditing.experts` writes them.
        images: the folder of the pictures, for an expert that looks at them.
        thresholds: where support ends and contradiction begins; None takes the expert's own.
        export: write the input anew to this file, with corrected captions.
        force_new: throw away a run with other settings.

    >>> audit(Path("captions.jsonl"), Path("audited"), detector="objects:objects.json")  # doctest: +SKIP
    {'schema': 1, ...}
    """
    source = open_source(captions, {})
    expert = load_expert(detector) if isinstance(detector, str) else detector
    summary = run(Job(source, expert, thresholds, pictures=Pictures(images)), out, force_new=force_new)
    if export is not None:
        write_export(out, source, export)
    return summary


def run(
    job: Job, out: Path, *, force_new: bool = False, progress: Callable[[list[Checked]], None] = lambda checked: None
) -> dict[str, Any]:
    """Audit into the folder `out`, continuing what is there; the summary comes back.

    Raises:
        SettingsError: the folder is in use, or holds a run with other settings.
        OutputError: the folder cannot be written.
    """
    manifest = job.manifest()
    with RunFolder(out, manifest, force_new=force_new) as folder:
        checker = Checker(job.detector, job.thresholds, job.pictures)
        for number, rows in enumerate(_batched(job.selection.rows(job.source), job.part_rows)):
            if not folder.done(number):
                folder.commit(number, _checked_lines(rows, checker, progress))
            else:
                _retry(folder, number, rows, checker, progress)
        tally = write_tables(out, out)
        summary = tally.summary(manifest)
        write_json(out / "summary.json", summary)
    return summary


def _checked_lines(rows: Iterable[Row], checker: Checker, progress: Callable[[list[Checked]], None]) -> Iterator[str]:
    for chunk in _batched(rows, CHUNK):
        checked = checker.check(list(chunk))
        progress(checked)
        yield from (json_line(to_dict(one)) for one in checked)


def _retry(
    folder: RunFolder, number: int, rows: list[Row], checker: Checker, progress: Callable[[list[Checked]], None]
) -> None:
    """Check again the rows of a finished part whose image or expert failed."""
    lines = folder.part(number).read_text(encoding="utf-8").splitlines(keepends=True)
    failed = [i for i, line in enumerate(lines) if '"code": "ok"' not in line and json.loads(line)["code"] in RETRIED]
    if not failed:
        return
    again = list(_checked_lines([rows[i] for i in failed], checker, progress))
    if again != [lines[i] for i in failed]:
        for i, line in zip(failed, again, strict=True):
            lines[i] = line
        folder.commit(number, lines)


def _batched(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    stream = iter(rows)
    while batch := list(itertools.islice(stream, size)):
        yield batch
