"""Read files of captions, questions and answers: JSON or JSON lines, compressed or not. Errors name the line.

Memory and time stay bounded, whatever a file holds: one line may have `MAX_LINE` characters, and a file that has to be
read whole (one JSON array, or objects over several lines) `MAX_WHOLE`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from halluguard import io
from halluguard.errors import InputError
from halluguard.metrics.ground_truth import ImageId
from halluguard.metrics.score import JsonObject

MAX_LINE = 16 * 2**20
"""Characters in one line of JSON lines."""
MAX_WHOLE = 64 * 2**20
"""Characters in a file that is read whole."""


def read_rows(path: str | Path) -> Iterator[tuple[int, JsonObject]]:
    """Read JSON lines one at a time, as (line number from 1, object).

    A JSON array of objects works too, and so do objects one after another over several lines each, which is the form
    of POPE's published captions. These two are read whole.

    Raises:
        InputError: the file cannot be read, is empty or too long, or a line is not a JSON object; names the line.
    """
    count = 0
    with io.reading(path, "JSON lines"), io.open_text(path) as file:
        for number, row in _values(path, file):
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: expected a JSON object, got {json.dumps(row)[:60]}")
            count += 1
            yield number, row
    if not count:
        raise InputError(f"{path} must hold at least one JSON line, got an empty file")


def _values(path: str | Path, file: TextIO) -> Iterator[tuple[int, Any]]:
    number = 0
    started = False
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if not line.strip():
            continue
        if not started and line.strip() in ("{", "["):
            yield from _over_lines(path, line + file.read(MAX_WHOLE), number)
            return
        started = True
        if len(line) > MAX_LINE:
            raise InputError(f"{path}, line {number}: expected at most {MAX_LINE:,} characters in a line, got more")
        try:
            value = io.parse_json(line)
        except ValueError as error:
            shown = line.strip()[:60]
            raise InputError(f"{path}, line {number}: expected a JSON object, got {shown!r} ({error})") from error
        yield from ((number, item) for item in (value if isinstance(value, list) else [value]))


def _over_lines(path: str | Path, text: str, first_line: int) -> Iterator[tuple[int, Any]]:
    """The values of a text that holds several, or one array of them, each over any number of lines."""
    if len(text) > MAX_WHOLE:
        raise InputError(f"{path}: JSON over several lines may have {MAX_WHOLE:,} characters, got more; use JSON lines")
    decoder, at, line = json.JSONDecoder(), 0, first_line
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            broken = first_line + error.lineno - 1
            raise InputError(
                f"{path}, line {line}: expected a JSON object, which breaks on line {broken} ({error.msg})"
            ) from error
        except RecursionError as error:
            raise InputError(f"{path}, line {line}: expected a JSON object, got one nested too deeply") from error
        yield from ((line, item) for item in (value if isinstance(value, list) else [value]))
        while end < len(text) and text[end] in " \t\r\n,":
            end += 1
        line += text.count("\n", at, end)
        at = end


def field(path: str | Path, number: int, row: JsonObject, *names: str) -> Any:
    """The value of the first of `names` that the row has.

    Raises:
        InputError: it has none of them; names the line.
    """
    for name in names:
        if name in row:
            return row[name]
    raise InputError(f"{path}, line {number}: expected the field {' or '.join(map(repr, names))}, got {sorted(row)}")


def text_field(path: str | Path, number: int, row: JsonObject, *names: str) -> str:
    """As `field`, for a value that must be a string."""
    value = field(path, number, row, *names)
    if not isinstance(value, str):
        raise InputError(f"{path}, line {number}: {names[0]!r} must be a string, got {json.dumps(value)[:60]}")
    return value


def read_captions(path: str | Path) -> Iterator[tuple[ImageId, str]]:
    """Read the (image id, caption) pairs of a file with `image_id` and `caption`, one at a time.

    Raises:
        InputError: see `read_rows`; or a field is missing, or a caption is not a string; names the line.
    """
    for number, row in read_rows(path):
        yield field(path, number, row, "image_id"), text_field(path, number, row, "caption")
