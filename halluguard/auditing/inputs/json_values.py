"""Read and write JSON that is not one object per line: an array of objects, or objects one after another.

COCO results files are such arrays; some published caption files are pretty-printed objects without an array around
them. Both are streamed: an object ends where its braces close, so a malformed object affects only its own row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from halluguard.auditing.inputs import MAX_ROW, Decision, Item, json_again, json_item, too_long
from halluguard.io import open_text, reading, text_encoding
from halluguard.json_stream import split_objects

NAME = "JSON"
ORDER = 30
_PIECE = 1 << 20
"""Characters read at once."""


def recognises(path: Path, head: bytes) -> bool:
    return head.decode(text_encoding(head), "replace").lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """Yield the objects in order. Any text between them, other than separators, is a row with a problem."""
    for _, text in split_objects(_pieces(path, encoding), MAX_ROW):
        if text is None:
            yield too_long("an object", MAX_ROW, "characters")
        elif text.startswith("{"):
            yield json_item(text)
        else:
            yield Item(None, text, f"expected a JSON object, got {text[:40]!r}")


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write an array or a sequence of objects, as in the input; unchanged objects are copied word for word."""
    array = next(_pieces(path, encoding), "").lstrip("\ufeff \t\r\n").startswith("[")
    separator, end = (b",\n", b"\n]\n") if array else (b"\n", b"\n")
    out.write(b"[\n" if array else b"")
    first = True
    for item, decision in zip(read(path, encoding), decisions, strict=True):
        if decision.keep:
            out.write((b"" if first else separator) + json_again(item, key, decision))
            first = False
    out.write(end)


def _pieces(path: Path, encoding: str | None) -> Iterator[str]:
    """The text of the file in pieces. Bytes that are not UTF-8 are kept, and make only their own object unreadable."""
    with reading(path, NAME), open_text(path, encoding, newline="") as file:
        file.reconfigure(errors="surrogateescape" if file.encoding.startswith("utf-8") else "strict")
        while piece := file.read(_PIECE):
            yield piece
