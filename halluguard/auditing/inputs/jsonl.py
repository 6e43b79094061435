"""Read and write JSON Lines, one object per line, in UTF-8, UTF-16 or any encoding by name."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, AnyStr, BinaryIO

from halluguard.auditing.inputs import MAX_ROW, Decision, Item, json_again, json_item, too_long
from halluguard.io import bounded_gaps, open_binary, reading, text_encoding

NAME = "JSON Lines"
ORDER = 20
_UTF8_MARK = b"\xef\xbb\xbf"


def recognises(path: Path, head: bytes) -> bool:
    named = path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
    text = head.decode(text_encoding(head), "replace").lstrip()
    if not text.startswith("{"):
        return named and b"\x00" not in head[:4]
    if named:
        return True
    first = text.split("\n", 1)[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return "\n" in text.strip() or '"annotations"' not in first


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """Yield the objects, one per line; blank lines are not rows."""
    for line in bounded_gaps(path, _lines(path, encoding)):
        if len(line) > MAX_ROW:
            yield too_long("a line", MAX_ROW, "bytes")
        elif line.strip():
            yield json_item(line.rstrip(b"\r\n"))


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write the lines in order; unchanged lines are copied word for word."""
    for item, decision in zip(read(path, encoding), decisions, strict=True):
        if decision.keep:
            out.write(json_again(item, key, decision) + b"\n")


def _lines(path: Path, encoding: str | None) -> Iterator[bytes]:
    """Lines as UTF-8 bytes; see `_bounded`."""
    with reading(path, NAME), open_binary(path) as file:
        name = encoding or text_encoding(file.peek(4))
        if name.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
            if file.peek(3).startswith(_UTF8_MARK):
                file.read(3)
            yield from _bounded(file, b"\n")
            return
        lines = io.TextIOWrapper(file, encoding=name, newline="\n")
        yield from (line.encode("utf-8", "surrogatepass") for line in _bounded(lines, "\n"))


def _bounded(file: IO[AnyStr], end: AnyStr) -> Iterator[AnyStr]:
    """The lines of a file. A line over the limit is cut to its beginning, which is still over the limit."""
    while line := file.readline(MAX_ROW + 1):
        yield line
        while len(line) > MAX_ROW and not line.endswith(end):
            line = file.readline(MAX_ROW + 1)
