"""Read and write caption files: each module of this folder reads the rows of one format and writes them back corrected.

To add a format, add a module with the members of `Format` to this folder; it is found there. For example, for a text
file with one caption per line, where the line number is the image:

    NAME = "plain text"
    ORDER = 60

    def recognises(path, head):
        return path.suffix == ".txt"

    def read(path, encoding=None, columns=None):
        with open_text(path, encoding) as file:
            for number, line in enumerate(file):
                yield Item({"image": number, "caption": line.rstrip("\\n")}, line)

    def export(path, encoding, out, key, decisions):
        for item, decision in zip(read(path, encoding), decisions, strict=True):
            if decision.keep:
                line = item.raw if decision.caption is None else decision.caption + "\\n"
                out.write(line.encode())

A row that cannot be read is an `Item` with a `problem`. It keeps its place, so that every pass over a file numbers its
rows alike.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import pkgutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from halluguard.auditing.fields import Fields, with_texts
from halluguard.errors import InputError
from halluguard.images import SUFFIXES
from halluguard.io import MAX_LINE, READ_ERRORS, open_binary, parse_json

HEAD_BYTES = 65_536
"""Size of the beginning of a file by which its format is recognised, in bytes after decompression."""
MAX_ROW = MAX_LINE
"""Longest row, in bytes or characters; a longer one is skipped and left out of the export."""
MAX_ROW_WITH_IMAGE = 128 * 1024 * 1024
"""Longest row that may hold its image, in bytes."""

MAX_ROW_MEMORY = 8 * MAX_ROW
"""Most memory that a row of JSON may take, in bytes, by an estimate."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of an input file, as it stands there.

    Args:
        fields: its columns or keys; None when it could not be read.
        raw: its text in the file, for formats that copy unchanged rows word for word; None if it is too long to be
            held, so that the export leaves the row out.
        problem: reason why it could not be read.
        image_bytes: the bytes of its image, when the input carries them.
    """

    fields: Fields | None
    raw: str | bytes | None = ""
    problem: str = ""
    image_bytes: bytes | None = None


class Decision(NamedTuple):
    """The treatment of one entry by the export.

    Args:
        keep: whether the entry is written.
        caption: its new caption; None keeps the old one.
        turns: key -> new text, for a dialogue or a list; used in place of `caption`.
    """

    keep: bool
    caption: str | None = None
    turns: Mapping[str, str] = MappingProxyType({})

    def texts(self, key: str) -> Mapping[str, str]:
        """Key -> new text; `key` is the key of the captions."""
        return self.turns if self.caption is None else {key: self.caption}


class Format(Protocol):
    """A module of this folder.

    Args:
        NAME: name of the format in messages.
        ORDER: formats are tried from the lowest to the highest number.
    """

    NAME: str
    ORDER: int

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether a file has this format; `head` is its first `HEAD_BYTES` after decompression, b"" for a folder."""

    def read(self, path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
        """Yield the rows in order. Columns that are not in `columns` may be left out; None asks for all.

        Raises:
            InputError: the rest of the file cannot be read.
        """

    def export(self, path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
        """Write the rows with the new texts of `decision.texts(key)`; there is one decision per row."""


def detect_format(path: Path) -> str:
    """The name of the format of a file or folder, for `get_format`.

    Raises:
        InputError: it is missing, unreadable, empty, or in no known format.
    """
    head = _head(path)
    formats = {module.name: get_format(module.name) for module in pkgutil.iter_modules(__path__)}
    for name, module in sorted(formats.items(), key=lambda pair: (pair[1].ORDER, pair[0])):
        if module.recognises(path, head):
            return name
    inside = [path] if path.is_file() else path.iterdir()
    if any(one.suffix.lower() in SUFFIXES for one in inside):
        raise InputError(
            f"expected captions, got images at {str(path)!r}; caption them with halluguard caption FOLDER --out FILE, "
            "or name the file of captions here and the folder of its images with --images"
        )
    known = ", ".join(module.NAME for module in formats.values())
    raise InputError(f"expected captions in one of the formats {known}; {str(path)!r} is in none of them; convert it")


def get_format(name: str) -> Format:
    """The format with that name, which is the name of its module, as in a manifest."""
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))


def _head(path: Path) -> bytes:
    try:
        if path.is_dir():
            return b""
        with open_binary(path) as file:
            head = file.read(HEAD_BYTES)
    except READ_ERRORS as error:
        raise InputError(f"cannot read the captions in {str(path)!r}: {error}; check the path and the file") from error
    if not head.strip():
        raise InputError(f"expected captions in {str(path)!r}, got an empty file; check the program that wrote it")
    return head


@contextlib.contextmanager
def text_writer(out: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """Write UTF-8 text with "\\n" line ends into `out`. Bytes that were not text when read are written unchanged."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="\n", errors="surrogateescape")
    try:
        yield text
    finally:
        text.detach()


def too_long(place: str, limit: int, unit: str) -> Item:
    """The row for an entry that is too long for memory."""
    return Item(None, None, f"expected at most {limit:,} {unit} in {place}, got more; the export leaves the row out")


def json_item(text: str | bytes) -> Item:
    """The row for the text of one JSON object."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = load_json(text)
    except UnicodeDecodeError as error:
        return Item(None, text, f"not UTF-8 at byte {error.start}; convert the file, or name its encoding")
    except (ValueError, RecursionError) as error:
        return Item(None, text, f"not JSON: {str(error) or type(error).__name__}"[:300])
    if not isinstance(value, dict):
        return Item(None, text, f"expected a JSON object, got {type(value).__name__}")
    return Item(value, text)


def load_json(text: str) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is not JSON, an object has a key twice, or it takes too much memory.
    """
    return parse_json(text, MAX_ROW_MEMORY, _unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; a repeated key is refused, because it is unclear which of two captions is meant."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        double = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {double!r} occurs twice in one object")
    return fields


def json_again(item: Item, key: str, decision: Decision) -> bytes:
    """A row's JSON: its own text if nothing changed, else serialized with the new texts."""
    texts = decision.texts(key)
    if not texts or item.fields is None:
        return item.raw.encode("utf-8", "surrogateescape") if isinstance(item.raw, str) else item.raw or b""
    fields = with_texts(item.fields, texts)
    try:
        return json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can hold as an escape but UTF-8 cannot encode
        return json.dumps(fields).encode("ascii")
