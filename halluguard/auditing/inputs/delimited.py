"""CSV and TSV with a header line; the delimiter (comma, tab, semicolon) is read from the header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from halluguard.auditing.caption_rows import CAPTION_KEYS
from halluguard.auditing.inputs import MAX_ENTRY, Decision, Item, created, encoding_of, opened
from halluguard.errors import InputError

NAME = "CSV"
ORDER = 50
# What a spreadsheet would run as a formula. A bullet ("- a dog") is none.
_FORMULA = re.compile(r"\s*[=@]|[\t\r]|[+-]\S")


def claims(path: Path, head: bytes) -> bool:
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        return True
    first = head.decode(encoding_of(head, None), "replace").partition("\n")[0]
    return any(cell.strip(' "\r') in CAPTION_KEYS for cell in first.split(_delimiter(first)))


def read(path: Path, encoding: str | None = None, columns: Any = None) -> Iterator[Item]:
    """The records after the header, as text; one with more or fewer cells than the header is skipped."""
    for cells, raw, header in _records(path, encoding):
        if isinstance(cells, str):
            yield Item(None, raw, cells)
        elif len(cells) != len(header):
            yield Item(None, raw, f"expected {len(header)} cells, as in the header, got {len(cells)}")
        elif not _is_text(raw):
            yield Item(None, raw, "not text in the file's encoding; convert the file, or name its encoding")
        else:
            yield Item(dict(zip(header, cells, strict=True)), raw)


def export(path: Path, encoding: str | None, target: Path, key: str, decisions: Iterable[Decision]) -> None:
    """The same records, in order; untouched ones word for word.

    A caption that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    with created(target) as out:
        head = _header(path, encoding)
        out.write(head.raw)
        writer = csv.writer(out, delimiter=head.delimiter, lineterminator="\r\n" if head.raw.endswith("\r\n") else "\n")
        for item, decision in zip(read(path, encoding), decisions, strict=True):
            if not decision.keep:
                continue
            caption = decision.caption if decision.caption is not None else (item.fields or {}).get(key, "")
            formula = _FORMULA.match(caption)
            if item.fields is None or (decision.caption is None and not formula):
                raw = str(item.raw)
                out.write(raw if raw.endswith("\n") else raw + "\n")
            else:
                writer.writerow([*({**item.fields, key: "'" + caption if formula else caption}.values())])


class _Header:
    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.delimiter = _delimiter(raw)
        self.names = next(csv.reader([raw], delimiter=self.delimiter), [])


def _delimiter(line: str) -> str:
    return max(",\t;", key=line.count)


def _header(path: Path, encoding: str | None) -> _Header:
    with _text(path, encoding) as file:
        header = _Header(file.readline())
    if len(set(header.names)) != len(header.names):
        raise InputError(f"expected a header with different names in {str(path)!r}, got {header.names}; rename some")
    return header


def _records(path: Path, encoding: str | None) -> Iterator[tuple[list[str] | str, str, list[str]]]:
    """Cells (or what is wrong), raw text and header of each record."""
    header = _header(path, encoding)
    csv.field_size_limit(MAX_ENTRY)
    with _text(path, encoding) as file:
        file.readline()
        taken: list[str] = []
        reader = csv.reader(_taking(file, taken), delimiter=header.delimiter, strict=True)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"not CSV: {error}", "".join(taken), header.names
            else:
                if cells:
                    yield cells, "".join(taken), header.names
            taken.clear()


def _taking(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _text(path: Path, encoding: str | None) -> io.TextIOWrapper:
    file = opened(path)
    name = encoding_of(file.read(4), encoding)
    file.seek(0)
    try:
        return io.TextIOWrapper(file, encoding=name, newline="", errors="surrogateescape")
    except LookupError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}; name its encoding") from error


def _is_text(raw: str) -> bool:
    return raw.isascii() or not any("\udc80" <= c <= "\udcff" for c in raw)
