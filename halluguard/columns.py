"""Bound the memory for reading Parquet and Arrow files with any columns."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.errors import InputError
from halluguard.io import MAX_RATIO, MAX_UNPACKED

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_OBJECT = 40
"""Bytes of a small Python object, such as a number in a list."""


def python_size(column: pa.Array) -> int:
    """Estimate the bytes that a column's values take as Python objects; a value that rows share counts once per row."""
    import pyarrow as pa
    from pyarrow import compute

    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        values = column.dictionary
        if types.is_string(values.type) or types.is_binary(values.type) or types.is_large_string(values.type):
            sizes = compute.binary_length(values)
            return _OBJECT * len(column) + int(compute.sum(sizes.take(column.indices)).as_py() or 0)
        return len(column) * python_size(values)
    size = _OBJECT * len(column)
    if types.is_struct(kind):
        return size + sum(map(python_size, column.flatten()))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return size + python_size(column.flatten())
    if types.is_map(kind):
        return size + python_size(column.keys) + python_size(column.items)
    return size + int(column.nbytes)


def rows_at_once(file: Path, source: parquet.ParquetFile, group: int, columns: Collection[str], most: int) -> int:
    """Number of rows of a row group to read at once, so that they take at most `most` bytes on average.

    Args:
        file: the file, for the error.
        source: the same file, opened.
        group: number of the row group.
        columns: names of the columns that are read.
        most: largest memory of the rows read at once, in bytes.

    Raises:
        InputError: the row group unpacks to much more than its size.
        OSError: the description of a column is damaged.
    """
    _check_descriptions(source, group)
    described = source.metadata.row_group(group)
    chunks = [described.column(i) for i in range(described.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > max(MAX_UNPACKED, MAX_RATIO * packed):
        raise InputError(
            f"expected row groups that unpack to at most {MAX_RATIO} times their size, got more in {str(file)!r}; "
            "if you trust it, write it again with smaller row groups"
        )
    # In a dictionary-encoded column, every row may hold the largest value.
    largest = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.has_dictionary_page)
    rows = min(most * described.num_rows // max(unpacked, 1), most // max(largest, 1))
    return max(1, rows)


class _DataReachedError(Exception):
    """Raised where the data of a Parquet file would be read."""


class _NoData(io.RawIOBase):
    """Stands for a Parquet file whose metadata is known and whose data must not be read."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return offset

    def tell(self) -> int:
        return 1 << 62  # its size: positions are checked by the file itself

    def read(self, size: int = -1) -> bytes:
        raise _DataReachedError


def _check_descriptions(source: parquet.ParquetFile, group: int) -> None:
    """Refuse a row group if the description of one of its columns is damaged.

    pyarrow checks a description where it is about to read the column, and raises. Where it is asked for the description
    itself, the same check ends the process.

    Raises:
        OSError: a description is damaged.
    """
    from pyarrow import parquet

    try:
        for _ in parquet.ParquetFile(_NoData(), metadata=source.metadata).iter_batches(row_groups=[group]):
            pass
    except _DataReachedError:
        pass
