"""Write the input again, in its own format and order, with corrected captions and everything else as it was.

Skipped rows keep their text; one that is too long to be held is left out, as its reason says. A filter leaves rows out
by what was found in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from halluguard.auditing import inputs
from halluguard.auditing.inputs import Decision
from halluguard.auditing.outputs.tables import caption_row
from halluguard.auditing.run_folder import read_parts
from halluguard.auditing.source import Source
from halluguard.io import JsonObject, replacing


def write_export(run: Path, source: Source, target: Path, keep: Callable[[JsonObject], object] | None = None) -> int:
    """Write the input anew with the captions of a run.

    Args:
        run: run folder.
        source: the input that the run was made from.
        target: the file to write, in the input's format; compressed if its name ends in ".gz" or ".zst".
        keep: whether to keep a caption, given its row of `captions.parquet`; default all. See `parse_filter`.

    Returns:
        How many rows were kept.
    """
    kept = 0

    def decisions() -> Iterator[Decision]:
        nonlocal kept
        rows = read_parts(run)
        row = next(rows, None)
        for index, item in enumerate(source.items()):
            if row is None or row["index"] != index:
                yield Decision(False, None)  # not selected for this run
                continue
            is_kept = item.raw is not None and (keep is None or bool(keep(caption_row(row))))
            kept += is_kept
            yield Decision(is_kept, row["corrected"] if row["corrected"] != row["caption"] else None)
            row = next(rows, None)

    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, "wb") as file:
        inputs.get_format(source.format).export(source.path, source.encoding, file, source.keys.caption, decisions())
    return kept
