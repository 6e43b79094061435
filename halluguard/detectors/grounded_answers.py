"""Read the boxes and points that a model writes into its answer, in the form of its official code.

    Florence-2   dog<loc_52><loc_332><loc_932><loc_774>                corners in bins of 1000; a bin's middle counts
    Qwen3-VL     [{"bbox_2d": [52, 332, 932, 774], "label": "dog"}]    corners in thousandths of width and height
    Molmo2       <points coords="1 1 512 340 2 080 077">dog</points>   image number, then (number, x, y) in thousandths

Anything else gives no boxes: answers are text, and text may be broken off, quoted wrongly or contain other numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from halluguard.records import XYXY

LONGEST = 100_000
"""Characters of an answer that are read."""
POINT_SIDE = 0.02
"""Side of the square around a point, as a share of the image's shorter side."""


@dataclass(frozen=True, slots=True)
class Place:
    """A box in an answer.

    Args:
        start, end: the characters that write it.
        xyxy: corners in pixels of the image.
        label: the name written beside it, which may be empty.
    """

    start: int
    end: int
    xyxy: XYXY
    label: str = ""


_LOCATIONS = re.compile(r"(?:<loc_\d{1,4}>(?:</?s>|<pad>)*)+")
_LOCATION = re.compile(r"<loc_(\d{1,4})>")
_BINS = 1000


def florence(text: str, size: tuple[int, int]) -> list[Place]:
    """The boxes of a Florence-2 answer; a polygon counts as the box around it.

    As in transformers' `Florence2Processor.post_process_generation`, a name may have several boxes, coordinates are the
    middles of bins, cut to whole pixels, and locations without a name before them are left out.

    >>> florence("dog<loc_0><loc_0><loc_499><loc_999>", (100, 50))[0].xyxy
    (0.0, 0.0, 49.0, 49.0)
    """
    text = text[:LONGEST]
    polygons = "<poly>" in text
    places: list[Place] = []
    label = ""
    before = 0
    for run in _LOCATIONS.finditer(text):
        between = re.sub(r"</?[a-z]+>", "", text[before : run.start()]).strip()
        label = between or (label if polygons else "")
        before = run.end()
        bins = list(_LOCATION.finditer(text, run.start(), run.end()))
        if not label or len(bins) < 4:
            continue
        step = len(bins) - len(bins) % 2 if polygons else 4
        for i in range(0, len(bins) - step + 1, step):
            part = bins[i : i + step]
            bins_of = [min(int(one[1]), _BINS - 1) for one in part]
            xs = [_pixel(value, size[0]) for value in bins_of[::2]]
            ys = [_pixel(value, size[1]) for value in bins_of[1::2]]
            around = (min(xs), min(ys), max(xs), max(ys)) if polygons else (xs[0], ys[0], xs[1], ys[1])
            places.append(Place(part[0].start(), part[-1].end(), around, label))
    return places


def _pixel(of: int, side: int) -> float:
    """The middle of a bin in whole pixels, in single precision as transformers computes it."""
    return float(int(np.float32(of + 0.5) * np.float32(side / _BINS)))


_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_FOUR = re.compile(rf"[\[(]{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}[\])]")
_TWO = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}[\])]")
_KEY = re.compile(r"""["']?\b(bbox_2d|bbox|box_2d|point_2d)["']?\s*:\s*([\[(][\s\d.,()\[\]-]{1,5000})""")
_LABEL = re.compile(r"""["']?\blabel["']?\s*:\s*(?:"([^"\n]{0,200})"|'([^'\n]{0,200})')""")


def thousandths(text: str, size: tuple[int, int]) -> list[Place]:
    """The boxes of a Qwen3-VL answer, in JSON or nearly: fenced, broken off, or quoted in another way.

    Corners in the wrong order are swapped, as the official cookbook does; a point (`point_2d`) becomes a small square.

    >>> thousandths('[{"bbox_2d": [100, 0, 500, 1000], "label": "dog"}, {"bbox_2d": [1, 2', (200, 100))
    [Place(start=13, end=32, xyxy=(20.0, 0.0, 100.0, 100.0), label='dog')]
    """
    text = text[:LONGEST]
    places = []
    for key in _KEY.finditer(text):
        label = _label_around(text, key.start(), key.end())
        point = key[1] == "point_2d"
        for match in (_TWO if point else _FOUR).finditer(text, key.start(2), key.end(2)):
            values = [float(value) / 1000 for value in match.groups()]
            if not all(0.0 <= value <= 1.0 for value in values):
                continue
            if point:
                places.append(Place(match.start(), match.end(), _square(values[0], values[1], size), label))
                continue
            x1, x2 = sorted((values[0] * size[0], values[2] * size[0]))
            y1, y2 = sorted((values[1] * size[1], values[3] * size[1]))
            if x2 > x1 and y2 > y1:
                places.append(Place(match.start(), match.end(), (x1, y1, x2, y2), label))
    return places


def _label_around(text: str, start: int, end: int) -> str:
    """The label in the JSON object around some characters."""
    first = text.rfind("{", max(0, start - 1000), start) + 1
    last = text.find("}", end, end + 1000)
    match = _LABEL.search(text, first or start, last if last >= 0 else min(len(text), end + 1000))
    return (match[1] or match[2] or "") if match else ""


_POINTS = re.compile(
    r"""<points?\b[^<>"']{0,200}\bcoords=["']([\d\t:;,. ]{1,5000})["'][^<>]{0,200}>(?:([^<>]{0,200})<)?"""
)
_PART = re.compile(r"[^\t:;,]+")
_TRIPLE = re.compile(r"(\d{1,5}) (\d{3,4}) (\d{3,4})(?!\d)")


def points(text: str, size: tuple[int, int]) -> list[Place]:
    """The points of a Molmo2 answer, as small squares; points outside the image are left out.

    >>> [place.label for place in points('<points coords="1 1 512 340 2 080 077">dogs</points>', (1000, 1000))]
    ['dogs', 'dogs']
    """
    text = text[:LONGEST]
    places = []
    for tag in _POINTS.finditer(text):
        for part in _PART.finditer(text, tag.start(1), tag.end(1)):
            number = re.match(r"\s*[\d.]+ ", part[0])  # the number of the image
            if number is None:
                continue
            for triple in _triples(text, part.start() + number.end(), part.end()):
                x, y = int(triple[2]) / 1000, int(triple[3]) / 1000
                if x <= 1 and y <= 1:
                    label = (tag[2] or "").strip()
                    places.append(Place(triple.start(), triple.end(), _square(x, y, size), label))
    return places


def _triples(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """Number, x and y, one after another; it ends where the text has another form."""
    while match := _TRIPLE.match(text, start, end):
        yield match
        start = match.end() + 1


def _square(x: float, y: float, size: tuple[int, int]) -> XYXY:
    """The square around a point at fractions of width and height, inside the image."""
    width, height = size
    half = POINT_SIDE * min(size) / 2
    cx = min(max(x * width, half), width - half)
    cy = min(max(y * height, half), height - half)
    return (cx - half, cy - half, cx + half, cy + half)
