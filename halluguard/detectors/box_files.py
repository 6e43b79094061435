"""Boxes that another tool found, from its file: no picture is opened, no torch is needed.

    KnownBoxes.from_coco("results.json", "instances_val2014.json")    COCO results, xywh, by id or file name
    KnownBoxes.from_rows("boxes.csv")                                 one box a line: CSV, TSV or JSON lines

An image that the file does not list is not an image without objects: asking for it is an error, and what is claimed of
it unverifiable. Images are listed by the COCO file's `images`, by a row of their own without a box, or by having boxes.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Self

from halluguard.boxes import clip, from_xywh
from halluguard.detectors.labels import NO_LABELS, Labels
from halluguard.errors import ExpertError, InputError
from halluguard.records import Box
from halluguard.vocabulary import COCO

# COCO's 80 categories have ids up to 90; these ten are not used.
_UNUSED = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
COCO_IDS = dict(zip((i for i in range(1, 91) if i not in _UNUSED), COCO, strict=True))
"""COCO category id -> name, for results files that come without their annotations."""

COLUMNS = {
    "image": ("image", "image_id", "file_name", "filename", "image_path", "path"),
    "label": ("label", "class_name", "name", "category", "category_name", "class"),
    "score": ("score", "confidence", "conf", "probability"),
    "x1": ("x1", "x_min", "xmin", "left"),
    "y1": ("y1", "y_min", "ymin", "top"),
    "x2": ("x2", "x_max", "xmax", "right"),
    "y2": ("y2", "y_max", "ymax", "bottom"),
    "w": ("w", "width"),
    "h": ("h", "height"),
    "box": ("xyxy", "box", "bbox"),
}
"""Column names that are understood (those of supervision, torchvision, pandas exports and our own)."""

ROUNDING = 2.0
"""Pixels by which a box may leave its picture, and is then clipped: tools round."""


class KnownBoxes:
    """Boxes per image, from ground truth or another tool.

    Args:
        boxes: image -> its boxes; an image without objects has an empty list. Images are compared as strings, and a
            name finds its file name without folder and ending too, where that means one image.
        labels: every label that the tool could have used; default those in the boxes. What is not among them is not
            covered.
        name: how the expert signs its verdicts.
        thresholds: (high, low); fits scores of 1 by default, pass the tool's own for scored boxes.

    >>> expert = KnownBoxes({"a.jpg": [Box("bus", 0.9, (0, 0, 50, 40))]}, labels=["bus", "dog"])
    >>> expert.covers("dog"), expert.covers("unicorn"), expert.detect(["a.jpg"], [["buses", "dog"]])[0][0].phrase
    (True, False, 0)
    """

    needs_image = False

    def __init__(
        self,
        boxes: Mapping[Any, Sequence[Box]],
        *,
        labels: Iterable[str] | None = None,
        name: str = "precomputed",
        thresholds: tuple[float, float] = (0.35, 0.2),
    ) -> None:
        self.name, self.thresholds = name, thresholds
        self._boxes = {str(image): tuple(found) for image, found in boxes.items()}
        used = {box.label for found in self._boxes.values() for box in found}
        self.labels = Labels(used if labels is None else {*labels, *used})
        self._short: dict[str, str | None] = {}
        for image in self._boxes:
            for short in {PurePath(image).name, PurePath(image).stem} - {image}:
                self._short[short] = None if short in self._short else image

    @classmethod
    def from_coco(
        cls, results: str | Path, annotations: str | Path | None = None, *, name: str | None = None, **options: Any
    ) -> Self:
        """A COCO results file, [{"image_id", "category_id", "bbox": [x, y, w, h], "score"}].

        Args:
            results: the file, plain or gzipped; may be an annotations file itself (its boxes score 1).
            annotations: a COCO file with `images` and `categories`: it lists the images (those without results have no
                objects), gives file names and sizes (boxes are checked against them) and the names of the categories.
                Without it, categories are COCO's 80, and only images with a result are listed.
            name: default "coco:FILE".
            options: the arguments of the class.

        Raises:
            InputError: the file is not such a file, or a row is wrong; the message names it.
        """
        found, notes = _json(Path(results)), _json(Path(annotations)) if annotations else {}
        if isinstance(found, Mapping) and "annotations" in found:
            notes = notes or found
            found = [{"score": 1.0, **row} for row in found["annotations"]]
        if not isinstance(found, list) or not isinstance(notes, Mapping):
            raise InputError(
                f"expected a COCO results file, a list of image_id, category_id, bbox, score, in {str(results)!r}, "
                f"got {type(found).__name__}; the annotations file goes second"
            )
        names = {row["id"]: str(row["name"]) for row in notes.get("categories", ())} or COCO_IDS
        listed = {str(row["id"]): row for row in notes.get("images", ())}
        boxes: dict[str, list[Box]] = {image: [] for image in listed}
        for i, row in enumerate(found):
            where = f"result {i} of {str(results)!r}"
            image, label = _field(row, "image_id", where), _field(row, "category_id", where)
            if label not in names:
                raise InputError(
                    f"{where} has the category {label!r}, which is not among the {len(names)} known; add it"
                )
            if listed and str(image) not in listed:
                raise InputError(
                    f"{where} is of image {image!r}, which the annotations do not list; use matching files"
                )
            x, y, w, h = _numbers(_field(row, "bbox", where), 4, where)
            size = _size_of(listed.get(str(image), {}))
            box = _checked(names[label], row.get("score"), from_xywh(x, y, w, h), size, where, written=(x, y, w, h))
            boxes.setdefault(str(image), []).append(box)
        for image, row in listed.items():  # a picture may be asked for by id or by file name
            if row.get("file_name"):
                boxes.setdefault(str(row["file_name"]), boxes[image])
        options.setdefault("labels", names.values())
        return cls(boxes, name=name or f"coco:{Path(results).name}", **options)

    @classmethod
    def from_rows(
        cls, path: str | Path, *, normalised: bool = False, sizes: Mapping[str, tuple[int, int]] | None = None,
        name: str | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """One box a line: CSV or TSV with a header, or JSON lines; columns as in `COLUMNS`.

        A box is x1, y1, x2, y2, or x1, y1, w, h, or a list x1 y1 x2 y2 in one column. A line with an image and nothing
        else lists an image without objects. A missing score is 1.

        Args:
            normalised: coordinates are fractions of the picture, and `sizes` gives image -> (width, height).
            sizes: boxes are checked against them.
            options: the arguments of the class.

        Raises:
            InputError: a column is missing or a row is wrong; the message names the row.
        """
        boxes: dict[str, list[Box]] = {}
        for i, raw in enumerate(_rows(Path(path))):
            where = f"row {i + 1} of {str(path)!r}"
            row = _understood(raw)
            image = str(_field(row, "image", where))
            found = boxes.setdefault(image, [])
            if not any(row.get(key) not in (None, "") for key in ("label", "box", "x1")):
                continue
            size = (sizes or {}).get(image)
            if normalised and size is None:
                raise InputError(f"{where} is in fractions of a picture whose size is not known; give sizes[{image!r}]")
            xyxy = _corners(row, where)
            if normalised and size is not None:
                xyxy = (xyxy[0] * size[0], xyxy[1] * size[1], xyxy[2] * size[0], xyxy[3] * size[1])
            found.append(_checked(str(_field(row, "label", where)), row.get("score"), xyxy, size, where))
        return cls(boxes, name=name or f"boxes:{Path(path).name}", **options)

    def covers(self, phrase: str) -> bool:
        """Whether one of the labels means the phrase."""
        return self.labels.covers(phrase)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """The boxes whose label is what a phrase names, or a kind of it.

        Args:
            images: B ids or file names.
            phrases: B lists of phrases.

        Raises:
            ExpertError: an image is not listed.
        """
        return [
            [
                Box(label=box.label, score=box.score, xyxy=box.xyxy, phrase=i)
                for i, phrase in enumerate(row)
                for box in self._of(image)
                if self.labels.speaks(box.label, phrase)
            ]
            for image, row in zip(images, phrases, strict=True)
        ]

    def _of(self, image: Any) -> tuple[Box, ...]:
        key = str(image)
        for name in (key, PurePath(key).name, PurePath(key).stem):
            found = name if name in self._boxes else self._short.get(name)
            if found is not None:
                return self._boxes[found]
        raise ExpertError(
            f"{self.name} lists {len(self._boxes)} images, {image!r} is not among them; "
            "list it (without boxes, if it has none) or leave it out"
        )


def _checked(
    label: str,
    score: Any,
    xyxy: tuple[float, ...],
    size: tuple[int, int] | None,
    where: str,
    written: tuple[float, ...] | None = None,
) -> Box:
    """A box that can be true, clipped to its picture; the message says what is wrong with another."""
    if label.lower().strip() in NO_LABELS:
        raise InputError(f"{where} has no label, got {label!r}; name what was found, or leave the row out")
    try:
        confidence = 1.0 if score in (None, "") else float(score)
    except (TypeError, ValueError):
        confidence = math.nan
    if not 0.0 <= confidence <= 1.0:
        raise InputError(f"{where} must have a score in [0, 1], got {score!r}; rescale it first")
    shown = list(written or xyxy)
    if not all(map(math.isfinite, xyxy)):
        raise InputError(f"{where} must have finite coordinates, got {shown}; leave the row out")
    x1, y1, x2, y2 = xyxy
    if x2 <= x1 or y2 <= y1:
        expected = "a positive width and height" if written else "x1 < x2 and y1 < y2"
        raise InputError(f"{where} must have {expected}, got {shown}; is it x, y, w, h or x1, y1, x2, y2?")
    most = (math.inf, math.inf) if size is None else size
    if x1 < -ROUNDING or y1 < -ROUNDING or x2 > most[0] + ROUNDING or y2 > most[1] + ROUNDING:
        of = "" if size is None else f" of {size[0]} x {size[1]}"
        raise InputError(f"{where} must lie in its picture{of}, got {shown}; is it x, y, w, h or x1, y1, x2, y2?")
    return Box(label, confidence, clip((x1, y1, x2, y2), most))


def _corners(row: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    if row.get("box") not in (None, ""):
        box = row["box"]
        if isinstance(box, str):
            box = box.strip("[]() ").replace(",", " ").split()
        a, b, c, d = _numbers(box, 4, where)
        return a, b, c, d
    a, b = _numbers([_field(row, "x1", where), _field(row, "y1", where)], 2, where)
    if row.get("x2") not in (None, ""):
        c, d = _numbers([_field(row, "x2", where), _field(row, "y2", where)], 2, where)
        return a, b, c, d
    w, h = _numbers([_field(row, "w", where), _field(row, "h", where)], 2, where)
    return from_xywh(a, b, w, h)


def _numbers(values: Any, count: int, where: str) -> list[float]:
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != count:
        raise InputError(f"{where} must have {count} numbers for its box, got {values!r}")
    return found


def _field(row: Any, key: str, where: str) -> Any:
    value = row.get(key) if isinstance(row, Mapping) else None
    if value in (None, ""):
        known = f"; columns understood: {', '.join(COLUMNS[key])}" if key in COLUMNS else ""
        raise InputError(f"{where} has no {key}, got {row!r}{known}")
    return value


def _size_of(row: Mapping[str, Any]) -> tuple[int, int] | None:
    return (int(row["width"]), int(row["height"])) if "width" in row and "height" in row else None


def _understood(raw: Mapping[str, Any]) -> dict[str, Any]:
    lower = {str(key).strip().lower(): value for key, value in raw.items() if key is not None}
    return {
        key: next((lower[name] for name in names if lower.get(name) not in (None, "")), None)
        for key, names in COLUMNS.items()
    }


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}; check the file") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is not JSON: {error}; check the file") from error


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    text = _text(path)
    if text.lstrip().startswith("{"):
        for i, line in enumerate(text.splitlines()):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InputError(f"line {i + 1} of {str(path)!r} is not JSON: {error}; mend it") from error
                yield row
    else:
        header = text.partition("\n")[0]
        yield from csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in header else ",")
