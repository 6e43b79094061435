"""An input: where its rows come from, in which format, under which keys, and which of them this run checks."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from halluguard.auditing import inputs
from halluguard.auditing.caption_rows import Keys, Row, guess_keys, row
from halluguard.auditing.inputs import Item
from halluguard.errors import InputError, SettingsError

SAMPLED = 50
"""How many entries are read to guess the keys."""
_WHOLE = 4 * 1024**3
_END = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Source:
    """An input file or folder.

    Args:
        path: the file, or a folder that is one data set.
        format: name of the module in `auditing.formats`.
        keys: where a row's parts stand.
        encoding: of text files; None reads the byte order mark, else UTF-8.
    """

    path: Path
    format: str
    keys: Keys
    encoding: str | None = None

    def items(self) -> Iterator[Item]:
        """The entries as they stand in the input."""
        names = {key.partition(".")[0] for key in asdict(self.keys).values() if key}
        names |= {key for key in asdict(self.keys).values() if key}
        return inputs.get_format(self.format).read(self.path, self.encoding, names)

    def rows(self) -> Iterator[Row]:
        return (row(index, item, self.keys) for index, item in enumerate(self.items()))

    def describe(self) -> str:
        """What was guessed, in one line."""
        parts = [f"{part}s under {key!r}" for part, key in asdict(self.keys).items() if key]
        return f"{self.path.name}: {inputs.get_format(self.format).NAME}, {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of an input a run checks.

    Args:
        shard: (i, n): the rows whose image hashes to i of 0..n-1. All captions of an image are in one shard.
        limit: at most this many rows: the first ones, or with `seed` ones drawn at random.
        seed: of the draw.
    """

    shard: tuple[int, int] = (0, 1)
    limit: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        i, n = self.shard
        if not 0 <= i < n:
            raise SettingsError(f"a shard is i/n with 1 <= i <= n, got {i + 1}/{n}")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"the limit must be at least 1 row, got {self.limit}; leave it out to check all")

    def rows(self, source: Source) -> Iterator[Row]:
        """The selected rows, in the order of the input."""
        chosen = source.rows()
        if self.limit is not None and self.seed is not None:
            total = sum(1 for _ in source.items())
            drawn = set(random.Random(self.seed).sample(range(total), min(self.limit, total)))
            chosen = (row for row in chosen if row.index in drawn)
        elif self.limit is not None:
            chosen = itertools.islice(chosen, self.limit)
        i, n = self.shard
        return chosen if n == 1 else (row for row in chosen if shard_of(row, n) == i)


def shard_of(row: Row, shards: int) -> int:
    """The shard of a row, in 0..shards-1, by its image (by its id where it names none)."""
    name = row.image or row.id
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def open_source(path: Path, keys: Mapping[str, str | None], encoding: str | None = None) -> Source:
    """Find out format and keys of an input.

    Args:
        path: the file or folder.
        keys: the keys the user named, by field of `Keys`; the others are guessed.

    Raises:
        InputError: it cannot be read as captions.
        SettingsError: a named key stands in no row.
    """
    if not path.exists():
        raise InputError(f"no captions at {str(path)!r}; check the path")
    name = inputs.detect_format(path)
    first = list(itertools.islice(inputs.get_format(name).read(path, encoding), SAMPLED))
    return Source(path, name, guess_keys(first, keys), encoding)


def fingerprint(path: Path) -> tuple[str, int]:
    """What the input's content is known by, and the number of its line ends.

    Files up to 4 GiB are read whole. Larger ones count by size, time of change, and their first and last 64 MiB, and
    give -1 lines.
    """
    digest, lines = hashlib.blake2b(digest_size=16), 0
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
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


def manifest_of(source: Source, selection: Selection) -> dict[str, Any]:
    """The part of a manifest that says what was read."""
    return {
        "input": fingerprint(source.path)[0],
        "format": source.format,
        "encoding": source.encoding,
        "keys": asdict(source.keys),
        "selection": asdict(selection) | {"shard": list(selection.shard)},
    }
