"""Read and write JSON that is not one object per line: an array of objects, or objects one after another.

COCO results files are such arrays; some published caption files are pretty-printed objects without an array around
them. Both are streamed: an object ends where its braces close, so a malformed one costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from halluguard.auditing.inputs import MAX_ROW, Decision, Item, json_again, json_item, too_long
from halluguard.io import open_text, reading, text_encoding

NAME = "JSON"
ORDER = 30
_PIECE = 1 << 20
"""Characters read at once."""
_SEPARATORS = "\ufeff \t\r\n,[]"
_STRING = r'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+'
# What stands between braces: anything else, whole strings, and quotes that are alone on the rest of their line.
_BETWEEN = r'(?:[^{}"]++|"' + _STRING + r'"|"[^"\\\n{}]*+\n)*+'
_REST_OF_STRING = re.compile(_STRING + '(?P<end>")?')
_BRACES_OR_STRING = re.compile(_BETWEEN + r'(?P<mark>\{+|\}+|"' + _STRING + '(?P<end>")?)')
_BRACES = re.compile(r"[^{}]*+(?P<mark>\{+|\}+)")


def recognises(path: Path, head: bytes) -> bool:
    return head.decode(text_encoding(head), "replace").lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """The objects in order; anything between them that is no separator is a row with a problem."""
    for text in split_objects(_pieces(path, encoding), MAX_ROW):
        if text is None:
            yield too_long("an object", MAX_ROW, "characters")
        elif text.startswith("{"):
            yield json_item(text)
        else:
            yield Item(None, text, f"expected a JSON object, got {text[:40]!r}")


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """An array stays an array and a sequence a sequence, one object after another, unchanged ones word for word."""
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
    """The text of the file in pieces. Bytes that are not UTF-8 are kept, and spoil only the object they stand in."""
    with reading(path, NAME), open_text(path, encoding, newline="") as file:
        file.reconfigure(errors="surrogateescape" if file.encoding.startswith("utf-8") else "strict")
        while piece := file.read(_PIECE):
            yield piece


def split_objects(pieces: Iterable[str], limit: int) -> Iterator[str | None]:
    """Split a text into its objects, and the runs of anything else that is no separator.

    Strings are skipped whole, so that braces inside them do not count. No string runs over a line end: a quote without
    its partner on the line is no string. Every character is looked at twice at most, and `limit` characters are held.

    Args:
        pieces: the text.
        limit: None is given for an object or a run with more characters.

    >>> list(split_objects(['[{"a": "}', '"}, 7, {"b": 1}]'], limit=100))
    ['{"a": "}"}', '7', '{"b": 1}']
    """
    buffer, start, at, depth = "", 0, 0, 0
    string = lone_until = -1  # where the string being read begins; up to where quotes are known to have no partner
    overlong = False
    for piece in pieces:
        buffer += piece
        while at < len(buffer):
            if string >= 0:  # the piece before ended inside a string
                token = _REST_OF_STRING.match(buffer, at)
            elif at < lone_until:
                token = _BRACES.match(buffer, at, lone_until)
            else:
                token = _BRACES_OR_STRING.match(buffer, at)
            if token is None:
                at = lone_until if at < lone_until else len(buffer)
                continue
            begin, at = token.span() if string >= 0 else token.span("mark")
            if string >= 0 or buffer[begin] == '"':
                string = begin if string < 0 else string
                if token["end"] is None and len(buffer) - at < (2 if buffer.startswith("\\", at) else 1):
                    break
                if token["end"] is None and not overlong:
                    at, lone_until = string + 1, at
                string = -1
            elif buffer[begin] == "{":
                if depth == 0:
                    yield from _between(buffer[start:begin], overlong)
                    start, overlong = begin, False
                depth += at - begin
            elif depth:
                at = min(at, begin + depth)
                depth -= at - begin
                if depth == 0:
                    yield None if overlong or at - start > limit else buffer[start:at]
                    start, overlong = at, False
        overlong |= at - start > limit
        start = at if overlong else start
        buffer, at, lone_until = buffer[start:], at - start, lone_until - start
        string, start = (max(string - start, 0) if string >= 0 else -1), 0
    if depth:
        yield None if overlong else buffer
    else:
        yield from _between(buffer, overlong)


def _between(text: str, overlong: bool) -> Iterator[str | None]:
    stray = text.strip(_SEPARATORS)
    if overlong:
        yield None
    elif stray:
        yield stray
