"""A second look at a higher resolution before anything is called absent.

Detectors shrink images to a fixed size, and a small object can vanish there. Before a claim is contradicted, the image
is cut into four overlapping parts and each is searched alone; what shows up in one of them is "unsure", not absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from halluguard.records import Detector

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SIDE = 512
"""Pixels of the longer side below which an image has no detail that the first look missed."""
_PART = 0.6
"""Share of each side that a part covers; an object on a seam is then whole in one of the parts."""


def has_more_detail(image: object, detector: Detector) -> bool:
    """Whether a second look can show more: the image is at hand, and larger than what a first look uses."""
    size = size_of(image)
    return detector.needs_image and size is not None and max(size) >= MIN_SIDE


def size_of(image: object) -> tuple[int, int] | None:
    """Width and height of a PIL image in pixels; None for a key."""
    return getattr(image, "size", None) if hasattr(image, "crop") else None


def parts(image: Image) -> list[Image]:
    """The four overlapping corners of an image."""
    width, height = image.size
    w, h = round(_PART * width), round(_PART * height)
    return [
        image.crop((left, top, left + w, top + h)) for top in {0: 0, height - h: 0} for left in {0: 0, width - w: 0}
    ]


def second_look_scores(image: Image, phrases: Sequence[str], detector: Detector) -> dict[str, float]:
    """phrase -> best score in any part, from one call of the detector.

    Raises:
        Exception: whatever the detector raises.
    """
    crops = parts(image)
    best = dict.fromkeys(phrases, 0.0)
    for boxes in detector.detect(crops, [list(phrases)] * len(crops)):
        for box in boxes:
            if box.phrase is not None and 0 <= box.phrase < len(phrases):
                phrase = phrases[box.phrase]
                best[phrase] = max(best[phrase], box.score)
    return best
