"""Find the images of rows, identify them by their content, and decode them ahead of their use.

An image is identified by its content: two names for the same bytes are one image, and a name whose bytes changed is
another image. Its bytes are read once to identify it and once more to decode it, because the bytes of a thousand rows
would fill the memory. Decoding runs in threads, in the order in which the detector will look.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import warnings
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.auditing.caption_rows import Row
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.image_files import header
from halluguard.image_objects import MAX_BYTES
from halluguard.images import load_image, resolve_inside, return_freed_memory
from halluguard.io import begins_with_brace, check_path, json_limit, parse_json, read_table, read_text

if TYPE_CHECKING:
    from PIL.Image import Image

THREADS = 4
PIXELS_AHEAD = 48_000_000
"""Most pixels (4 bytes each) of images and their files that are decoded ahead. Larger images wait until needed."""
IMAGES_AHEAD = 32
"""Most decoded images that wait for the detector."""

# Patterns by which datasets name the file of an image id. The first pattern that names a file is used.
PATTERNS = (
    *("{id}", "{id}.jpg", "{id}.png", "{id}.jpeg", "{id}.webp", "{id:012d}.jpg"),
    *("{id}.JPG", "{id}.heic", "{id}.HEIC", "{id}.avif", "{id}.jp2"),
    *("COCO_val2014_{id:012d}.jpg", "COCO_train2014_{id:012d}.jpg", "COCO_test2015_{id:012d}.jpg"),
)
_FIELD = re.compile(r"\{id(?::0?(\d*)d?)?\}")


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, with the rule that finds a row's image in it. No file outside the folder is ever read.

    Args:
        root: the folder; links that lead out of it are refused.
        pattern: file name with a place for the row's image id: "COCO_val2014_{id:012d}.jpg". None tries `PATTERNS`.
        names: the row's image -> path under the root, in place of a pattern.
    """

    root: Path | None
    pattern: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise InputError(
                f"expected a folder of images, got {str(self.root)!r} for --images; {check_path(self.root)}"
            )
        if self.pattern is not None and not _FIELD.search(self.pattern):
            raise SettingsError(
                f"an image pattern must contain the id, as in 'COCO_val2014_{{id:012d}}.jpg', got {self.pattern!r}"
            )
        if self.pattern is not None and any(len(width) > 2 for width in _FIELD.findall(self.pattern)):
            raise SettingsError(f"an id in an image pattern has at most 99 digits, got {self.pattern!r}; shorten it")

    def manifest(self) -> dict[str, str | None]:
        """The settings by which files are found under the root, without the path of the root itself."""
        listed = json.dumps(sorted(self.names.items())).encode()
        return {"pattern": self.pattern, "names": content_key(listed) if self.names else None}

    def path(self, image: str) -> Path:
        """The file of a row's image.

        Raises:
            ImageError: there is no such file, or the name leads outside the folder.
        """
        if self.root is None:
            raise ImageError(f"no folder of images was given, so {image!r} cannot be opened; name it with --images")
        if self.names:
            if image not in self.names:
                raise ImageError(f"the image {image!r} is not in the mapping file; add it")
            return _existing(self.root, [self.names[image]], image)
        patterns = [self.pattern] if self.pattern else PATTERNS
        return _existing(self.root, [name for p in patterns if (name := _filled(p, image))], image)

    def read(self, row: Row) -> bytes:
        """The bytes of a row's image, from the input itself or from its file.

        Raises:
            ImageError: missing, outside the folder, not a regular file, empty, or larger than `MAX_BYTES`.
        """
        if row.image_bytes is not None:
            return row.image_bytes
        with self.open(row) as file:
            return file.read(MAX_BYTES)

    @contextlib.contextmanager
    def open(self, row: Row) -> Iterator[io.BufferedReader | io.BytesIO]:
        """Open the file of a row's image, or its bytes from the input; errors are those of `read`."""
        if row.image_bytes is not None:
            yield io.BytesIO(row.image_bytes)
            return
        path = self.path(row.image)
        try:
            if not path.is_file():
                raise ImageError(
                    f"expected an image file, got a folder or device at {row.image!r}; name the file itself"
                )
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise ImageError(
                    f"expected an image of at most {MAX_BYTES:,} bytes, got {size:,}: {row.image!r}; shrink it"
                )
            if not size:
                raise ImageError(f"expected an image, got an empty file: {row.image!r}; replace it")
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise ImageError(
                f"cannot read the image {row.image!r}: {error.strerror or error}; check the file"
            ) from error


@dataclass(frozen=True, eq=False)
class StoredImage:
    """One image; all rows whose images have the same bytes share it.

    Args:
        key: digest of its content.
        row: a row with this image, through which its bytes are read.
        stored_size: width and height in its header; None where the header cannot be read.
        orientation: its EXIF orientation, from 1 (upright) to 8.
        file_size: bytes of its file.
    """

    key: str
    row: Row
    stored_size: tuple[int, int] | None = None
    orientation: int = 1
    file_size: int = 0

    @property
    def weight(self) -> int:
        """Memory to decode it, as a number of pixels of 4 bytes: its own pixels and its file, which is held too."""
        return self.pixels + self.file_size // 4

    @property
    def pixels(self) -> int:
        """Width times height; 0 if they are unknown."""
        return 0 if self.stored_size is None else self.stored_size[0] * self.stored_size[1]

    @property
    def name(self) -> str:
        """The row's own name for the image."""
        return self.row.image


class ImageStore:
    """Open the images of a folder in threads.

    Args:
        folder: folder of the images.
    """

    def __init__(self, folder: ImageFolder) -> None:
        return_freed_memory()
        self.folder = folder
        # Silence Pillow's warning of large images, because `load_image` has its own limit.
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit of .* pixels")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="images")
        self._expected: deque[StoredImage] = deque()
        self._decoding: dict[str, tuple[StoredImage, Future[Image]]] = {}

    def identify(self, rows: Sequence[Row]) -> list[StoredImage | ImageError]:
        """The image of each row, one object per content, or why there is none. Files are read, not decoded."""
        names: list[Hashable] = [row.image if row.image_bytes is None else id(row.image_bytes) for row in rows]
        futures: dict[Hashable, Future[StoredImage | ImageError]] = {}
        for name, row in zip(names, rows, strict=True):
            if name not in futures:
                futures[name] = self._threads.submit(self._identify, row)
        by_key: dict[str, StoredImage] = {}
        results = [futures[name].result() for name in names]
        return [image if isinstance(image, ImageError) else by_key.setdefault(image.key, image) for image in results]

    def _identify(self, row: Row) -> StoredImage | ImageError:
        try:
            with self.folder.open(row) as file:
                key = hashlib.file_digest(file, _digest).hexdigest()
                file_size = file.seek(0, os.SEEK_END)
                file.seek(0)
                return StoredImage(key, row, *header(file), file_size)
        except ImageError as error:
            return error

    def expect(self, images: Iterable[StoredImage]) -> None:
        """Announce the order in which images will be opened; the first ones are decoded at once."""
        self._expected = deque(images)
        self._decode_ahead()

    def open(self, image: StoredImage) -> Image:
        """The decoded image (PIL, upright RGB).

        Raises:
            ImageError: it cannot be decoded.
        """
        if self._expected and self._expected[0].key == image.key:
            self._expected.popleft()
        _, future = self._decoding.pop(image.key, (image, None))
        try:
            # A large image is decoded in this thread: memory that one thread frees is not used again by another.
            return self._decode(image) if future is None else future.result()
        finally:
            if image.weight <= PIXELS_AHEAD:  # while a larger image is held, no other is decoded
                self._decode_ahead()

    def _decode_ahead(self) -> None:
        weight = sum(image.weight for image, _ in self._decoding.values())
        while self._expected and len(self._decoding) < IMAGES_AHEAD:
            image = self._expected[0]
            if weight + image.weight > PIXELS_AHEAD:
                return
            self._decoding[image.key] = image, self._threads.submit(self._decode, self._expected.popleft())
            weight += image.weight

    def _decode(self, image: StoredImage) -> Image:
        return load_image(self.folder.read(image.row))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def content_key(data: bytes) -> str:
    """The digest that identifies a content: 32 hexadecimal digits."""
    digest = _digest()
    digest.update(data)
    return digest.hexdigest()


def _digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def read_names(path: Path) -> dict[str, str]:
    """Read a mapping file: a JSON object image id -> path, or a CSV or TSV file with the two columns id and path."""
    if begins_with_brace(path):
        try:
            names = parse_json(read_text(path), json_limit(path))
        except ValueError as error:
            raise InputError(f"the image mapping {str(path)!r} is not JSON: {error}; correct it") from error
        if not all(isinstance(name, str) for name in names.values()):
            raise InputError(
                f"expected a JSON object, image id -> path, in {str(path)!r}, got something else; correct the file"
            )
        return names
    try:
        return {cells[0]: cells[1] for _, cells in read_table(path) if cells}
    except IndexError as error:
        raise InputError(f"expected two columns, image id and path, in every line of {str(path)!r}") from error


def _filled(pattern: str, image: str) -> str | None:
    """The pattern with the id inserted; None where the pattern needs a number and the id is not one."""
    place = _FIELD.search(pattern)
    if place is None or place.group(1) is None:
        return pattern.replace("{id}", image)
    if not (image.isascii() and image.isdigit()):
        return None
    return _FIELD.sub(lambda m: image.zfill(int(m.group(1) or 0)), pattern)


def _existing(root: Path, names: list[str], image: str) -> Path:
    for name in names:
        path = resolve_inside(root, name)
        try:
            if path.exists():
                return path
        except OSError:  # the name is too long for the file system
            continue
    tried = names[0] if len(names) == 1 else f"{len(names)} usual names"
    raise ImageError(f"no image for {image!r} in {str(root)!r} (tried {tried}); check --images or --image-pattern")
