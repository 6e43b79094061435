"""Entries of JSON, JSON Lines and Parquet files, one at a time, each with its place in the file.

What kind of file it is, is read from its content. A malformed entry costs only itself and says where it stands.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from halluguard.errors import InputError

MAX_ENTRY = 64 * 1024 * 1024
"""Characters of one entry; a longer one is a problem, not a reason to fill the memory."""

_CHUNK = 1 << 20
_LOOK = 20  # lines looked at to tell JSON Lines from one object over many lines


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `value` as parsed, or what is wrong with it. `place` reads "line 7" or "row 7"; `key` is its name
    where the file is a mapping."""

    place: str
    value: Any = None
    problem: str = ""
    key: str | None = None


def read_entries(path: str | Path) -> Iterator[Entry]:
    """Stream the entries of a file (plain or gzipped), or of a folder's Parquet or JSON files in order of name.

    A mapping whose values are records (HA-DPO's descriptions) and an object holding one list (COCO's results) are read
    whole; everything else entry by entry.

    Raises:
        InputError: missing, empty, unreadable, or neither JSON nor Parquet.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith((".parquet", ".json", ".jsonl", ".json.gz")))
        if not files:
            raise InputError(f"expected Parquet or JSON files in {str(path)!r}, got none; name the file itself")
        for file in files:
            yield from read_entries(file)
        return
    with _opened(path) as opened:
        head = opened.read(4)
    if head.startswith(b"PAR1"):
        yield from _parquet(path)
        return
    first = _first_mark(path)
    if first == "[":
        yield from _array(path)
    elif first == "{" and _is_lines(path):
        yield from _lines(path)
    elif first == "{":
        yield from _expanded(read_whole(path))
    else:
        raise InputError(
            f"expected JSON, JSON Lines or Parquet in {str(path)!r}, got "
            f"{'an empty file' if not first else f'text that begins with {first!r}'}; convert it"
        )


def read_whole(path: str | Path, drop: Sequence[str] = ()) -> Any:
    """A JSON file (plain or gzipped) as one value. Members named in `drop` are forgotten as they are read.

    Raises:
        InputError: missing, or not JSON; the message says where it breaks.
    """

    def lean(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if key not in drop}

    try:
        with _opened(Path(path)) as file:
            return json.load(file, object_pairs_hook=lean if drop else None)
    except (ValueError, RecursionError, EOFError, OSError) as error:
        raise InputError(f"expected JSON in {str(path)!r}, got something else ({error}); check the file") from error


def _opened(path: Path) -> IO[bytes]:
    try:
        file = path.open("rb")
        magic = file.read(2)
        file.seek(0)
    except OSError as error:
        raise InputError(f"could not read {str(path)!r} ({error.strerror or error}); check the path") from error
    return gzip.open(file) if magic == b"\x1f\x8b" else file  # type: ignore[return-value]


def _first_mark(path: Path) -> str:
    with _opened(path) as file:
        while piece := file.read(4096):
            text = piece.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").lstrip()
            if text:
                return text[0]
    return ""


def _is_lines(path: Path) -> bool:
    """Whether one of the first lines is a whole object, and no mapping written on one line."""
    with _opened(path) as file:
        for _, line in zip(range(_LOOK), file, strict=False):
            try:
                value = json.loads(line.removeprefix(codecs.BOM_UTF8))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                return bool(file.read(1)) or not _is_mapping(value)
    return False


def _is_mapping(value: dict[str, Any]) -> bool:
    return bool(value) and all(isinstance(entry, dict) for entry in value.values())


def _lines(path: Path) -> Iterator[Entry]:
    with _opened(path) as file:
        number = 0
        while line := file.readline(MAX_ENTRY):
            number += 1
            if len(line) == MAX_ENTRY and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ENTRY)
                yield Entry(f"line {number}", problem=f"expected at most {MAX_ENTRY:,} characters, got more")
            elif line.strip():
                yield _decoded(line.removeprefix(codecs.BOM_UTF8), f"line {number}")


def _decoded(text: str | bytes, place: str) -> Entry:
    try:
        return Entry(place, json.loads(text))
    except (ValueError, RecursionError) as error:
        return Entry(place, problem=f"not JSON ({error})")


def _expanded(value: Any) -> Iterator[Entry]:
    """A mapping's records, the records of an object's one list of records, or the object itself."""
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(e, dict) for e in v)]
    if _is_mapping(value):
        for number, (key, entry) in enumerate(value.items(), 1):
            yield Entry(f"entry {number} ({key!r})", entry, key=key)
    elif len(lists) == 1 and not {"conversations", "prompt", "question"} & value.keys():
        for number, entry in enumerate(lists[0], 1):
            yield Entry(f"entry {number}", entry)
    else:
        yield Entry("entry 1", value)


# Strings are skipped whole, so that braces inside them do not count; none runs over a line end. The last alternative is
# a quote without its partner: a string still being read, or a broken one.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}]|"')


def _array(path: Path) -> Iterator[Entry]:
    """The objects of an array. An object ends where its braces close, so a malformed one costs only itself."""
    for number, (line, text) in enumerate(_objects(_text(path)), 1):
        place = f"entry {number} (line {line})"
        if len(text) > MAX_ENTRY:
            yield Entry(place, problem=f"expected at most {MAX_ENTRY:,} characters, got more")
        else:
            yield _decoded(text, place)


def _text(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with _opened(path) as file:
        try:
            while piece := file.read(_CHUNK):
                yield decoder.decode(piece)
            yield decoder.decode(b"", final=True)
        except (UnicodeError, OSError, EOFError) as error:
            raise InputError(f"expected UTF-8 in {str(path)!r}, got something else ({error}); convert it") from error


def _objects(pieces: Iterator[str]) -> Iterator[tuple[int, str]]:
    """(line number, text) of every object, and of anything else that stands between commas."""
    buffer, start, at, depth, line = "", -1, 0, 0, 1
    for piece in pieces:
        buffer += piece
        outside = 0  # where the text after the last object begins
        for token in _TOKEN.finditer(buffer, at):
            mark, at = token.group(), token.end()
            if mark == '"' and "\n" not in buffer[at:]:
                at = token.start()
                break
            if mark == "{":
                if depth == 0:
                    start = token.start()
                    line += buffer.count("\n", outside, start)
                    yield from _strays(line, buffer[outside:start])
                depth += 1
            elif mark == "}" and depth:
                depth -= 1
                if depth == 0:
                    yield line, buffer[start:at]
                    line += buffer.count("\n", start, at)
                    start, outside = -1, at
        if depth and len(buffer) - start > MAX_ENTRY + _CHUNK:
            break
        keep = start if depth else outside
        buffer, at = buffer[keep:], max(0, at - keep)
        start = 0 if depth else -1
    if depth:
        yield line, buffer[max(start, 0) :]
    else:
        yield from _strays(line, buffer)


def _strays(line: int, text: str) -> list[tuple[int, str]]:
    left = text.strip("\ufeff \t\r\n,[]")
    return [(line, left)] if left else []


def _parquet(path: Path) -> Iterator[Entry]:
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=64):
            for value in batch.to_pylist():
                number += 1
                yield Entry(f"row {number}", value)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"could not read {str(path)!r} as Parquet after row {number} ({error}); check it") from error
