"""Find an image in a list that writes its id otherwise: as a COCO number or file name, with or without a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

_COCO = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?0*(\d+)(?:\.0|\.jpe?g|\.png)?", re.IGNORECASE)


def spellings(image: str) -> Iterator[str]:
    """Other ways to write an image's id, the most exact first.

    >>> list(spellings("val2014/COCO_val2014_000000000042.jpg"))
    ['COCO_val2014_000000000042.jpg', 'COCO_val2014_000000000042', '42']
    """
    path = PurePath(image.replace("\\", "/"))
    number = _COCO.fullmatch(path.name)
    names = (path.name, path.stem, number[1] if number else "")
    yield from dict.fromkeys(name for name in names if name and name != image)


class ImageIndex:
    """The images of a list. A spelling that fits two images finds neither; each is then found by its exact name."""

    def __init__(self, images: Iterable[str]) -> None:
        self._images = frozenset(images)
        self._other: dict[str, str | None] = {}
        for image in self._images:
            for name in spellings(image):
                self._other[name] = None if name in self._other else image

    def find(self, image: object) -> str | None:
        """The id under which an image is listed; None where it is not, or where two could be meant."""
        own = str(image)
        if own in self._images:
            return own
        for name in (own, *spellings(own)):
            listed = name if name in self._images and name != own else self._other.get(name)
            if listed is not None:
                return listed
        return None
