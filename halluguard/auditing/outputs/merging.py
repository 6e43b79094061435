"""Merge the shards of a run: the results of `--shard i/n` on n machines become the results of one run.

Sums are added, and tables are joined by the rows' indices; no row is parsed. Lines of parts are copied: the tables list
the rows of each merged part, and the checks of the shards' parts tell which file holds them. So each merged part can be
made separately, by any of several processes.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.auditing.outputs.summary import Tally
from halluguard.auditing.outputs.tables import CAPTION_COLUMNS, CLAIM_COLUMNS, Table, arrow_schema, write_json_lines
from halluguard.auditing.outputs.tallies import read_tally
from halluguard.auditing.part_lines import index_of
from halluguard.auditing.processes import Processes, idle
from halluguard.auditing.run import finish, write_summary
from halluguard.auditing.run_folder import (
    SUMMARY,
    PartCheck,
    RunFolder,
    check_finished,
    checked_parts,
    open_part,
    passes,
    read_manifest,
    write_part,
)
from halluguard.errors import InputError, SettingsError
from halluguard.io import JsonObject, parsing, read_json, replacing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ROWS_FOR_WORKERS = 20_000
"""Number of rows from which several processes merge."""
_BATCH = 20_000
"""Number of rows of a table that are read at once from each shard."""
_PARTS_AT_ONCE = 16
"""Number of merged parts that are made together; those parts of the shards that they share are read once for them."""


def merge_shards(
    shards: Sequence[Path], out: Path, *, force_new: bool = False, json_lines: bool = False, workers: int = 1
) -> JsonObject:
    """Merge finished shards into the folder `out`.

    Parts, tables and summary equal those of a run without shards, byte for byte.

    Args:
        shards: the run folders of all n shards, in any order.
        out: folder for the merged run; not one of the shards.
        force_new: True discards another run in `out`.
        json_lines: True also writes captions.jsonl and claims.jsonl.
        workers: number of processes that merge, where there are many rows.

    Returns:
        The summary.

    Raises:
        InputError: a folder holds no run, or one that is not finished.
        SettingsError: the shards are not of one run, or some are missing.
    """
    manifest, rows = _common_manifest(shards)
    if os.path.realpath(out) in set(map(os.path.realpath, shards)):
        raise SettingsError(
            f"the merged run needs a folder of its own, got one of the shards: {str(out)!r}; name another folder"
        )
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(RunFolder(out, manifest, force_new=force_new))
        several = workers > 1 and sum(rows) >= ROWS_FOR_WORKERS
        pool = stack.enter_context(Processes([idle] * workers)) if several else None
        checks = [checked_parts(shard) for shard in shards]
        parts = [check for of_shard in checks for check in of_shard]
        passed = pool.map(passes, parts) if pool is not None else map(passes, parts)
        whole = dict(zip([check.path for check in parts], passed, strict=True))
        for shard, of_shard, count in zip(shards, checks, rows, strict=True):
            check_finished(shard, count, of_shard, whole)
        tallies = [read_tally(shard) for shard in shards]
        if "policy" in manifest or None in tallies:  # the watch for shifts must read rows in order
            _copy_lines(checks, folder, manifest["part_rows"])
            return finish(out, manifest, workers=workers, json_lines=json_lines)
        tasks = _tasks(shards, checks, folder, manifest["part_rows"])
        if pool is not None:
            pool.run(_done, tasks)
        else:
            for task in tasks:
                task()
        tally = Tally()
        for of_sums in tallies:
            tally.merge(of_sums or Tally())
        write_json_lines(out, wanted=json_lines, compact=folder.compact)
        return write_summary(out, tally, manifest)


def _common_manifest(shards: Sequence[Path]) -> tuple[JsonObject, list[int]]:
    """The manifest of the whole run, which is share 0 of 1, and the number of rows of each shard."""
    folders: dict[int, Path] = {}
    whole: JsonObject = {}
    rows, count = [], 0
    for shard in shards:
        manifest = read_manifest(shard)
        if manifest is None or "selection" not in manifest:
            raise InputError(f"no audit in {str(shard)!r}; name the folders given to --out of each shard")
        if not (shard / SUMMARY).exists():
            raise InputError(f"the audit in {str(shard)!r} is not finished; run its command again, then merge")
        with parsing(shard, "a finished audit"):
            i, n = manifest["selection"]["shard"]
            manifest["selection"]["shard"] = [0, 1]
            rows.append(int(read_json(shard / SUMMARY)["rows"]))
            if not isinstance(manifest["part_rows"], int) or manifest["part_rows"] < 1:
                raise ValueError(f"part_rows must be a number of rows, got {manifest['part_rows']!r}")
        if whole and (manifest != whole or n != count):
            different = sorted(key for key in manifest if manifest[key] != whole.get(key)) or ["number of shards"]
            raise SettingsError(
                f"the shards are not of one run: {str(shard)!r} differs in {', '.join(different)}; "
                "merge only shards of one run"
            )
        if i in folders:
            raise SettingsError(
                f"shard {i + 1}/{n} is given twice: {str(folders[i])!r} and {str(shard)!r}; name each shard once"
            )
        folders[i], whole, count = shard, manifest, n
    missing = [f"{i + 1}/{count}" for i in range(count) if i not in folders]
    if missing or not folders:
        raise SettingsError(f"expected all shards of a run, missing {', '.join(missing) or 'all'}; name them too")
    return whole, rows


# --- by sums ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _MergedParts:
    """Consecutive parts of the merged run.

    Args:
        files: number -> file of each part that is to be written.
        first, last: indices of the first and last row of all parts.
        number: number of the first part.
        part_rows: rows of a part; the last part of a run may have fewer.
        sources: for each shard, its parts that hold these rows.
    """

    files: Mapping[int, Path]
    first: int
    last: int
    number: int
    part_rows: int
    sources: tuple[tuple[PartCheck, ...], ...]


def _done(task: Callable[[], None]) -> None:
    task()


def _tasks(
    shards: Sequence[Path], checks: Sequence[Sequence[PartCheck]], folder: RunFolder, part_rows: int
) -> Iterator[Callable[[], None]]:
    """The tasks of a merge, which may run in any order: the tables, the skipped rows, and the parts."""
    for name, columns in (("claims.parquet", CLAIM_COLUMNS), ("captions.parquet", CAPTION_COLUMNS)):
        yield functools.partial(merge_tables, [shard / name for shard in shards], folder.path / name, columns)
    yield functools.partial(_merge_skipped, shards, folder.path)
    indices = _indices(shards)
    finished = set(folder.finished())
    firsts = [[check.first for check in of_shard] for of_shard in checks]
    lasts = [[check.last for check in of_shard] for of_shard in checks]
    count = -(-len(indices) // part_rows)
    for number in range(0, count, _PARTS_AT_ONCE):
        numbers = range(number, min(count, number + _PARTS_AT_ONCE))
        files = {i: folder.part(i) for i in numbers if i not in finished}
        if not files:
            continue
        of_parts = indices[numbers.start * part_rows : numbers.stop * part_rows]
        first, last = int(of_parts[0]), int(of_parts[-1])
        sources = tuple(
            tuple(of_shard[bisect_left(ends, first) : bisect_right(starts, last)])
            for of_shard, starts, ends in zip(checks, firsts, lasts, strict=True)
        )
        yield functools.partial(_merge_parts, _MergedParts(files, first, last, number, part_rows, sources))


def _indices(shards: Sequence[Path]) -> np.ndarray:
    """The indices of all rows, in order.

    Raises:
        InputError: two shards have the same row.
    """
    import numpy as np
    from pyarrow import parquet

    columns = [parquet.read_table(shard / "captions.parquet", columns=["index"])["index"] for shard in shards]
    indices = np.sort(np.concatenate([column.to_numpy() for column in columns]))
    twice = indices[:-1][indices[1:] == indices[:-1]]
    if len(twice):
        raise InputError(f"row {twice[0]} is in more than one shard; run the shards' commands again")
    return indices


def _merge_parts(parts: _MergedParts) -> None:
    rows = heapq.merge(*(_lines_within(source, parts.first, parts.last) for source in parts.sources))
    for number in itertools.count(parts.number):
        lines = [line for _, line in itertools.islice(rows, parts.part_rows)]
        if not lines:
            break
        if number in parts.files:
            write_part(parts.files[number], number, lines)


def _lines_within(parts: Iterable[PartCheck], first: int, last: int) -> Iterator[tuple[int, str]]:
    """Yield (index, line) for the rows of parts with an index in [first, last]."""
    for part in parts:
        with open_part(part.path) as file:
            for line in file:
                index = index_of(line)
                if index > last:
                    return
                if index >= first:
                    yield index, line


def _merge_skipped(shards: Sequence[Path], out: Path) -> None:
    def skipped(shard: Path) -> Iterator[tuple[int, str]]:
        with (shard / "skipped.jsonl").open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield index_of(line.replace(" ", "", 1)), line

    with replacing(out / "skipped.jsonl") as file:
        file.writelines(line for _, line in heapq.merge(*map(skipped, shards)))


def merge_tables(paths: Sequence[Path], target: Path, columns: Mapping[str, str]) -> None:
    """Join tables that are each in the order of their rows' indices, in constant memory.

    Rows are written up to the smallest of the last indices read from the unfinished tables, because no earlier row can
    follow.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    schema = arrow_schema(columns)
    with contextlib.ExitStack() as stack, Table(target, columns) as table:
        files = [stack.enter_context(parquet.ParquetFile(path)) for path in paths]
        batches = [file.iter_batches(_BATCH) for file in files]
        held: list[pa.Table] = [schema.empty_table() for _ in files]
        unfinished = set(range(len(files)))
        while unfinished:
            least = min(_last(held[i]) for i in unfinished)
            for i in [i for i in unfinished if _last(held[i]) == least]:
                batch = next(batches[i], None)
                if batch is None:
                    unfinished.discard(i)
                else:
                    held[i] = pa.concat_tables([held[i], pa.Table.from_batches([batch]).cast(schema)])
            complete = min((_last(held[i]) for i in unfinished), default=None)
            ready = []
            for i, rows in enumerate(held):
                many = rows.num_rows if complete is None else int(np.searchsorted(rows["index"].to_numpy(), complete))
                ready.append(rows.slice(0, many))
                held[i] = rows.slice(many)
            joined = pa.concat_tables(ready).combine_chunks()  # rows of many chunks are taken four times as slowly
            table.add(joined.take(np.argsort(joined["index"].to_numpy(), kind="stable")))


def _last(rows: pa.Table) -> int:
    """The last index of rows; -1 where there are none."""
    return int(rows["index"][-1].as_py()) if rows.num_rows else -1


# --- line by line ----------------------------------------------------------------------------------------------


def _copy_lines(checks: Sequence[Sequence[PartCheck]], folder: RunFolder, part_rows: int) -> None:
    """Write the parts of the merged run one after the other, from the lines of the shards' parts alone."""
    lines = _in_order(heapq.merge(*(_lines_within(parts, 0, parts[-1].last) for parts in checks if parts)))
    for number in itertools.count():
        part = list(itertools.islice(lines, part_rows))
        if not part:
            break
        folder.commit(number, part)


def _in_order(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    last = -1
    for index, line in lines:
        if index <= last:
            raise InputError(f"row {index} is in more than one shard; run the shards' commands again")
        last = index
        yield line
