"""Write a copy of the input, in its own format and order, with corrected captions; everything else is unchanged.

Skipped rows keep their text, but a row that is too long for memory is left out. A filter can leave out rows by their
verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from halluguard.auditing import inputs
from halluguard.auditing.fields import Text, texts_of
from halluguard.auditing.inputs import Decision
from halluguard.auditing.outputs.tables import caption_row
from halluguard.auditing.run_folder import read_parts
from halluguard.auditing.source import Source
from halluguard.io import JsonObject, replacing


def write_export(
    run: Path,
    source: Source,
    target: Path,
    keep: Callable[[JsonObject], object] | None = None,
    *,
    promised: bool = False,
) -> int:
    """Write a copy of the input with the captions of a run.

    Args:
        run: run folder.
        source: the input that the run was made from.
        target: the file to write, in the input's format; compressed if its name ends in ".gz" or ".zst".
        keep: function from a row of `captions.parquet` to whether the caption is kept; default all. See `parse_filter`.
        promised: True if the run has a policy, so that skipped and withheld captions are not written.

    Returns:
        Number of rows that were kept.
    """
    kept = 0

    def decisions() -> Iterator[Decision]:
        nonlocal kept
        checked = read_parts(run)
        ahead, index = next(checked, None), 0
        for item in source.items():
            texts = texts_of(item.fields, source.keys.caption) if item.fields is not None else [Text("", None)]
            rows = []
            while ahead is not None and ahead["index"] < index + len(texts):
                rows.append(ahead)
                ahead = next(checked, None)
            # An entry without a row was not selected for this run. An entry with several rows is kept if all of them
            # are.
            is_kept = bool(rows) and item.raw is not None and (keep is None or all(keep(caption_row(r)) for r in rows))
            is_kept = is_kept and (not promised or (len(rows) == len(texts) and all(map(is_released, rows))))
            kept += len(rows) * is_kept
            changed = {texts[r["index"] - index].key: r["corrected"] for r in rows if r["corrected"] != r["caption"]}
            index += len(texts)
            if changed.keys() == {source.keys.caption}:
                yield Decision(is_kept, changed[source.keys.caption])
            else:
                yield Decision(is_kept, turns=changed)

    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, "wb") as file:
        inputs.get_format(source.format).export(source.path, source.encoding, file, source.keys.caption, decisions())
    return kept


def is_released(row: JsonObject) -> bool:
    """Whether a run with a policy releases a caption: it was checked, and the policy does not withhold it."""
    return row["code"] == "ok" and not row.get("withheld")
