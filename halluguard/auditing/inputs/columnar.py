"""Read and write Parquet and Arrow files and folders of them, such as a data set saved by `datasets`."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from halluguard.auditing.fields import with_texts
from halluguard.auditing.inputs import MAX_ROW_WITH_IMAGE, Decision, Item
from halluguard.columns import python_size, rows_at_once
from halluguard.errors import InputError
from halluguard.io import MAX_UNPACKED

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
    """Yield the rows, with all columns or only the named ones."""
    for batch in _batches(path, columns):
        yield from _items(batch)


def _items(batch: pa.RecordBatch) -> Iterator[Item]:
    """The rows of a batch. A value that cannot be read affects only its own row."""
    rows: list[Item] | None = None
    try:
        size = sum(map(python_size, batch.columns))
        if size > MAX_ROW_WITH_IMAGE:
            raise ValueError(f"expected at most {MAX_ROW_WITH_IMAGE:,} bytes in a row, got {size:,}")
        rows = [Item(row) for row in batch.to_pylist()]
    except (ValueError, OverflowError) as error:  # pyarrow.ArrowInvalid is a ValueError
        if len(batch) == 1:
            rows = [Item(None, "", f"cannot read the row: {error}"[:300])]
    if rows is not None:
        yield from rows
    else:
        for at in range(len(batch)):
            yield from _items(batch.slice(at, 1))


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write one Parquet file with the same columns, types and metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    remaining = iter(decisions)
    writer = None
    for batch in _batches(path):
        table = pa.Table.from_batches([batch])
        in_batch = list(itertools.islice(remaining, len(table)))
        table = _with_captions(table, key, in_batch)
        kept = [table.slice(at, 1) for at, decision in enumerate(in_batch) if decision.keep]
        if len(kept) < len(table):  # slices: pyarrow cannot filter columns of some types, such as views of text
            table = pa.concat_tables(kept) if kept else table.slice(0, 0)
        writer = writer or parquet.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _with_captions(table: pa.Table, key: str, decisions: list[Decision]) -> pa.Table:
    """The table with new captions; rows without a new caption are not converted, because they may not hold text."""
    import pyarrow as pa

    if not any(decision.texts(key) for decision in decisions):
        return table
    rows = []
    for at, decision in enumerate(decisions):
        row = table.slice(at, 1)
        if texts := decision.texts(key):
            fields = with_texts(row.to_pylist()[0], texts)
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
            most = min(_BATCH, rows_at_once(file, source, group, kept, MAX_ROW_WITH_IMAGE))
            yield from source.iter_batches(batch_size=most, row_groups=[group], columns=kept)
        return
    with pa.memory_map(str(file)) as mapped:
        content = mapped.read_buffer()
        if magic == b"ARROW1":  # a file is a stream after 8 bytes, with an index at its end that is not needed
            content = content.slice(8)
        _check_messages(file, content)
        for batch in pa.ipc.open_stream(content):
            _check_offsets(batch)
            kept = [name for name in batch.schema.names if columns is None or name in columns]
            for start in range(0, len(batch), _BATCH):
                yield batch.slice(start, _BATCH).select(kept)


def _check_messages(file: Path, content: pa.Buffer) -> None:
    """Refuse record batches that unpack to more than `MAX_UNPACKED` bytes, with the dictionaries before them.

    Raises:
        InputError: a batch unpacks to more.
    """
    import pyarrow as pa

    held = 0
    for message in pa.ipc.MessageReader.open_stream(content):
        size = _unpacked_size(message)
        held += size if message.type == "dictionary" else 0
        if size + held > MAX_UNPACKED:
            raise InputError(
                f"expected record batches that unpack to at most {MAX_UNPACKED:,} bytes, got more in {str(file)!r}; "
                "if you trust it, write it again with smaller batches"
            )


def _unpacked_size(message: pa.ipc.Message) -> int:
    """Bytes to which the compressed buffers of a message unpack, from the lengths that stand before each.

    The message's metadata is a flatbuffer (Message.fbs of Apache Arrow): a table begins with the offset of its vtable,
    which lists the offsets of its fields; a vector begins with its length.
    """
    data, body = message.metadata, message.body
    if message.type not in ("record batch", "dictionary") or body is None:
        return 0

    def number(place: int, layout: str = "<I") -> int:
        return int(struct.unpack_from(layout, data, place)[0])

    def field(table: int, index: int) -> int | None:
        fields = table - number(table, "<i")
        entry = 4 + 2 * index
        place = number(fields + entry, "<H") if entry < number(fields, "<H") else 0
        return table + place if place else None

    def target(place: int | None) -> int:
        if place is None:
            raise ValueError("a message without a record batch")
        return place + number(place)

    batch = target(field(number(0), 2))
    if message.type == "dictionary":
        batch = target(field(batch, 1))
    if field(batch, 3) is None:  # not compressed
        return 0
    buffers = target(field(batch, 2))
    total = 0
    for at in range(number(buffers)):
        offset, length = struct.unpack_from("<qq", data, buffers + 4 + 16 * at)
        if length >= 8:
            total += max(0, struct.unpack_from("<q", body, offset)[0])  # -1: this buffer is not compressed
    return total


def _check_offsets(batch: pa.RecordBatch) -> None:
    """Refuse values that point outside their buffers. Text that is not UTF-8 is left to the check of its row.

    Raises:
        ValueError: a value points outside its buffer.
    """
    for column in batch.columns:
        column.view(_as_bytes(column.type)).validate(full=True)


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The Arrow type, with bytes in place of text."""
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


def _files(folder: Path) -> list[Path]:
    """The data files of a folder, in order of their names."""
    if (folder / "dataset_dict.json").exists():
        splits = sorted(p.name for p in folder.iterdir() if p.is_dir())
        raise InputError(f"expected one data set in {str(folder)!r}, got the splits {splits}; name one, as a folder")
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith(("cache-", ".")))
