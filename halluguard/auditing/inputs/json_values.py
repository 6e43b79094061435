"""JSON that is not one object a line: an array of objects, or objects one after another, however they are broken.

COCO results files are such arrays; some published caption files are pretty-printed objects without an array around
them. Both are read as a stream: an object ends where its braces close, so a malformed one costs only itself.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from halluguard.auditing.inputs import MAX_ENTRY, Decision, Item, created, decode_json, encoding_of, json_again, opened
from halluguard.errors import InputError

NAME = "JSON"
ORDER = 30
_CHUNK = 1 << 20
# Strings are skipped whole, so that braces inside them do not count; none runs over a line end. The last alternative is
# a quote without its partner: a string still being read, or a broken one.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}]|"')


def claims(path: Path, head: bytes) -> bool:
    return head.decode(encoding_of(head, None), "replace").lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def read(path: Path, encoding: str | None = None, columns: Any = None) -> Iterator[Item]:
    """The objects, in order; what stands between them other than commas and brackets is an entry with a problem."""
    for text in _values(_text(path, encoding)):
        if not text.startswith("{"):
            yield Item(None, text, f"expected a JSON object, got {text[:40]!r}")
        elif len(text) > MAX_ENTRY:
            yield Item(None, text, f"expected an object of at most {MAX_ENTRY:,} characters, got a longer one")
        else:
            yield decode_json(text)


def export(path: Path, encoding: str | None, target: Path, key: str, decisions: Iterable[Decision]) -> None:
    """An array stays an array and a sequence a sequence, one object after another, untouched ones word for word."""
    array = next(_text(path, encoding), "").lstrip("\ufeff \t\r\n").startswith("[")
    with created(target) as out:
        out.write("[\n" if array else "")
        first = True
        for item, decision in zip(read(path, encoding), decisions, strict=True):
            if decision.keep:
                out.write(("" if first else ",\n" if array else "\n") + json_again(item, key, decision))
                first = False
        out.write("\n]\n" if array else "\n")


def _text(path: Path, encoding: str | None) -> Iterator[str]:
    """The file's text in pieces."""
    with opened(path) as file:
        head = file.read(4)
        name = encoding_of(head, encoding)
        try:
            decoder = codecs.getincrementaldecoder(name)("surrogateescape" if name.startswith("utf-8") else "strict")
            piece = head
            while piece:
                yield decoder.decode(piece)
                piece = file.read(_CHUNK)
            yield decoder.decode(b"", final=True)
        except (OSError, EOFError, UnicodeError, LookupError) as error:
            raise InputError(f"cannot read {str(path)!r} as {name} to its end: {error}; check the file") from error


def _values(pieces: Iterator[str]) -> Iterator[str]:
    """The text of each object, and of each run of anything else that is not white space, a comma or a bracket."""
    buffer, start, at, depth = "", -1, 0, 0
    for piece in pieces:
        buffer += piece
        outside = 0  # where the text after the last object begins
        for token in _TOKEN.finditer(buffer, at):
            mark = token.group()
            at = token.end()
            if mark == '"' and "\n" not in buffer[at:]:
                at = token.start()
                break
            if mark == "{":
                if depth == 0:
                    yield from _strays(buffer[outside : token.start()])
                    start = token.start()
                depth += 1
            elif mark == "}" and depth:
                depth -= 1
                if depth == 0:
                    yield buffer[start : token.end()]
                    start, outside = -1, token.end()
        keep = start if depth else outside
        if depth and len(buffer) - keep > 4 * MAX_ENTRY:
            break
        buffer, at = buffer[keep:], max(0, at - keep)
        start = 0 if depth else -1
    if depth:
        yield "an object that never ends; nothing after it was read: " + buffer[start : start + 100]
    else:
        yield from _strays(buffer)


def _strays(text: str) -> list[str]:
    left = text.strip("\ufeff \t\r\n,[]")
    return [left] if left else []
