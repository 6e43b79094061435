"""Files of captions, questions and answers: JSON and JSON lines, plain or gzipped; errors name the line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from halluguard.errors import InputError


def _open(path: str | Path) -> IO[str]:
    """Open text; gzip is told by content, not by name."""
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    return gzip.open(path, "rt", encoding="utf-8-sig") if zipped else open(path, encoding="utf-8-sig")


def read_json(path: str | Path) -> Any:
    """The JSON value in a file.

    Raises:
        InputError: the file cannot be read or is not JSON; says where.
    """
    with _open(path) as file:
        try:
            return json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise InputError(f"{path} must hold JSON, got something else ({error})") from error


def read_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of a JSON-lines file, one at a time.

    One JSON array of objects works too, and so do objects one after another over several lines each, the form of
    POPE's published captions; these two are read whole.

    Raises:
        InputError: the file cannot be read or is empty, or a line is not a JSON object; names the line.
    """
    count = 0
    with _open(path) as file:
        try:
            for number, row in _values(path, file):
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}: expected a JSON object, got {json.dumps(row)[:60]}")
                count += 1
                yield number, row
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise InputError(f"{path} must hold JSON lines in UTF-8, got something else ({error})") from error
    if not count:
        raise InputError(f"{path} must hold at least one JSON line, got an empty file")


def _values(path: str | Path, file: IO[str]) -> Iterator[tuple[int, Any]]:
    started = False
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        if not started and line.strip() in ("{", "["):
            yield from _over_lines(path, line + file.read(), number)
            return
        started = True
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            shown = line.strip()[:60]
            raise InputError(f"{path}, line {number}: expected a JSON object, got {shown!r} ({error})") from error
        if isinstance(value, list):
            yield from ((number, item) for item in value)
        else:
            yield number, value


def _over_lines(path: str | Path, text: str, first_line: int) -> Iterator[tuple[int, Any]]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        line = first_line + text.count("\n", 0, at)
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            where = first_line + error.lineno - 1
            raise InputError(
                f"{path}, line {line}: expected a JSON object, which breaks on line {where} ({error.msg})"
            ) from error
        yield from ((line, item) for item in (value if isinstance(value, list) else [value]))
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1


def field(path: str | Path, number: int, row: dict[str, Any], *names: str) -> Any:
    """The first of `names` that the row has.

    Raises:
        InputError: it has none of them; names the line.
    """
    for name in names:
        if name in row:
            return row[name]
    raise InputError(f"{path}, line {number}: expected the field {' or '.join(map(repr, names))}, got {sorted(row)}")


def text_field(path: str | Path, number: int, row: dict[str, Any], *names: str) -> str:
    """As `field`, and it must be a string."""
    value = field(path, number, row, *names)
    if not isinstance(value, str):
        raise InputError(f"{path}, line {number}: {names[0]!r} must be a string, got {json.dumps(value)[:60]}")
    return value


def read_captions(path: str | Path) -> Iterator[tuple[Any, str]]:
    """(image id, caption) pairs of a file with `image_id` and `caption`, one at a time.

    Raises:
        InputError: as `read_rows`; or a field is missing, or a caption is not a string; names the line.
    """
    for number, row in read_rows(path):
        yield field(path, number, row, "image_id"), text_field(path, number, row, "caption")
