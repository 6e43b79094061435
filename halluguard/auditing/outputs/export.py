"""Cleaned captions in the input's own schema and order: corrected text in place of the old, everything else as it was.

Rows that were skipped keep their text. A filter leaves rows out by what was found in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from halluguard.auditing import inputs
from halluguard.auditing.inputs import Decision
from halluguard.auditing.outputs.tables import caption_row
from halluguard.auditing.run_folder import read_parts
from halluguard.auditing.source import Source
from halluguard.io import replacing


def export(run: Path, source: Source, target: Path, keep: Callable[[Mapping[str, Any]], Any] = lambda row: True) -> int:
    """Write the input anew with the captions of a run; returns how many rows were kept.

    Args:
        run: the run folder.
        source: the input it was made from.
        target: the file to write, in the input's format.
        keep: which captions to keep, given their flat row; see `auditing.filters`.
    """
    kept = 0

    def decisions() -> Iterator[Decision]:
        nonlocal kept
        finished = read_parts(run)
        row = next(finished, None)
        for index, _ in enumerate(source.items()):
            if row is None or row["index"] != index:
                yield Decision(False, None)  # not selected for this run
                continue
            wanted = bool(keep(caption_row(row)))
            kept += wanted
            yield Decision(wanted, row["corrected"] if row["edits"] else None)
            row = next(finished, None)

    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, "wb") as file:
        inputs.get_format(source.format).export(source.path, source.encoding, file, source.keys.caption, decisions())
    return kept
