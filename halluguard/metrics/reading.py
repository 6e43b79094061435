"""Read files of captions, questions and answers: JSON, JSON lines, CSV, TSV and XLSX. Errors name the line.

Memory and time are bounded for any file: a line, or a JSON value that is read whole, may have at most `LIMIT`
characters.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from halluguard import io
from halluguard.errors import InputError
from halluguard.metrics.sample_logs import unfolded
from halluguard.metrics.score import JsonObject
from halluguard.metrics.workbooks import read_workbook

LIMIT = 32 * 2**20
"""Most characters in one line, or in a JSON file that is read whole."""

ANSWER_KEYS = ("prediction", "response", "answer", "output", "text")
"""Names under which tools write a model's answer. In tables that have "prediction", "answer" is the right answer."""


def read_json(path: str | Path) -> Any:
    """The JSON value in a file of at most `LIMIT` characters.

    Raises:
        InputError: the file cannot be read, is too long, or is not JSON.
    """
    with io.reading(path, "JSON"), io.open_text(path) as file:
        text = file.read(LIMIT + 1)
    if len(text) > LIMIT:
        raise InputError(
            f"{path} must be JSON of at most {LIMIT:,} characters, got more; check that it is the right file"
        )
    try:
        return io.parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} must hold JSON, got something else ({error}); check the file") from error


def read_rows(path: str | Path) -> Iterator[tuple[int, JsonObject]]:
    """Read the rows of a file one at a time, as (line number from 1, object).

    The file holds JSON lines, or a table with a header if its name ends in .csv, .tsv or .xlsx. It may also be a JSON
    array of objects, or a sequence of objects over several lines each, the form of POPE's published captions. These two
    forms are read whole. Rows of lmms-eval's sample logs are unfolded, see `sample_logs`.

    Raises:
        InputError: the file cannot be read, is empty or too long, or a line is not a JSON object; names the line.
        MissingExtraError: a workbook needs openpyxl, which is not installed.
    """
    name = Path(path).name.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".xls"):
        raise InputError(f"{path} is a workbook in the old format .xls, which is not read; save it as .xlsx or CSV")
    table = name.endswith((".csv", ".tsv", ".xlsx"))
    count = 0
    for number, row in _rows(path, name):
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}: expected a JSON object, got {json.dumps(row)[:60]}; correct the line"
            )
        count += 1
        yield number, unfolded(path, number, row)
    if not count:
        raise InputError(
            f"{path} must hold at least one {'row' if table else 'JSON line'}, got an empty file; check the file"
        )


def _rows(path: str | Path, name: str) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file; its lower-cased `name` decides the format."""
    if name.endswith(".xlsx"):
        yield from _named(path, read_workbook(path))
        return
    table = name.endswith((".csv", ".tsv"))
    with io.reading(path, "a table" if table else "JSON lines"), io.open_text(path, newline="\n") as file:
        yield from _table(path, file, "\t" if name.endswith(".tsv") else ",") if table else _values(path, file)


def read_lines(path: str | Path, file: TextIO) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of a text file, in bounded memory."""
    lines = iter(lambda: file.readline(LIMIT + 1), "")
    for number, line in enumerate(io.bounded_gaps(path, lines), start=1):
        if len(line) > LIMIT:
            raise InputError(
                f"{path}, line {number}: expected at most {LIMIT:,} characters in a line, got more; split it"
            )
        yield number, line


def _values(path: str | Path, file: TextIO) -> Iterator[tuple[int, Any]]:
    started = False
    for number, line in read_lines(path, file):
        if not line.strip():
            continue
        if not started and line.strip() in ("{", "["):
            yield from _over_lines(path, line + file.read(LIMIT), number)
            return
        started = True
        try:
            value = io.parse_json(line)
        except ValueError as error:
            shown = line.strip()[:60]
            raise InputError(
                f"{path}, line {number}: expected a JSON object, got {shown!r} ({error}); correct the line"
            ) from error
        yield from ((number, item) for item in (value if isinstance(value, list) else [value]))


def _over_lines(path: str | Path, text: str, first_line: int) -> Iterator[tuple[int, Any]]:
    """The values of a text that holds a sequence of JSON values or one array of them, over any number of lines."""
    if len(text) > LIMIT:
        raise InputError(f"{path}: JSON over several lines may have {LIMIT:,} characters, got more; use JSON lines")
    decoder, at, line = json.JSONDecoder(), 0, first_line
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            broken = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
            if isinstance(error, json.JSONDecodeError):
                broken = f"breaks on line {first_line + error.lineno - 1} ({error.msg})"
            raise InputError(
                f"{path}, line {line}: expected a JSON object, but it {broken}; correct the line"
            ) from error
        yield from ((line, item) for item in (value if isinstance(value, list) else [value]))
        while end < len(text) and text[end] in " \t\r\n,":
            end += 1
        line += text.count("\n", at, end)
        at = end


def _table(path: str | Path, file: TextIO, delimiter: str) -> Iterator[tuple[int, JsonObject]]:
    """Rows of a table with a header; a cell may hold line breaks in quotes."""
    before = csv.field_size_limit(LIMIT)
    try:
        yield from _named(path, io.table_rows((line for _, line in read_lines(path, file)), delimiter))
    except csv.Error as error:
        raise InputError(
            f"{path} must be a table with a header, got something else ({error}); check the file"
        ) from error
    finally:
        csv.field_size_limit(before)


def _named(path: str | Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, JsonObject]]:
    """Yield rows of cells as objects, by the names in the first row."""
    header = [name.strip() for name in next(rows, (0, []))[1]]
    while header and not header[-1]:
        header.pop()
    if len(set(header)) != len(header):
        raise InputError(f"{path}: the names of the columns must differ, got {header}; rename some")
    yield from ((number, dict(zip(header, cells, strict=False))) for number, cells in rows if cells)


def field(path: str | Path, number: int, row: JsonObject, *names: str) -> Any:
    """The value of the first of `names` that the row has.

    Raises:
        InputError: the row has none of them; names the line.
    """
    for name in names:
        if name in row:
            return row[name]
    raise InputError(
        f"{path}, line {number}: expected the field {' or '.join(map(repr, names))}, got {sorted(row)}; add it"
    )


def text_field(path: str | Path, number: int, row: JsonObject, *names: str) -> str:
    """The value of a field, which must be a string; see `field`."""
    value = field(path, number, row, *names)
    if not isinstance(value, str):
        name = next(name for name in names if name in row)
        raise InputError(f"{path}, line {number}: {name!r} must be a string, got {json.dumps(value)[:60]}; correct it")
    return value


def answer_keys(answer_key: str | None) -> Sequence[str]:
    """The fields that may hold the answer: the one that the user named, else `ANSWER_KEYS`."""
    return ANSWER_KEYS if answer_key is None else (answer_key,)


def answer_field(path: str | Path, number: int, row: JsonObject, names: Sequence[str] = ANSWER_KEYS) -> str:
    """The model's answer in a row: under the first of `names`, or the assistant's turn of a chat.

    A chat is a list of turns under "messages" or "conversations", as in chat templates and LLaVA's data.

    Raises:
        InputError: the row has no answer, more than one in its chat, or one that is not a string; names the line.
    """
    turns = next((row[name] for name in ("messages", "conversations") if isinstance(row.get(name), list)), None)
    if turns is None or any(name in row for name in names):
        return text_field(path, number, row, *names)
    answers = [_turn_text(turn) for turn in turns if isinstance(turn, dict) and _is_answer(turn)]
    if len(answers) != 1:
        raise InputError(
            f"{path}, line {number}: a chat must have one turn of the assistant, got {len(answers)}; keep one"
        )
    if answers[0] is None:
        raise InputError(f"{path}, line {number}: the assistant's turn must be text, got something else; correct it")
    return answers[0]


def _is_answer(turn: JsonObject) -> bool:
    return turn.get("role", turn.get("from")) in ("assistant", "gpt", "model", "bot")


def _turn_text(turn: JsonObject) -> str | None:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):  # a list of parts, as in chat templates
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None


def read_captions(
    path: str | Path, caption_key: str | None = None, image_key: str | None = None
) -> Iterator[tuple[int | str, str]]:
    """Read the (image id, caption) pairs of a file, one at a time.

    Args:
        path: the file.
        caption_key: name of the field with the caption; by default "caption", or one of `ANSWER_KEYS`, or a chat.
        image_key: name of the field with the image id; by default "image_id" or "image".

    Raises:
        InputError: see `read_rows`; or a field is missing, or a caption is not a string; names the line.
    """
    names = [caption_key] if caption_key else ["caption", *ANSWER_KEYS]
    images = [image_key] if image_key else ["image_id", "image"]
    for number, row in read_rows(path):
        yield field(path, number, row, *images), answer_field(path, number, row, names)
