"""Read boxes that another tool found, or ground truth; no image is opened, no torch is needed.

    KnownBoxes.from_coco("results.json", "instances_val2014.json")    COCO results, xywh, by id or file name
    KnownBoxes.from_rows("boxes.csv")                                 one box per row, and other tools' formats
    KnownBoxes.from_file("boxes")                                     any of them, recognised by its content

An image that the file does not list may still hold objects: a query for it raises an error, and claims about it are
unverifiable. An image is listed if it has boxes, a row without a box, or an entry in the COCO file's `images`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from halluguard.boxes import clip, from_xywh
from halluguard.detectors.box_formats import SIZE, is_coco, read_rows
from halluguard.detectors.image_ids import ImageIndex
from halluguard.detectors.labels import NO_LABELS, Labels, meaning
from halluguard.errors import ExpertError, InputError, UnlistedImageError
from halluguard.io import JsonObject, read_json
from halluguard.records import XYXY, Box, ImageOrKey
from halluguard.reliability import Rates, Stated, assumed_recall
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
    "cx": ("cx", "x_center", "xcenter", "center_x"),
    "cy": ("cy", "y_center", "ycenter", "center_y"),
    "box": ("xyxy", "box", "bbox"),
    "size": (SIZE,),
}
"""Field -> column names: those of supervision, torchvision, pandas exports and our own."""

ROUNDING = 2.0
"""Pixels by which a box may leave its image, because tools round; it is clipped."""


class KnownBoxes:
    """A detector that knows the boxes of each image, from ground truth or another tool.

    Args:
        boxes: image -> its boxes, an empty list for an image without objects. Images are compared as strings; a file
            name is found without its folder and suffix too, where that is unambiguous.
        labels: all labels that the tool could have used; default those of the boxes. Other phrases are not covered.
        name: name in verdicts.
        thresholds: (high, low). The default fits scores of 1; give the tool's own for scored boxes.
        recall: share of the objects in an image that the tool finds, in [0, 1], for all labels or per label. Default: 1
            where all scores are 1, as in ground truth; else what is assumed of a detector
            (`reliability.assumed_recall`).
        precision: share of the found objects that are in the image, in the same form. Default 1.

    Attributes:
        skipped: boxes of a file that were left out because they have no width or no height.
        sizes: image -> width and height in pixels on which its boxes were made, where the file tells them.

    >>> detector = KnownBoxes({"a.jpg": [Box("bus", 0.9, (0, 0, 50, 40))]}, labels=["bus", "dog"])
    >>> detector.covers("dog"), detector.covers("unicorn"), detector.detect(["a.jpg"], [["buses", "dog"]])[0][0].phrase
    (True, False, 0)
    """

    needs_image = False
    fingerprint: str | None = None
    """Identifies the contents in a cache; None if the name already does."""

    def __init__(
        self,
        boxes: Mapping[ImageOrKey, Sequence[Box]],
        *,
        labels: Iterable[str] | None = None,
        name: str = "precomputed",
        thresholds: tuple[float, float] = (0.35, 0.2),
        recall: Stated | None = None,
        precision: Stated | None = None,
    ) -> None:
        self.name, self.thresholds = name, thresholds
        certain = all(box.score == 1.0 for row in boxes.values() for box in row)
        self.recall = assumed_recall() if recall is None and not certain else Rates.of_value(recall)
        self.precision = Rates.of_value(precision)
        self._boxes = {str(image): tuple(row) for image, row in boxes.items()}
        used = {box.label for row in self._boxes.values() for box in row}
        self.labels = Labels(used if labels is None else {*labels, *used})
        self.skipped: tuple[str, ...] = ()
        self.sizes: dict[str, tuple[int, int]] = {}
        self._index = ImageIndex(self._boxes)

    @classmethod
    def from_file(
        cls, path: str | Path, annotations: str | Path | None = None, *, name: str | None = None, **options: Any
    ) -> Self:
        """Boxes of any format that is understood, recognised by its content; see `from_coco` and `from_rows`.

        Raises:
            InputError: the format is another; the message says what is expected.
        """
        file = Path(path)
        suffixes = [suffix.lower() for suffix in file.suffixes if suffix != ".gz"]
        as_json = file.is_file() and suffixes[-1:] not in ([".csv"], [".tsv"], [".jsonl"], [".xml"], [".txt"])
        if annotations or (as_json and is_coco(read_json(file))):
            return cls.from_coco(path, annotations, name=name, **options)
        return cls.from_rows(path, name=name, **options)

    @classmethod
    def from_coco(
        cls, results: str | Path, annotations: str | Path | None = None, *, name: str | None = None, **options: Any
    ) -> Self:
        """A COCO results file, [{"image_id", "category_id", "bbox": [x, y, w, h], "score"}].

        Args:
            results: the results file; or an annotations file, whose boxes get score 1.
            annotations: a COCO file with `images` and `categories`. It lists the images (those without results have no
                objects), their file names and sizes (boxes are checked against them) and the names of the categories.
                Without it, the categories are COCO's 80 and only images with a result are listed.
            name: name in verdicts; default "coco:FILE".
            options: arguments of the class.

        Raises:
            InputError: the file has another form, or a row is wrong; the message names the row.
        """
        rows, notes = _read_coco(results, annotations)
        names = _coco_names(_listed(notes, "categories", annotations or results))
        listed = {
            _id(row, "id", f"image {i}"): row for i, row in enumerate(_listed(notes, "images", annotations or results))
        }
        boxes: dict[str, list[Box]] = {image: [] for image in listed}
        skipped: list[str] = []
        for i, row in enumerate(rows):
            where = f"result {i} of {str(results)!r}"
            image, label = _id(row, "image_id", where), _id(row, "category_id", where)
            if label not in names:
                raise InputError(
                    f"{where} has the category {row['category_id']!r}, not among the {len(names)} known; "
                    "add it to the annotations"
                )
            if listed and image not in listed:
                raise InputError(
                    f"{where} is of image {row['image_id']!r}, which the annotations do not list; use matching files"
                )
            x, y, w, h = _numbers(_field(row, "bbox", where), 4, where)
            size = _size_of(listed.get(image, {}), where)
            of_image = boxes.setdefault(image, [])
            if w == 0 or h == 0:
                skipped.append(f"{where} has no extent: {[x, y, w, h]}")
                continue
            of_image.append(
                _checked(names[label], row.get("score"), from_xywh(x, y, w, h), size, where, xywh=(x, y, w, h))
            )
        for image, row in listed.items():  # an image may be asked for by id or by file name
            if row.get("file_name"):
                boxes.setdefault(str(row["file_name"]), boxes[image])
        known = cls(boxes, name=name or f"coco:{Path(results).name}", **{"labels": names.values(), **options})
        known.skipped = tuple(skipped)
        for image, row in listed.items():
            size = _size_of(row, f"image {image!r}")
            if size is not None:
                known.sizes |= {image: size, str(row.get("file_name") or image): size}
        return known

    @classmethod
    def from_rows(
        cls, path: str | Path, *, normalised: bool = False, sizes: Mapping[str, tuple[int, int]] | None = None,
        name: str | None = None, **options: Any,
    ) -> Self:  # fmt: skip
        """One box per row (CSV or TSV with a header, JSON, JSON Lines), columns as in `COLUMNS`; or another format.

        A box is x1, y1, x2, y2, or x1, y1, w, h, or cx, cy, w, h (the centre), or a list x1 y1 x2 y2 (or an object) in
        one column. A row with nothing but an image lists an image without objects. A missing score is 1. Boxes without
        width or height are left out and kept in `skipped`. `box_formats` lists the formats of other tools.

        Args:
            path: the file.
            normalised: True for coordinates as fractions of the image; `sizes` is then needed.
            sizes: image -> (width, height) in pixels; boxes are checked against it.
            name: name in verdicts; default "boxes:FILE".
            options: arguments of the class.

        Raises:
            InputError: a column is missing or a row is wrong; the message names the row.
        """
        boxes: dict[str, list[Box]] = {}
        skipped: list[str] = []
        known_sizes: dict[str, tuple[int, int]] = {}
        for where, raw in read_rows(path):
            row = _by_field(raw, where)
            image = str(_field(row, "image", where))
            of_image = boxes.setdefault(image, [])
            if not any(row.get(key) not in (None, "") for key in ("label", "box", "x1", "cx")):
                continue
            size = (sizes or {}).get(image) or _own_size(row, where)
            if size is not None:
                known_sizes[image] = size
            if normalised and size is None:
                raise InputError(f"{where} has fractions of an image whose size is not known; give sizes[{image!r}]")
            xyxy = _corners(row, where)
            if normalised and size is not None:
                xyxy = (xyxy[0] * size[0], xyxy[1] * size[1], xyxy[2] * size[0], xyxy[3] * size[1])
            elif all(0 <= value <= 1 for value in xyxy):
                raise InputError(
                    f"{where} must have a box in pixels, got fractions of the image {list(xyxy)}; multiply them by its "
                    "width and height (in Python: normalised=True and sizes=)"
                )
            if xyxy[0] == xyxy[2] or xyxy[1] == xyxy[3]:
                skipped.append(f"{where} has no extent: {list(xyxy)}")
                continue
            of_image.append(_checked(str(_field(row, "label", where)), row.get("score"), xyxy, size, where))
        known = cls(boxes, name=name or f"boxes:{Path(path).name}", **options)
        known.skipped, known.sizes = tuple(skipped), known_sizes
        return known

    def covers(self, phrase: str) -> bool:
        """Whether one of the labels means the phrase."""
        return self.labels.covers(phrase)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all labels that the tool could have used, sorted."""
        return tuple(sorted(self.labels.names))

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """The boxes whose label is what a phrase names, or a kind of it; images are ids or file names.

        Raises:
            UnlistedImageError: an image is not listed.
        """
        return [
            [
                Box(label=box.label, score=self.labels.certainty(box), xyxy=box.xyxy, phrase=i)
                for i, phrase in enumerate(row)
                for box in self._of(image)
                if self.labels.answers(box.label, phrase)
            ]
            for image, row in zip(images, phrases, strict=True)
        ]

    def size_of(self, image: ImageOrKey) -> tuple[int, int] | None:
        """Width and height in pixels on which the boxes of an image were made; None where the file does not tell."""
        return self.sizes.get(self._index.find(image) or "")

    def _of(self, image: ImageOrKey) -> tuple[Box, ...]:
        listed = self._index.find(image)
        if listed is not None:
            return _readable(self._boxes[listed], image, self.name)
        known = next(iter(self._boxes), None)
        raise UnlistedImageError(
            f"{self.name} lists {len(self._boxes)} images, such as {known!r}, and {image!r} is not among them; "
            "list it (without boxes, if it has none) or leave it out"
        )


def _read_coco(results: str | Path, annotations: str | Path | None) -> tuple[list[Any], Mapping[str, Any]]:
    """The results and the annotations of COCO files; the boxes of an annotations file are results of score 1."""
    rows, notes = read_json(results), read_json(annotations) if annotations else {}
    if isinstance(rows, Mapping) and "annotations" in rows:
        notes = notes or rows
        rows = _listed(rows, "annotations", results)
        rows = [{"score": 1.0, **row} if isinstance(row, Mapping) else row for row in rows]
    if not isinstance(rows, list) or not isinstance(notes, Mapping):
        raise InputError(
            f"expected a COCO results file, a list of image_id, category_id, bbox, score, in {str(results)!r}, "
            f"got {type(rows).__name__}; the annotations file goes second"
        )
    return rows, notes


def _coco_names(categories: Sequence[object]) -> dict[str, str]:
    """Id of a category -> its name; COCO's own 80 where none are listed."""
    names = {
        _id(row, "id", f"category {i}"): str(_field(row, "name", f"category {i}")) for i, row in enumerate(categories)
    }
    return names or {str(number): category for number, category in COCO_IDS.items()}


def _readable(boxes: tuple[Box, ...], image: ImageOrKey, name: str) -> tuple[Box, ...]:
    """The boxes of an image, after a check that all labels can be read.

    Raises:
        ExpertError: a label cannot be read, so no object can be called absent.
    """
    torn = next((box.label for box in boxes if not meaning(box.label).names), None)
    if torn is not None:
        raise ExpertError(f"{name} has the label {torn!r} for {image!r}, a piece of a word; join the pieces")
    return boxes


def _own_size(row: JsonObject, where: str) -> tuple[int, int] | None:
    """The image size that the row states."""
    size = row.get("size")
    return None if size is None else _size_of({"width": size[0], "height": size[1]}, where)


def _checked(
    label: str,
    score: object,
    xyxy: XYXY,
    size: tuple[int, int] | None,
    where: str,
    xywh: XYXY | None = None,
) -> Box:
    """A plausible box, clipped to its image.

    Raises:
        InputError: the box cannot be true; the message says why.
    """
    if label.lower().strip() in NO_LABELS:
        raise InputError(f"{where} has no label, got {label!r}; name the object, or leave the row out")
    try:
        confidence = 1.0 if score in (None, "") else float(str(score))
    except (TypeError, ValueError):
        confidence = math.nan
    if not 0.0 <= confidence <= 1.0:
        raise InputError(f"{where} must have a score in [0, 1], got {score!r}; rescale it first")
    shown = list(xywh or xyxy)
    if not all(map(math.isfinite, xyxy)):
        raise InputError(f"{where} must have finite coordinates, got {shown}; leave the row out")
    x1, y1, x2, y2 = xyxy
    if x2 <= x1 or y2 <= y1:
        expected = "a positive width and height" if xywh else "x1 < x2 and y1 < y2"
        raise InputError(f"{where} must have {expected}, got {shown}; is it x, y, w, h or x1, y1, x2, y2?")
    limit = (math.inf, math.inf) if size is None else size
    if x1 < -ROUNDING or y1 < -ROUNDING or x2 > limit[0] + ROUNDING or y2 > limit[1] + ROUNDING:
        of = "" if size is None else f" of {size[0]} x {size[1]}"
        raise InputError(f"{where} must lie in its image{of}, got {shown}; is it x, y, w, h or x1, y1, x2, y2?")
    return Box(label, confidence, clip(xyxy, limit))


def _corners(row: JsonObject, where: str) -> XYXY:
    if row.get("box") not in (None, ""):
        box = row["box"]
        if isinstance(box, Mapping):  # {"xmin", "ymin", "xmax", "ymax"}, {"x1", ...}
            return _corners({**_by_field(box, where), "box": None}, where)
        if isinstance(box, str):
            box = box.strip("[]() ").replace(",", " ").split()
        a, b, c, d = _numbers(box, 4, where)
        return a, b, c, d
    if row.get("cx") not in (None, ""):
        cx, cy = _numbers([row["cx"], _field(row, "cy", where)], 2, where)
        w, h = _numbers([_field(row, "w", where), _field(row, "h", where)], 2, where)
        return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    a, b = _numbers([_field(row, "x1", where), _field(row, "y1", where)], 2, where)
    if row.get("x2") not in (None, ""):
        c, d = _numbers([_field(row, "x2", where), _field(row, "y2", where)], 2, where)
        return a, b, c, d
    w, h = _numbers([_field(row, "w", where), _field(row, "h", where)], 2, where)
    return from_xywh(a, b, w, h)


def _numbers(values: object, count: int, where: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]  # type: ignore[attr-defined]  # a TypeError says it is not a list
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        raise InputError(f"{where} must have {count} numbers for its box, got {values!r}; correct the row")
    return numbers


def _field(row: object, key: str, where: str) -> Any:
    value = row.get(key) if isinstance(row, Mapping) else None
    if value in (None, ""):
        known = f"; columns understood: {', '.join(COLUMNS[key])}" if key in COLUMNS else ""
        raise InputError(f"{where} has no {key}, got {row!r}{known}")
    return value


def _listed(notes: Mapping[str, Any], key: str, path: str | Path | None) -> list[Any]:
    """The list under a key, empty where there is none."""
    rows = notes.get(key) or []
    if not isinstance(rows, list):
        raise InputError(f"expected a list under {key!r} in {str(path)!r}, got {type(rows).__name__}; check the file")
    return rows


def _id(row: object, key: str, where: str) -> str:
    """An id as text: 18, 18.0 and "18" are the same."""
    value = _field(row, key, where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise InputError(
            f"{where} must have a number or a text as its {key}, got {type(value).__name__}; correct the row"
        )
    return str(value)


def _size_of(row: JsonObject, where: str) -> tuple[int, int] | None:
    try:
        return (int(row["width"]), int(row["height"])) if "width" in row and "height" in row else None
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"the image of {where} must have a width and a height in pixels ({error}); correct them"
        ) from error


def _by_field(row: object, where: str) -> JsonObject:
    """The values of a row by the fields of `COLUMNS`."""
    if not isinstance(row, Mapping):
        raise InputError(f"{where} must be an object with an image and a box, got {row!r}; correct the row")
    lower = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
    return {
        field: next((lower[name] for name in names if lower.get(name) not in (None, "")), None)
        for field, names in COLUMNS.items()
    }
