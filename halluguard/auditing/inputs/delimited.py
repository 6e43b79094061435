"""Read and write CSV and TSV with a header; the most frequent of comma, tab and semicolon in it is the delimiter."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from halluguard.auditing.caption_rows import CAPTION_KEYS
from halluguard.auditing.fields import shortened
from halluguard.auditing.inputs import MAX_ROW, Decision, Item, text_writer, too_long
from halluguard.errors import InputError
from halluguard.io import MAX_EMPTY, open_text, reading, text_encoding

NAME = "CSV"
ORDER = 50
# A cell that a spreadsheet would run as a formula. A bullet ("- a dog") is not one.
_FORMULA = re.compile(r"\s*[=@]|[\t\r]|[+-]\S")


def recognises(path: Path, head: bytes) -> bool:
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        return True
    first = head.decode(text_encoding(head), "replace").partition("\n")[0]
    return any(cell.strip(' "\r') in CAPTION_KEYS for cell in first.split(_delimiter(first)))


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """Yield the records after the header, as text; a record with more or fewer cells than the header is skipped."""
    with reading(path, NAME), _Records(path, encoding) as records:
        for cells, raw in records:
            if raw is None:
                yield too_long("a record", MAX_ROW, "characters")
            elif isinstance(cells, csv.Error):
                yield Item(None, raw, f"not CSV: {cells}")
            elif len(cells) != len(records.header):
                yield Item(None, raw, f"expected {len(records.header)} cells, as in the header, got {len(cells)}")
            elif not _is_text(raw):
                yield Item(None, raw, "not text in the file's encoding; convert the file, or name its encoding")
            else:
                yield Item(dict(zip(records.header, cells, strict=True)), raw)


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write the records in order; unchanged records are copied word for word.

    A caption that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    with reading(path, NAME), _Records(path, encoding) as records:
        header, delimiter = records.raw_header, records.delimiter
    with text_writer(out) as text:
        text.write(header)
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if header.endswith("\r\n") else "\n")
        for item, decision in zip(read(path, encoding), decisions, strict=True):
            if not decision.keep:
                continue
            caption = decision.caption if decision.caption is not None else (item.fields or {}).get(key, "")
            formula = _FORMULA.match(caption)
            if item.fields is None or (decision.caption is None and not formula):
                raw = str(item.raw)
                text.write(raw if raw.endswith("\n") else raw + "\n")
            else:
                writer.writerow([*({**item.fields, key: "'" + caption if formula else caption}.values())])


class _Records:
    """The records of a file: for each, its cells or its fault, and its text in the file.

    Attributes:
        header: the names of the columns.
        raw_header: the header as it stands in the file.
        delimiter: the character between cells.
    """

    def __init__(self, path: Path, encoding: str | None) -> None:
        self._file = open_text(path, encoding, newline="", errors="surrogateescape")
        csv.field_size_limit(MAX_ROW)
        self._lines = _Lines(self._file)
        first = self._file.readline(MAX_ROW + 1)
        self.delimiter = _delimiter(first)
        self._lines.pending = first
        self._reader = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        try:
            self.header = next(self._reader, [])
        except csv.Error as error:
            self._file.close()
            raise InputError(f"cannot read the header of {str(path)!r}: {error}; check the file") from error
        self.raw_header = "".join(self._lines.copies)
        if len(set(self.header)) != len(self.header):
            self._file.close()
            names = shortened(name for name, count in Counter(self.header).items() if count > 1)
            raise InputError(f"expected a header with different names in {str(path)!r}, got {names} twice; rename some")

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[tuple[list[str] | csv.Error, str | None]]:
        empty = 0
        while True:
            self._lines.clear()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield error, None if self._lines.overlong else "".join(self._lines.copies)
            else:
                empty = 0 if cells else empty + 1
                if empty > MAX_EMPTY:
                    raise InputError(f"expected rows, got more than {MAX_EMPTY:,} consecutive empty lines")
                if cells:
                    yield cells, "".join(self._lines.copies)


class _Lines:
    """The lines of a file; those of the current record are copied.

    Attributes:
        copies: the lines of the record so far.
        overlong: True if the record is longer than `MAX_ROW`; the record then ends.
        pending: a line that was read ahead.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.pending = ""
        self.clear()

    def clear(self) -> None:
        self.copies: list[str] = []
        self.overlong = False
        self._size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self.pending = self.pending or self._file.readline(MAX_ROW + 1), ""
        self._size += len(line)
        if self._size > MAX_ROW:
            self.overlong = True
            while line and not line.endswith(("\n", "\r")):
                line = self._file.readline(MAX_ROW + 1)
            raise csv.Error(f"a record of more than {MAX_ROW:,} characters")
        if not line:
            raise StopIteration
        self.copies.append(line)
        return line


def _delimiter(line: str) -> str:
    return max(",\t;", key=line.count)


def _is_text(raw: str) -> bool:
    return raw.isascii() or not any("\udc80" <= c <= "\udcff" for c in raw)
