"""Read the entries of JSON, JSON Lines and Parquet files one at a time, each with its place in the file.

The kind of file is read from its content. A malformed entry costs only itself, and its place is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from halluguard import io
from halluguard.columns import python_size, rows_at_once
from halluguard.errors import InputError
from halluguard.json_stream import split_objects

MAX_ENTRY = 64 * 1024 * 1024
"""Largest size of one entry, in characters; a longer entry is reported as malformed and not kept in memory."""

MAX_ENTRY_MEMORY = 2 * MAX_ENTRY
"""Most memory that an entry of JSON may take, in bytes, by an estimate."""

MAX_WHOLE = 512 * 1024 * 1024
"""Largest JSON file that is read as one value, in bytes after decompression; a larger one is refused."""

_CHUNK = 1 << 20
_FIRST_LINES = 20  # lines read to tell JSON Lines from one object over many lines


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file.

    Args:
        place: position in the file, such as "line 7" or "row 7".
        value: the entry as parsed.
        problem: reason why it could not be parsed; then `value` is None.
        key: its key, where the file is a mapping.
    """

    place: str
    value: Any = None
    problem: str = ""
    key: str | None = None


def read_entries(path: str | Path) -> Iterator[Entry]:
    """Stream the entries of a file, plain or compressed, or of a folder's Parquet or JSON files in order of name.

    A mapping whose values are records (HA-DPO's descriptions) and an object that holds one list (COCO's results) are
    read whole; all other files entry by entry.

    Raises:
        InputError: missing, empty, unreadable, or neither JSON nor Parquet.
    """
    path = Path(path)
    if os.path.isdir(path):  # False for a name that no file can have
        files = sorted(p for p in path.iterdir() if p.name.endswith((".parquet", ".json", ".jsonl", ".json.gz")))
        if not files:
            raise InputError(f"expected Parquet or JSON files in {str(path)!r}, got none; name the file itself")
        for file in files:
            yield from read_entries(file)
        return
    require_file(path)
    head, lines = _head(path)
    if head.startswith("PAR1"):
        yield from _parquet(path)
    elif head.startswith("["):
        yield from _array(path)
    elif head.startswith("{") and lines:
        yield from _lines(path)
    elif head.startswith("{"):
        yield from _expanded(read_whole(path))
    else:
        raise InputError(
            f"expected JSON, JSON Lines or Parquet in {str(path)!r}, got "
            f"{'an empty file' if not head else f'text that begins with {head[0]!r}'}; convert it"
        )


def read_whole(path: str | Path, drop: Sequence[str] = ()) -> Any:
    """Read a JSON file, plain or compressed, as one value. Members named in `drop` are discarded while parsing.

    Raises:
        InputError: missing, or not JSON; the message says where it breaks.
    """

    def kept(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in drop}

    require_file(Path(path))
    try:
        with io.reading(path, "JSON"), io.open_binary(path) as file:
            data = None if Path(path).stat().st_size > MAX_WHOLE else file.read(MAX_WHOLE + 1)
        if data is None or len(data) > MAX_WHOLE:
            raise InputError(
                f"expected at most {MAX_WHOLE:,} bytes of JSON in {str(path)!r}, got more; split it, or "
                "write JSON Lines, which are read one by one"
            )
        return io.parse_json(data, io.json_limit(path), kept if drop else None)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected JSON in {str(path)!r}, got something else ({error}); check the file") from error


def require_file(path: Path) -> None:
    """Refuse pipes and devices, which may never end, and names that no file can have."""
    try:
        special = path.exists() and not path.is_file()
    except (OSError, ValueError) as error:
        raise InputError(f"expected a file, got {str(path)[:80]!r} ({error}); check the path") from error
    if special:
        raise InputError(f"expected a file, got a folder, pipe or device at {str(path)!r}; name the file itself")


def _head(path: Path) -> tuple[str, bool]:
    """(the file's first characters that are not blank, whether it is JSON Lines)."""
    with io.reading(path), io.open_text(path, errors="replace") as file:
        head = ""
        while not head and (piece := file.read(4096)):
            head = piece.lstrip()
        if not head.startswith("{"):
            return head, False
    with io.reading(path), io.open_binary(path) as file:
        for line in islice(iter(lambda: file.readline(MAX_ENTRY), b""), _FIRST_LINES):
            try:
                value = io.parse_json(line.decode("utf-8-sig"), MAX_ENTRY_MEMORY)
            except ValueError:
                continue
            if isinstance(value, dict):  # a mapping may be written on one line
                return head, bool(file.read(1)) or not _is_mapping(value)
    return head, False


def _is_mapping(value: Mapping[str, object]) -> bool:
    return bool(value) and all(isinstance(entry, dict) for entry in value.values())


def _lines(path: Path) -> Iterator[Entry]:
    with io.reading(path), io.open_binary(path) as file:
        lines = iter(lambda: file.readline(MAX_ENTRY), b"")
        for number, line in enumerate(io.bounded_gaps(path, lines), start=1):
            if len(line) == MAX_ENTRY and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(_CHUNK)
                yield Entry(f"line {number}", problem=f"expected at most {MAX_ENTRY:,} characters, got more")
            elif line.strip():
                yield _parsed(line.removeprefix(b"\xef\xbb\xbf"), f"line {number}")


def _parsed(text: str | bytes, place: str) -> Entry:
    try:
        return Entry(place, io.parse_json(text, MAX_ENTRY_MEMORY))
    except ValueError as error:
        return Entry(place, problem=f"not JSON ({error})")


def _expanded(value: dict[str, Any]) -> Iterator[Entry]:
    """A mapping's records, the records of an object's one list of records, or the object itself."""
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(e, dict) for e in v)]
    if _is_mapping(value):
        for number, (key, entry) in enumerate(value.items(), 1):
            yield Entry(f"entry {number} ({key!r})", entry, key=key)
    elif len(lists) == 1 and not {"conversations", "messages", "prompt", "question"} & value.keys():
        for number, entry in enumerate(lists[0], 1):
            yield Entry(f"entry {number}", entry)
    else:
        yield Entry("entry 1", value)


def _array(path: Path) -> Iterator[Entry]:
    """The objects of an array. An object ends where its braces close, so a malformed one costs only itself."""
    for number, (line, text) in enumerate(split_objects(_pieces(path), MAX_ENTRY), 1):
        place = f"entry {number} (line {line})"
        if text is None:
            yield Entry(place, problem=f"expected at most {MAX_ENTRY:,} characters, got more")
        else:
            yield _parsed(text, place)


def _pieces(path: Path) -> Iterator[str]:
    with io.reading(path, "UTF-8 text"), io.open_text(path, newline="\n") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _parquet(path: Path) -> Iterator[Entry]:
    number = 0
    try:
        source = parquet.ParquetFile(path)
        names = source.schema_arrow.names
        for group in range(source.num_row_groups):
            most = min(64, rows_at_once(path, source, group, names, MAX_ENTRY_MEMORY))
            for batch in source.iter_batches(batch_size=most, row_groups=[group]):
                for place in range(batch.num_rows):
                    number += 1
                    yield _row(batch.slice(place, 1), f"row {number}")
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"could not read {str(path)!r} as Parquet after row {number} ({reason}); check it") from error


def _row(batch: pa.RecordBatch, place: str) -> Entry:
    """The entry of a batch of one row."""
    try:
        size = sum(map(python_size, batch.columns))
        if size > MAX_ENTRY_MEMORY:
            return Entry(place, problem=f"expected at most {MAX_ENTRY_MEMORY:,} bytes of memory, got {size:,}")
        return Entry(place, batch.to_pylist()[0])
    except ValueError as error:  # a string that is not UTF-8
        return Entry(place, problem=f"not readable ({error})")
