"""Boxes that grounded models write into their answers, read as geometry beside the words they stand for.

    Kosmos-2     <phrase>a dog</phrase><object><patch_index_0044><patch_index_0863></object>      32 x 32 grid
    Shikra       a dog[0.120,0.250,0.480,0.910] and [0.1,0.2,0.3,0.4;0.5,0.6,0.7,0.8]             fractions
    Qwen-VL      <ref>a dog</ref><box>(120,250),(480,910)</box>                                   of 1000
    InternVL     <ref>a dog</ref><box>[[120, 250, 480, 910]]</box>                                of 1000
    Florence-2   a dog<loc_120><loc_250><loc_480><loc_910>                                        bins of 1000

The markup is taken out before the text is parsed and belongs to the words it is written beside: it goes when they go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from halluguard.records import XYXY

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_FOUR = ",".join([_NUMBER] * 4)
_PATTERNS = {
    "kosmos": re.compile(r"<object>(?:<patch_index_\d{4}>|</delimiter_of_multi_objects/>)+</object>"),
    "thousand": re.compile(
        rf"<box>(?:\(\s*\d+\s*,\s*\d+\s*\)\s*,?\s*)+</box>|<box>\s*\[(?:\[{_FOUR}\],?\s*)+\]\s*</box>"
    ),
    "florence": re.compile(r"(?:(?:<loc_\d+>){4})+"),
    "shikra": re.compile(r"\s?\[(?:[01]?\.\d+|[01])(?:\s*[,;]\s*(?:[01]?\.\d+|[01])){3,}\]"),
}
_TAGS = re.compile(r"</?(?:phrase|ref|grounding|p)>|<\|(?:object_ref|box)_(?:start|end)\|>")
_KOSMOS_SIDE = 32


@dataclass(frozen=True, slots=True)
class Written:
    """Markup at characters start..end of the text; `boxes` as fractions of width and height, empty for mere tags.

    Opening tags belong to the word after them, everything else to the word before.
    """

    start: int
    end: int
    boxes: tuple[XYXY, ...] = ()
    opening: bool = False


def find(text: str) -> list[Written]:
    """All markup of a text, in reading order.

    >>> find("a dog<loc_100><loc_200><loc_300><loc_400>")[0].boxes
    ((0.1, 0.2, 0.3, 0.4),)
    """
    if "<" not in text and "[" not in text:
        return []
    groups = [
        Written(match.start(), match.end(), _boxes(kind, match.group()))
        for kind, pattern in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    taken = [(w.start, w.end) for w in groups]
    for match in _TAGS.finditer(text):
        if not any(a <= match.start() < b for a, b in taken):
            opening = not match.group().startswith("</") and "end" not in match.group()
            groups.append(Written(match.start(), match.end(), opening=opening))
    return sorted((w for w in groups if w.boxes or _TAGS.match(text, w.start)), key=lambda w: w.start)


def _boxes(kind: str, markup: str) -> tuple[XYXY, ...]:
    if kind == "kosmos":
        corners = [int(n) for n in re.findall(r"patch_index_(\d{4})", markup)]
        return tuple(_patches(a, b) for a, b in zip(corners[::2], corners[1::2], strict=False))
    values = [float(n) for n in re.findall(r"\d*\.\d+|\d+", markup)]
    scale = 1.0 if kind == "shikra" else 1000.0
    fours = [values[i : i + 4] for i in range(0, len(values) - 3, 4)]
    return tuple(_ordered(*(min(1.0, v / scale) for v in four)) for four in fours)


def _patches(first: int, last: int) -> XYXY:
    """The box from the upper left corner of one grid cell to the lower right corner of another."""
    (y1, x1), (y2, x2) = divmod(first, _KOSMOS_SIDE), divmod(last, _KOSMOS_SIDE)
    return _ordered(*(v / _KOSMOS_SIDE for v in (x1, y1, x2 + 1, y2 + 1)))


def _ordered(x1: float, y1: float, x2: float, y2: float) -> XYXY:
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def without(text: str, found: list[Written]) -> tuple[str, list[int]]:
    """The text without its markup, and for each character that is left its place in the original."""
    kept, origin, at = list[str](), list[int](), 0
    for written in [*found, Written(len(text), len(text))]:
        start = max(at, written.start)
        if at < start and kept and kept[-1][-1:].isalnum() and text[at].isalnum():
            kept.append("\n\n")  # "dog<loc_1>...cat<loc_2>...": two things, not one word
            origin += [at - 1] * 2
        kept.append(text[at:start])
        origin += range(at, start)
        at = max(at, written.end)
    return "".join(kept), origin
