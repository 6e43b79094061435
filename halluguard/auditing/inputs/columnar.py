"""Read and write Parquet and Arrow files and folders of them, such as a data set saved by `datasets`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from halluguard.auditing.inputs import Decision, Item, with_caption
from halluguard.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "Parquet or Arrow"
ORDER = 10
_BATCH = 64
_SUFFIXES = (".parquet", ".arrow", ".feather")


def recognises(path: Path, head: bytes) -> bool:
    if path.is_dir():
        return bool(_files(path))
    return head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"))


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """The rows, with all columns or those named."""
    for batch in _batches(path, columns):
        for row in batch.to_pylist():
            yield Item(row)


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """One Parquet file with the same columns, types and metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    remaining = iter(decisions)
    writer = None
    for batch in _batches(path):
        table = pa.Table.from_batches([batch])
        in_batch = list(itertools.islice(remaining, len(table)))
        table = _with_captions(table, key, in_batch).filter(pa.array([d.keep for d in in_batch], pa.bool_()))
        writer = writer or parquet.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _with_captions(table: pa.Table, key: str, decisions: list[Decision]) -> pa.Table:
    import pyarrow as pa

    if all(decision.caption is None for decision in decisions):
        return table
    if key in table.column_names:
        at = table.schema.get_field_index(key)
        old = table.column(at).to_pylist()
        new = [was if d.caption is None else d.caption for was, d in zip(old, decisions, strict=True)]
        return table.set_column(at, table.schema.field(at), pa.array(new, table.schema.field(at).type))
    rows = [
        row if d.caption is None else with_caption(row, key, d.caption)
        for row, d in zip(table.to_pylist(), decisions, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)


def _batches(path: Path, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for file in [path] if path.is_file() else _files(path):
        try:
            yield from _read_file(file, columns)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"cannot read {str(file)!r} as Parquet or Arrow: {error}; check the file") from error


def _read_file(file: Path, columns: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import parquet

    magic = file.open("rb").read(6)
    if magic.startswith(b"PAR1"):
        source = parquet.ParquetFile(file)
        kept = [name for name in source.schema_arrow.names if columns is None or name in columns]
        yield from source.iter_batches(batch_size=_BATCH, columns=kept)
        return
    with pa.memory_map(str(file)) as mapped:
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(mapped)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(mapped))
        for batch in batches:
            kept = [name for name in batch.schema.names if columns is None or name in columns]
            for start in range(0, len(batch), _BATCH):
                yield batch.slice(start, _BATCH).select(kept)


def _files(folder: Path) -> list[Path]:
    """The data files of a folder, in order."""
    if (folder / "dataset_dict.json").exists():
        splits = sorted(p.name for p in folder.iterdir() if p.is_dir())
        raise InputError(f"expected one data set in {str(folder)!r}, got the splits {splits}; name one, as a folder")
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith(("cache-", ".")))
