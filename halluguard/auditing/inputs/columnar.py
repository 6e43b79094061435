"""Read and write Parquet and Arrow files and folders of them, such as a data set saved by `datasets`."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from halluguard.auditing.inputs import MAX_ROW_WITH_IMAGE, Decision, Item, with_caption
from halluguard.errors import InputError
from halluguard.io import MAX_RATIO, MAX_UNPACKED

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

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
        yield from _items(batch)


def _items(batch: pa.RecordBatch) -> list[Item]:
    """The rows of a batch. Where a value cannot be read, only its own row is lost."""
    try:
        if batch.nbytes > MAX_ROW_WITH_IMAGE:
            raise ValueError(f"expected at most {MAX_ROW_WITH_IMAGE:,} bytes in a row, got {batch.nbytes:,}")
        return [Item(row) for row in batch.to_pylist()]
    except (ValueError, OverflowError) as error:  # among these pyarrow.ArrowInvalid
        if len(batch) == 1:
            return [Item(None, "", f"cannot read the row: {error}"[:300])]
    return [item for at in range(len(batch)) for item in _items(batch.slice(at, 1))]


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
    """The table with other captions; a row without one is not converted, as it may hold what is no text."""
    import pyarrow as pa

    if all(decision.caption is None for decision in decisions):
        return table
    rows = []
    for at, decision in enumerate(decisions):
        row = table.slice(at, 1)
        if decision.caption is not None:
            fields = with_caption(row.to_pylist()[0], key, decision.caption)
            row = pa.Table.from_pylist([fields], schema=table.schema)
        rows.append(row)
    return pa.concat_tables(rows)


def _batches(path: Path, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for file in [path] if path.is_file() else _files(path):
        try:
            yield from _read_file(file, columns)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = " ".join(str(error).split())
            raise InputError(f"cannot read {str(file)!r} as Parquet or Arrow: {reason}; check the file") from error


def _read_file(file: Path, columns: Collection[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import parquet

    with file.open("rb") as raw:
        magic = raw.read(6)
    if magic.startswith(b"PAR1"):
        source = parquet.ParquetFile(file)
        kept = [name for name in source.schema_arrow.names if columns is None or name in columns]
        for group in range(source.num_row_groups):
            rows = _rows_per_batch(file, source.metadata.row_group(group), kept)
            yield from source.iter_batches(batch_size=rows, row_groups=[group], columns=kept)
        return
    with pa.memory_map(str(file)) as mapped:
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(mapped)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(mapped))
        for batch in batches:
            _check_offsets(batch)
            kept = [name for name in batch.schema.names if columns is None or name in columns]
            for start in range(0, len(batch), _BATCH):
                yield batch.slice(start, _BATCH).select(kept)


def _check_offsets(batch: pa.RecordBatch) -> None:
    """Refuse values that lead outside their buffers. Text need not be UTF-8: that is the matter of its row.

    Raises:
        ValueError: a value does.
    """
    for column in batch.columns:
        column.view(_as_bytes(column.type)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in place of text."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_as_bytes(kind.value_type)))
    return kind


def _rows_per_batch(file: Path, group: parquet.RowGroupMetaData, columns: Collection[str]) -> int:
    """How many rows to read at once so that, on average, they fit into memory.

    Raises:
        InputError: the row group unpacks to much more than its size.
    """
    chunks = [group.column(i) for i in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * packed):
        raise InputError(
            f"expected row groups that unpack to at most {MAX_RATIO} times their size, got more in {str(file)!r}; "
            "if you trust it, write it again with smaller row groups"
        )
    return max(1, min(_BATCH, MAX_ROW_WITH_IMAGE * group.num_rows // max(unpacked, 1)))


def _files(folder: Path) -> list[Path]:
    """The data files of a folder, in order."""
    if (folder / "dataset_dict.json").exists():
        splits = sorted(p.name for p in folder.iterdir() if p.is_dir())
        raise InputError(f"expected one data set in {str(folder)!r}, got the splits {splits}; name one, as a folder")
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith(("cache-", ".")))
