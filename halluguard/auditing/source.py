"""Open an input: find its format, the keys of captions and images, and the rows that a run checks."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from halluguard.auditing.caption_rows import Keys, Row, guess_keys, to_rows
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.inputs import MAX_ROW, Item, detect_format, get_format
from halluguard.errors import InputError
from halluguard.io import check_path, is_compressed

SAMPLED = 50
"""Number of entries that are read to guess the keys."""
_WHOLE = 4 * 1024**3
_END = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Source:
    """An opened input.

    Args:
        path: the file, or a folder that is one dataset.
        format: name of its module in `auditing.inputs`.
        keys: the keys of a row's caption, image, id and question.
        encoding: encoding of text files; None means what the byte order mark says, else UTF-8.
    """

    path: Path
    format: str
    keys: Keys
    encoding: str | None = None

    def items(self) -> Iterator[Item]:
        """The entries of the input, unchanged and in order."""
        named = [key for key in asdict(self.keys).values() if key]
        columns = {*named, *(key.partition(".")[0] for key in named), "history"}
        return get_format(self.format).read(self.path, self.encoding, columns)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order, one for each text of an entry."""
        index = 0
        for item in self.items():
            rows = to_rows(index, item, self.keys)
            index += len(rows)
            yield from rows

    def describe(self) -> str:
        """Format and keys, in one line."""
        parts = [f"{part}s under {key!r}" for part, key in asdict(self.keys).items() if key]
        return f"{self.path.name}: {get_format(self.format).NAME}, {', '.join(parts)}"


def open_source(path: Path, keys: Mapping[str, str | None], encoding: str | None = None) -> Source:
    """Detect the format and the keys of an input.

    Args:
        path: the file or folder.
        keys: field of `Keys` -> key that the user named; the others are guessed.
        encoding: encoding of text files; None means what the byte order mark says, else UTF-8.

    Raises:
        InputError: it cannot be read as captions.
        SettingsError: no row has a named key.
    """
    if not path.exists():
        raise InputError(f"no captions at {str(path)!r}; {check_path(path)}")
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"expected a file or folder of captions, got a pipe or device at {str(path)!r}; use - for a pipe"
        )
    name = detect_format(path)
    return Source(path, name, guess_keys(_sample(get_format(name).read(path, encoding)), keys), encoding)


def _sample(items: Iterable[Item]) -> Iterator[Item]:
    """The first items, or fewer if they are large."""
    size = 0
    for item in itertools.islice(items, SAMPLED):
        yield item
        size += len(item.image_bytes or b"") + (len(item.raw) if item.raw else _characters(item.fields))
        if size > MAX_ROW:
            return


def _characters(value: object) -> int:
    """Number of characters and bytes of the texts in a row's fields, at any depth."""
    size, stack = 0, [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, Mapping):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return size


class Unchanged:
    """Notice that an input changes while it is read.

    Args:
        path: the file or folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = self._now()

    def check(self) -> None:
        """Raise InputError if the size or modification time of a file differs from that at the start."""
        if self._now() != self._state:
            raise InputError(
                f"the input {str(self.path)!r} changed while it was read; do not change it, then run the same command "
                "again with --force-new"
            )

    def _now(self) -> list[tuple[str, int, int]]:
        files = _files(self.path)
        return [(str(file), stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]


def _files(path: Path) -> list[Path]:
    try:
        return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    except OSError as error:
        raise InputError(f"cannot read the input {str(path)!r}: {error}; check the path") from error


def selected_rows(config: AuditConfig, source: Source) -> Iterator[Row]:
    """Yield the rows that a run checks, in the order of the input: those of its shard, up to its limit."""
    rows = source.rows()
    if config.limit is not None and config.seed is not None:
        total = sum(1 for _ in source.rows())
        drawn = set(random.Random(config.seed).sample(range(total), min(config.limit, total)))
        rows = (row for row in rows if row.index in drawn)
    elif config.limit is not None:
        rows = itertools.islice(rows, config.limit)
    share, shares = config.shard
    return rows if shares == 1 else (row for row in rows if shard_of(row, shares) == share)


def shard_of(row: Row, shards: int) -> int:
    """The shard of a row, in 0..shards-1: a hash of its image, or of its id if it names no image."""
    name = row.image or row.id
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def fingerprint(path: Path) -> tuple[str, int]:
    """(digest of the input's content, number of its line ends).

    Files up to 4 GiB are read whole. The digest of a larger file covers its size, modification time, and first and last
    64 MiB; its line ends count as -1.
    """
    digest, lines = hashlib.blake2b(digest_size=16), 0
    for file in _files(path):
        stat = file.stat()
        digest.update(f"{file.relative_to(path)}\0{stat.st_size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as handle:
            if stat.st_size <= _WHOLE:
                while chunk := handle.read(1 << 20):
                    digest.update(chunk)
                    lines += chunk.count(b"\n")
            else:
                digest.update(f"{stat.st_mtime_ns}".encode() + handle.read(_END))
                handle.seek(-_END, 2)
                digest.update(handle.read(_END))
                lines = -1
    return digest.hexdigest(), lines


def rows_expected(config: AuditConfig, source: Source) -> int | None:
    """Number of rows that will be checked; None if that cannot be told without reading the whole file."""
    lines = fingerprint(source.path)[1] if source.format == "jsonl" else -1
    several = "@" in source.keys.caption or "*" in source.keys.caption  # an entry may hold several texts
    if lines < 0 or several or config.shard[1] > 1 or is_compressed(source.path):
        return config.limit
    return min(lines, config.limit or lines)


def input_manifest(config: AuditConfig, source: Source) -> dict[str, object]:
    """The part of a manifest that describes the input."""
    return {
        "input": fingerprint(source.path)[0],
        "format": source.format,
        "encoding": source.encoding,
        "keys": asdict(source.keys),
        "selection": {"shard": list(config.shard), "limit": config.limit, "seed": config.seed},
    }
