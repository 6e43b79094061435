"""JSON Lines: one object a line. UTF-8 (with or without a byte order mark), UTF-16, or any encoding by name."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from halluguard.auditing.inputs import MAX_ENTRY, Decision, Item, created, decode_json, encoding_of, json_again, opened
from halluguard.errors import InputError

NAME = "JSON Lines"
ORDER = 20


def claims(path: Path, head: bytes) -> bool:
    text = head.decode(encoding_of(head, None), "replace").lstrip()
    if not text.startswith("{"):
        return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")) and b"\x00" not in head[:4]
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        return True
    first = text.split("\n", 1)[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return "\n" in text.strip() or '"annotations"' not in first


def read(path: Path, encoding: str | None = None, columns: Any = None) -> Iterator[Item]:
    """The objects, one per line; empty lines are not entries."""
    for line in _lines(path, encoding):
        if len(line) > MAX_ENTRY:
            yield Item(None, line, f"expected a line of at most {MAX_ENTRY:,} bytes, got a longer one")
        elif line.strip():
            yield decode_json(line.rstrip(b"\r\n"))


def export(path: Path, encoding: str | None, target: Path, key: str, decisions: Iterable[Decision]) -> None:
    """The same lines, in order; untouched ones word for word."""
    with created(target) as out:
        for item, decision in zip(read(path, encoding), decisions, strict=True):
            if decision.keep:
                out.write(json_again(item, key, decision) + "\n")


def _lines(path: Path, encoding: str | None) -> Iterator[bytes]:
    """Lines as UTF-8 bytes. Of a line over the limit comes only its beginning, itself longer than the limit."""
    with opened(path) as file:
        head = file.read(4)
        file.seek(0)
        name = encoding_of(head, encoding)
        if name.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
            if head.startswith(b"\xef\xbb\xbf"):
                file.read(3)
            yield from _bounded(file)
            return
        try:
            for text in io.TextIOWrapper(file, encoding=name, newline="\n"):
                yield text.encode("utf-8", "surrogatepass")
        except (UnicodeError, LookupError) as error:
            raise InputError(f"cannot read {str(path)!r} as {name}: {error}; name its encoding") from error


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_ENTRY + 1):
        yield line
        while len(line) > MAX_ENTRY and not line.endswith(b"\n"):
            line = file.readline(MAX_ENTRY + 1)
            if not line:
                return
