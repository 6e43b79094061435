"""File formats of captions: each module of this folder reads one and writes it back with corrected captions.

A format is a module with three functions; a new one is a new file, and no list names it:

    claims(path, head) -> bool                  is this file mine? `head` is its first bytes, decompressed
    read(path, encoding, columns) -> Iterator[Item]     the entries, in order, streamed; only `columns` need be read
    export(path, encoding, target, key, decisions)      them again, with the caption under `key` replaced, or left out

An entry that cannot be read is an `Item` with a `problem`; it keeps its place in the order and nothing is dropped.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

from halluguard.errors import InputError

HEAD_BYTES = 65_536
MAX_ENTRY = 16 * 1024 * 1024
"""The longest entry that is read, in bytes; a longer one is skipped."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of an input file, as it stands there.

    Args:
        fields: its columns or keys; None when it could not be read.
        raw: its own text, for formats that repeat untouched entries word for word.
        problem: why it could not be read.
        image_bytes: the bytes of its image, when the input carries them.
    """

    fields: Mapping[str, Any] | None
    raw: str | bytes = ""
    problem: str = ""
    image_bytes: bytes | None = None


class Decision(NamedTuple):
    """What the export does with one entry: leave it out, or keep it, with another caption unless that is None."""

    keep: bool
    caption: str | None


def detect(path: Path) -> ModuleType:
    """The format of a file or folder.

    Raises:
        InputError: it is missing, unreadable, empty, or in no known format.
    """
    head = _head(path)
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    for module in sorted(modules, key=lambda m: (m.ORDER, m.__name__)):
        if module.claims(path, head):
            return module
    known = ", ".join(module.NAME for module in modules)
    raise InputError(f"expected captions in one of the formats {known}; {str(path)!r} is in none of them; convert it")


def named(name: str) -> ModuleType:
    """The format module of that name, as a manifest keeps it."""
    return importlib.import_module(f"{__name__}.{name}")


def _head(path: Path) -> bytes:
    try:
        if path.is_dir():
            return b""
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read the captions in {str(path)!r}: {error}; check the path and the file") from error
    if not head.strip():
        raise InputError(f"expected captions in {str(path)!r}, got an empty file; check what wrote it")
    return head


def opened(path: Path) -> BinaryIO:
    """The file for reading bytes, decompressed when it is gzipped."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file  # type: ignore[return-value]


def zipped(path: Path) -> bool:
    """Whether a file is gzipped."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def created(target: Path) -> io.TextIOWrapper:
    """The file for writing UTF-8 text with "\\n" line ends, gzipped (with no time stamp) when its name ends in .gz."""
    if target.suffix == ".gz":
        binary = gzip.GzipFile(filename="", fileobj=target.open("wb"), mode="wb", mtime=0)
        return io.TextIOWrapper(binary, encoding="utf-8", newline="\n", errors="surrogateescape")
    return target.open("w", encoding="utf-8", newline="\n", errors="surrogateescape")


def encoding_of(head: bytes, given: str | None) -> str:
    """The text encoding: the one given, or what the byte order mark says, or UTF-8."""
    if given:
        return given
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig"


def decode_json(text: str | bytes) -> Item:
    """One JSON object as an `Item`, or what is wrong with it."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        return Item(None, text, f"not UTF-8 at byte {error.start}; convert the file, or name its encoding")
    except (ValueError, RecursionError) as error:
        return Item(None, text, f"not JSON: {str(error) or type(error).__name__}"[:300])
    if not isinstance(value, dict):
        return Item(None, text, f"expected a JSON object, got {type(value).__name__}")
    return Item(value, text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys each stand once: of two captions nobody can say which is meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice in one object")
    return found


def step_into(fields: Any, key: str) -> Any:
    """What stands under `key`; dots step into objects and lists ("conversations.1.value"). None when nothing does."""
    if isinstance(fields, Mapping) and key in fields:
        return fields[key]
    for part in key.split("."):
        if isinstance(fields, Mapping):
            fields = fields.get(part)
        elif isinstance(fields, list) and part.isdigit() and int(part) < len(fields):
            fields = fields[int(part)]
        else:
            return None
    return fields


def replaced(fields: Mapping[str, Any], key: str, caption: str) -> dict[str, Any]:
    """A copy of `fields` with another caption under `key`."""
    if key in fields:
        return {**fields, key: caption}
    first, _, rest = key.partition(".")
    inner = fields[first]
    if isinstance(inner, list):
        at, _, below = rest.partition(".")
        place = int(at)
        changed = replaced(inner[place], below, caption) if below else caption
        return {**fields, first: [*inner[:place], changed, *inner[place + 1 :]]}
    return {**fields, first: replaced(inner, rest, caption)}


def json_again(item: Item, key: str, decision: Decision) -> str:
    """The entry's JSON: its own text when nothing changed, else written anew with the other caption."""
    if decision.caption is None or item.fields is None:
        return item.raw if isinstance(item.raw, str) else item.raw.decode("utf-8", "surrogateescape")
    fields = replaced(item.fields, key, decision.caption)
    text = json.dumps(fields, ensure_ascii=False)
    # Half a surrogate pair, which JSON can hold as an escape, is no character that a file could.
    return text if text.isascii() or _encodable(text) else json.dumps(fields)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
