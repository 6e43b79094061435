"""From what a row says of its image to the image: by path, by id and pattern, or by a mapping file; never outside.

A picture is known by its content: two names for the same bytes are one picture, and a name whose bytes changed is
another.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halluguard.auditing.caption_rows import Row
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.images import resolve_inside
from halluguard.io import read_text

MAX_BYTES = 512 * 1024 * 1024
"""The largest image file that is read."""

# How data sets name the picture of an id. The first pattern with a file is taken.
PATTERNS = (
    *("{id}", "{id}.jpg", "{id}.png", "{id}.jpeg", "{id}.webp", "{id:012d}.jpg"),
    *("COCO_val2014_{id:012d}.jpg", "COCO_train2014_{id:012d}.jpg", "COCO_test2015_{id:012d}.jpg"),
)
_FIELD = re.compile(r"\{id(?::0?(\d*)d?)?\}")


@dataclass(frozen=True)
class ImageFolder:
    """Where the pictures are.

    Args:
        root: the folder; nothing outside it is ever read, links included.
        pattern: how a file is called, with the row's image in it: "COCO_val2014_{id:012d}.jpg". None tries `PATTERNS`.
        names: the row's image -> path under the root, in place of a pattern.
    """

    root: Path | None
    pattern: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.root is not None and not self.root.is_dir():
            raise InputError(f"expected a folder of images, got {str(self.root)!r}; check --images")
        if self.pattern is not None and not _FIELD.search(self.pattern):
            raise SettingsError(
                f"an image pattern has the image's id in it, like 'COCO_val2014_{{id:012d}}.jpg', got {self.pattern!r}"
            )

    def manifest(self) -> dict[str, Any]:
        """How files are found under the root; where the root lies makes no difference."""
        listed = json.dumps(sorted(self.names.items())).encode()
        return {"pattern": self.pattern, "names": content_key(listed) if self.names else None}

    def path(self, image: str) -> Path:
        """The file of a row's image.

        Raises:
            ImageError: there is none, or the name leads outside the folder.
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
        """The bytes of a row's picture, from the input itself or from its file.

        Raises:
            ImageError: missing, outside the folder, not a regular file, or larger than `MAX_BYTES`.
        """
        if row.image_bytes is not None:
            return row.image_bytes
        path = self.path(row.image)
        try:
            if not path.is_file():
                raise ImageError(
                    f"expected an image file, got a folder or device at {row.image!r}; name the file itself"
                )
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageError(
                f"cannot read the image {row.image!r}: {error.strerror or error}; check the file"
            ) from error
        if len(data) > MAX_BYTES:
            raise ImageError(f"expected an image of at most {MAX_BYTES:,} bytes, got a larger one: {row.image!r}")
        if not data:
            raise ImageError(f"expected an image, got an empty file: {row.image!r}")
        return data


def content_key(data: bytes) -> str:
    """What a picture is known by."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_names(path: Path) -> dict[str, str]:
    """A mapping file: a JSON object id -> path, or a CSV or TSV file with the two columns id and path."""
    text = read_text(path)
    if text.lstrip().startswith("{"):
        return {str(key): name for key, name in _json_object(text, path).items()}
    lines = csv.reader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",")
    try:
        return {cells[0]: cells[1] for cells in lines if cells}
    except IndexError as error:
        raise InputError(f"expected two columns, image id and path, in every line of {str(path)!r}") from error


def _json_object(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"the image mapping {str(path)!r} is not JSON: {error}; mend it") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(f"expected an object of image id -> path in {str(path)!r}; write it so")
    return found


def _filled(pattern: str, image: str) -> str | None:
    """The pattern with the id in it; None where it wants a number and the id is none."""
    wanted = _FIELD.search(pattern)
    if wanted is None or wanted.group(1) is None:
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
        except OSError:  # a name too long for the file system names no file
            continue
    tried = names[0] if len(names) == 1 else f"{len(names)} usual names"
    raise ImageError(f"no picture for {image!r} in {str(root)!r} (tried {tried}); check --images or --image-pattern")
