"""A second look at a higher resolution before anything is called absent.

Detectors shrink pictures to a fixed size, and a small thing can vanish there. Before a claim is contradicted the
picture is cut into four overlapping parts, and each is looked at alone; what shows up in one of them is "unsure", not
absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halluguard.records import Detector

LEAST = 512
"""Pixels of the longer side below which a picture has no detail that the first look missed."""
_SHARE = 0.6  # of a side that each part covers, so that a thing on the seam is whole in one of them


def worth_it(image: Any, detector: Detector) -> bool:
    """Whether the picture has more pixels than a first look uses, and is one (not a key)."""
    size = getattr(image, "size", None)
    return detector.needs_image and hasattr(image, "crop") and isinstance(size, tuple) and max(size) >= LEAST


def parts(image: Any) -> list[Any]:
    """The four overlapping corners of a picture (PIL)."""
    width, height = image.size
    w, h = round(_SHARE * width), round(_SHARE * height)
    return [
        image.crop((left, top, left + w, top + h)) for top in {0: 0, height - h: 0} for left in {0: 0, width - w: 0}
    ]


def look(image: Any, phrases: Sequence[str], detector: Detector) -> dict[str, float]:
    """phrase -> best score in any part; one call of the detector.

    Raises:
        Whatever the detector raises.
    """
    crops = parts(image)
    best = dict.fromkeys(phrases, 0.0)
    for boxes in detector.detect(crops, [list(phrases)] * len(crops)):
        for box in boxes:
            if box.phrase is not None and 0 <= box.phrase < len(phrases):
                phrase = phrases[box.phrase]
                best[phrase] = max(best[phrase], box.score)
    return best
