"""What an expert found in pictures, kept in one SQLite file, so that no picture is looked at twice for one phrase.

    (expert's fingerprint, picture's content, phrase)  ->  boxes

Only what was found is kept, never a failure. A record whose checksum is wrong counts as missing, a file that is no
such database is begun anew: losing it costs time, never results. Several processes may use one file on a local disk.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from halluguard.errors import OutputError
from halluguard.records import Box

VERSION = 1
DIGITS = 5
"""Decimals of scores; of boxes, which are in pixels, two. Below that a batch's own arithmetic shows."""
_BUSY_SECONDS = 120.0
_TABLES = """
CREATE TABLE IF NOT EXISTS looks (
    expert TEXT NOT NULL, picture TEXT NOT NULL, phrase TEXT NOT NULL, boxes TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (expert, picture, phrase)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pictures (picture TEXT PRIMARY KEY, width INTEGER, height INTEGER) WITHOUT ROWID;
"""

Boxes = tuple[Box, ...]


def rounded(box: Box) -> Box:
    """A box as it is kept, without its phrase's index: to 5 decimals of the score and 2 of the corners."""
    corners = None if box.xyxy is None else tuple(round(v, 2) for v in box.xyxy)
    return Box(box.label, round(box.score, DIGITS), corners)  # type: ignore[arg-type]  # four corners stay four


class Cache:
    """The findings of one expert.

    Args:
        path: the file; None keeps them in memory alone, for tests and for experts that are quicker than a disk.
        expert: the expert's fingerprint.
    """

    def __init__(self, path: Path | None, expert: str) -> None:
        self.path, self.expert = path, expert
        self._file = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if self.path is None or isinstance(error, sqlite3.OperationalError):
                raise OutputError(f"cannot use the detection cache {str(self.path)!r}: {error}; remove it") from error
            for leftover in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))):
                leftover.unlink(missing_ok=True)  # it is no database, or not of ours
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path or ":memory:", timeout=_BUSY_SECONDS, check_same_thread=False)
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=NORMAL")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            file.close()
            raise sqlite3.DatabaseError(f"version {version}, expected {VERSION}")
        file.executescript(_TABLES)
        file.execute(f"PRAGMA user_version={VERSION}")
        file.commit()
        return file

    def get(self, picture: str, phrases: Sequence[str]) -> dict[str, Boxes]:
        """What was found in a picture for these phrases; a phrase never asked is not in the answer."""
        found: dict[str, Boxes] = {}
        with self._reading():
            for start in range(0, len(phrases), 500):
                some = phrases[start : start + 500]
                rows = self._file.execute(
                    "SELECT phrase, boxes, checksum FROM looks WHERE expert = ? AND picture = ? "
                    f"AND phrase IN ({','.join('?' * len(some))})",
                    (self.expert, picture, *some),
                )
                for phrase, text, checksum in rows:
                    if zlib.crc32(text.encode()) == checksum:
                        found[phrase] = tuple(Box(label, score, xyxy) for label, score, xyxy in json.loads(text))
        return found

    def size(self, picture: str) -> tuple[int, int] | None:
        """Width and height of a picture that was decoded before."""
        with self._reading():
            row = self._file.execute("SELECT width, height FROM pictures WHERE picture = ?", (picture,)).fetchone()
            return None if row is None else tuple(row)
        return None

    def put(self, found: Mapping[str, Mapping[str, Sequence[Box]]], sizes: Mapping[str, tuple[int, int]]) -> None:
        """Keep what was found, by picture and phrase, and the sizes of decoded pictures."""
        looks = []
        for picture, by_phrase in found.items():
            for phrase, boxes in by_phrase.items():
                text = json.dumps([(box.label, box.score, box.xyxy) for box in boxes])
                looks.append((self.expert, picture, phrase, text, zlib.crc32(text.encode())))
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)", looks)
                kept = [(picture, *size) for picture, size in sizes.items()]
                self._file.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)", kept)
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"cannot write the detection cache {str(self.path)!r}: {error}; free space, or remove the file if it "
                "is damaged, then run the same command again: what is finished is kept"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """A damaged page costs what stands on it: it counts as not found, and is written anew."""
        with contextlib.suppress(sqlite3.DatabaseError):
            yield

    def close(self) -> None:
        self._file.close()
