"""The pictures of rows: known by their content, opened once, decoded ahead of their use.

A picture's bytes are read to know it, and read again to decode it: keeping those of a thousand rows would take more
memory than anything else here. Decoding runs in threads, in the order in which the expert will look, a fixed number of
pixels ahead.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder, content_key
from halluguard.errors import ImageError
from halluguard.images import load_image

THREADS = 4
PIXELS_AHEAD = 48_000_000
"""Decoded pixels that wait for the expert at most (3 bytes each), besides those of one picture."""
PICTURES_AHEAD = 32


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: all rows whose pictures have the same bytes share it.

    Args:
        key: of its content.
        row: a row that has it, from which it is read.
        pixels: width times height, as its header says.
    """

    key: str
    row: Row
    pixels: int = 0


class Album:
    """Opens pictures.

    Args:
        pictures: where they are.
    """

    def __init__(self, pictures: ImageFolder) -> None:
        self.pictures = pictures
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")
        self._expected: deque[Picture] = deque()
        self._decoding: dict[str, tuple[Picture, Future[Any]]] = {}

    def identify(self, rows: Sequence[Row]) -> list[Picture | ImageError]:
        """The picture of each row, one object per content, or why there is none. Reads the files; decodes nothing."""
        names = [row.image if row.image_bytes is None else id(row.image_bytes) for row in rows]
        futures: dict[Any, Future[Picture | ImageError]] = {}
        for name, row in zip(names, rows, strict=True):
            if name not in futures:
                futures[name] = self._threads.submit(self._identify, row)
        by_key: dict[str, Picture] = {}
        found: list[Picture | ImageError] = []
        for name in names:
            picture = futures[name].result()
            found.append(picture if isinstance(picture, ImageError) else by_key.setdefault(picture.key, picture))
        return found

    def _identify(self, row: Row) -> Picture | ImageError:
        try:
            data = self.pictures.read(row)
            return Picture(content_key(data), row, _pixels(data))
        except ImageError as error:
            return error

    def expect(self, pictures: Iterable[Picture]) -> None:
        """Say in which order pictures will be taken; the first ones are decoded at once."""
        self._expected = deque(pictures)
        self._decode_ahead()

    def take(self, picture: Picture) -> Any:
        """The decoded picture (PIL, upright RGB).

        Raises:
            ImageError: it cannot be decoded.
        """
        if picture.key not in self._decoding:
            self._decoding[picture.key] = picture, self._threads.submit(self._decode, picture)
        _, future = self._decoding.pop(picture.key)
        try:
            return future.result()
        finally:
            self._decode_ahead()

    def _decode_ahead(self) -> None:
        waiting = sum(picture.pixels for picture, _ in self._decoding.values())
        while self._expected and len(self._decoding) < PICTURES_AHEAD:
            picture = self._expected[0]
            if self._decoding and waiting + picture.pixels > PIXELS_AHEAD:
                return
            self._decoding[picture.key] = picture, self._threads.submit(self._decode, self._expected.popleft())
            waiting += picture.pixels

    def _decode(self, picture: Picture) -> Any:
        return load_image(self.pictures.read(picture.row))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _pixels(data: bytes) -> int:
    """Width times height from a picture's header; 0 where it cannot be read, which decoding will say."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Exception:  # what is wrong with it, `load_image` says better
        return 0
