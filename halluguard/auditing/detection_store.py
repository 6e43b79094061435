"""Store detections in one SQLite file, so that no image is searched twice for one phrase.

    (detector's fingerprint, digest of the image's content, phrase)  ->  boxes

Only results are stored, never a failure. A record with a wrong checksum counts as missing. A damaged file is begun
anew: that costs time, never results. Several processes may use one file on a local disk.
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

VERSION = 2
DIGITS = 5
"""Decimals of stored scores; box coordinates, in pixels, have two. Further decimals depend on the size of the batch."""
_BUSY_SECONDS = 120.0
_TABLES = """
CREATE TABLE IF NOT EXISTS detections (
    detector TEXT NOT NULL, image TEXT NOT NULL, phrase TEXT NOT NULL, boxes TEXT NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (detector, image, phrase)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (image TEXT PRIMARY KEY, width INTEGER, height INTEGER) WITHOUT ROWID;
"""

Boxes = tuple[Box, ...]


def rounded(box: Box) -> Box:
    """The stored form of a box: without the index of its phrase, 5 decimals of the score, 2 of the corners."""
    corners = None
    if box.xyxy is not None:
        x1, y1, x2, y2 = box.xyxy
        corners = round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)
    return Box(box.label, round(box.score, DIGITS), corners)


def is_detection_cache(path: Path) -> bool:
    """Whether an existing file is a detection cache of any version, or an empty file."""
    try:
        if path.stat().st_size == 0:
            return True
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return tables <= {"detections", "images"}
    except (OSError, sqlite3.Error):
        return False


class DetectionStore:
    """The detections of one detector.

    Args:
        path: the file; None keeps them in memory.
        detector: the detector's fingerprint.
    """

    def __init__(self, path: Path | None, detector: str) -> None:
        self.path, self.detector = path, detector
        self._file = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if self.path is None or isinstance(error, sqlite3.OperationalError):
                raise OutputError(f"cannot use the detection cache {str(self.path)!r}: {error}; remove it") from error
            for leftover in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))):
                leftover.unlink(missing_ok=True)  # the file is damaged, or of another version
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

    def get(self, image: str, phrases: Sequence[str]) -> dict[str, Boxes]:
        """Phrase -> boxes of an image; phrases that were never asked are left out."""
        boxes: dict[str, Boxes] = {}
        with self._reading():
            for start in range(0, len(phrases), 500):
                some = phrases[start : start + 500]
                records = self._file.execute(
                    "SELECT phrase, boxes, checksum FROM detections WHERE detector = ? AND image = ? "
                    f"AND phrase IN ({','.join('?' * len(some))})",
                    (self.detector, image, *some),
                )
                for phrase, text, checksum in records:
                    if zlib.crc32(text.encode()) == checksum:
                        boxes[phrase] = tuple(Box(label, score, xyxy) for label, score, xyxy in json.loads(text))
        return boxes

    def size(self, image: str) -> tuple[int, int] | None:
        """Width and height of an image that was decoded before."""
        with self._reading():
            record = self._file.execute("SELECT width, height FROM images WHERE image = ?", (image,)).fetchone()
            return None if record is None else tuple(record)
        return None

    def put(self, boxes: Mapping[str, Mapping[str, Sequence[Box]]], sizes: Mapping[str, tuple[int, int]]) -> None:
        """Store boxes by image and phrase, and the sizes of decoded images."""
        detections = []
        for image, by_phrase in boxes.items():
            for phrase, of_phrase in by_phrase.items():
                text = json.dumps([(box.label, box.score, box.xyxy) for box in of_phrase])
                detections.append((self.detector, image, phrase, text, zlib.crc32(text.encode())))
        try:
            with self._file:
                self._file.executemany("INSERT OR REPLACE INTO detections VALUES (?, ?, ?, ?, ?)", detections)
                images = [(image, *size) for image, size in sizes.items()]
                self._file.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?)", images)
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"cannot write the detection cache {str(self.path)!r}: {error}; free space, or remove the file if it "
                "is damaged, then run the same command again: what is finished is kept"
            ) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Treat records on a damaged page of the file as missing; they are written again."""
        with contextlib.suppress(sqlite3.DatabaseError):
            yield

    def close(self) -> None:
        self._file.close()
