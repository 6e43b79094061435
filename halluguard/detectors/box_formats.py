"""Recognise the files in which other tools keep boxes, and turn them into rows with one box each.

    JSON array or JSON Lines of rows                  one box per row, columns as in `box_files.COLUMNS`
    {image: [{"label", "score", "box": {...}}]}       Hugging Face pipelines, Ultralytics, grouped by image
    [{"image", "boxes": [...]}]                       the same, one object per image
    Label Studio JSON, FiftyOne samples.json          rectangles in percent or fractions, with the image's size
    CVAT XML 1.1 for images, Pascal VOC XML           one file, or a folder of VOC files

A row that this module yields has the fields of `COLUMNS`, and `SIZE` where the file tells the image's size. What cannot
be read without knowing more (YOLO's text files, fractions without sizes) is refused with what is expected instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from halluguard.errors import InputError
from halluguard.io import MAX_JSON, iter_rows, read_json, read_text

MAX_XML = MAX_JSON
"""Memory that the elements and attributes of an XML file may take, in bytes, by an estimate of 200 for each."""
SIZE = "__size__"
"""Key of a row under which the width and height of its image stand; a column "size" may be anything."""
Row = Mapping[str, Any]
Located = tuple[str, Row]
"""A row, and before it its place in the file, for messages."""

EXPECTED = (
    "expected COCO JSON, rows (CSV, TSV, JSON) with image, label, score, x1, y1, x2, y2 in pixels, CVAT or VOC XML, "
    "Label Studio JSON, or an object of image -> detections"
)
_LISTS = ("boxes", "detections", "predictions", "objects", "annotations", "results")
_IMAGES = ("image", "image_id", "file_name", "filename", "image_path", "path", "filepath")


def read_rows(path: str | Path) -> Iterator[Located]:
    """The boxes of a file, or of a folder of VOC files, as rows.

    Raises:
        InputError: the format is none of those above, or cannot be read without knowing more.
    """
    path = Path(path)
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if path.is_dir():
        yield from _folder(path)
    elif suffix in (".csv", ".tsv", ".jsonl", ".ndjson"):
        for where, row in iter_rows(path):
            yield from _spread(row, where)
    elif suffix == ".xml":
        yield from _xml(path)
    elif suffix == ".txt":
        raise InputError(_yolo(path))
    else:
        yield from _json(read_json(path), path)


def is_coco(data: object) -> bool:
    """Whether JSON values are a COCO results or annotations file."""
    if isinstance(data, Mapping):
        return "annotations" in data and "labels" not in data
    rows = [row for row in data[:20] if isinstance(row, Mapping)] if isinstance(data, list) else []
    return data == [] or any("category_id" in row and "bbox" in row for row in rows)


def _json(data: object, path: Path) -> Iterator[Located]:
    name = repr(str(path))
    if isinstance(data, Mapping) and "samples" in data:
        for i, sample in enumerate(_list(data["samples"], name)):
            yield from _fiftyone(sample, f"sample {i} of {name}")
    elif isinstance(data, Mapping) and {"classes", "labels"} <= set(data):
        raise InputError(
            f"{name} looks like FiftyOne's labels.json, whose boxes are fractions of images of unknown size; export "
            'the dataset as "coco", or as JSON with metadata (samples.json)'
        )
    elif isinstance(data, Mapping):
        for image, rows in data.items():
            if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
                raise InputError(f"{EXPECTED}; got {type(rows).__name__} under {image!r} in {name}")
            yield f"image {image!r} of {name}", {"image": image}
            for i, row in enumerate(rows):
                yield f"box {i} of image {image!r}", {**row, "image": image}
    elif isinstance(data, list):
        for i, row in enumerate(data):
            where = f"row {i} of {name}"
            if isinstance(row, Mapping) and isinstance(row.get("data"), Mapping):
                yield from _label_studio(row, where)
            else:
                yield from _spread(row, where)
    else:
        raise InputError(f"{EXPECTED}; got {type(data).__name__} in {name}")


def _spread(row: object, where: str) -> Iterator[Located]:
    """Rows with one box each: the row itself, or one row per box if it holds a list of boxes."""
    if not isinstance(row, Mapping):
        raise InputError(f"{EXPECTED}; got {type(row).__name__} at {where}")
    image = next((row[key] for key in _IMAGES if row.get(key) not in (None, "")), None)
    listed = next((key for key in _LISTS if isinstance(row.get(key), list) and not _numbers(row[key])), None)
    if listed is None:
        if image is None and "box" in row:
            raise InputError(f"{where} names no image; write an object of image -> detections, or add a column image")
        yield where, row
        return
    size = {key: row[key] for key in ("width", "height") if key in row}
    yield where, {"image": image}
    for i, box in enumerate(row[listed]):
        if not isinstance(box, Mapping):
            raise InputError(
                f"{where} must have objects with a label and a box under {listed!r}, got {box!r}; correct the entry"
            )
        yield f"box {i} of {where}", {**box, "image": image, **_size(size.get("width"), size.get("height"))}


def _numbers(values: Sequence[object]) -> bool:
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _size(width: object, height: object) -> Row:
    return {} if width in (None, "") or height in (None, "") else {SIZE: (width, height)}


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"expected a list in {name}, got {type(value).__name__}; check the file")
    return value


def _label_studio(task: Row, where: str) -> Iterator[Located]:
    """Rectangles of one task of Label Studio, in percent; its annotations, or its predictions where there are none."""
    data = task["data"]
    image = next((data[key] for key in ("image", "img", "url") if isinstance(data.get(key), str)), None)
    if image is None:
        raise InputError(f"{where} looks like a task of Label Studio without an image in its data; add it")
    image = image.rsplit("d=", 1)[-1].rsplit("/", 1)[-1].partition("?")[0]
    yield where, {"image": image}
    for source in task.get("annotations") or task.get("predictions") or ():
        for i, result in enumerate(source.get("result") or ()):
            value = result.get("value") or {}
            labels = value.get("rectanglelabels") or ()
            if not labels:
                continue
            width, height = result.get("original_width"), result.get("original_height")
            if not width or not height:
                raise InputError(f"result {i} of {where} needs original_width and original_height; export it again")
            x, y = value["x"] * width / 100, value["y"] * height / 100
            w, h = value["width"] * width / 100, value["height"] * height / 100
            score = result.get("score", source.get("score"))
            corners = {"x1": x, "y1": y, "x2": x + w, "y2": y + h}
            for label in labels:
                row = {"image": image, "label": label, "score": score, **corners, SIZE: (width, height)}
                yield f"result {i} of {where}", row


def _fiftyone(sample: Row, where: str) -> Iterator[Located]:
    """Detections of one sample of FiftyOne, in fractions."""
    image = str(sample.get("filepath", "")).rsplit("/", 1)[-1]
    metadata = sample.get("metadata") or {}
    width, height = metadata.get("width"), metadata.get("height")
    yield where, {"image": image}
    for field in sample.values():
        for i, one in enumerate(field.get("detections") or () if isinstance(field, Mapping) else ()):
            if not width or not height:
                raise InputError(f"{where} has no metadata, and its boxes are fractions; run compute_metadata() first")
            x, y, w, h = one["bounding_box"]
            corners = {"x1": x * width, "y1": y * height, "x2": (x + w) * width, "y2": (y + h) * height}
            row = {"image": image, "label": one["label"], "score": one.get("confidence"), **corners}
            yield f"detection {i} of {where}", {**row, SIZE: (width, height)}


def _folder(path: Path) -> Iterator[Located]:
    files = sorted(path.glob("*.xml"))
    if not files:
        raise InputError(_yolo(path) if any(path.rglob("*.txt")) else f"{EXPECTED}; found no XML file in {str(path)!r}")
    for file in files:
        yield from _xml(file)


def _xml(path: Path) -> Iterator[Located]:
    """CVAT's XML 1.1 for images, or Pascal VOC."""
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"expected XML without a document type in {str(path)!r}, because entities are not read")
    try:
        if len(text) + 200 * (text.count("<") + text.count("=")) > MAX_XML:
            raise InputError(
                f"expected XML that takes at most {MAX_XML:,} bytes of memory, got more in {str(path)!r}; split it"
            )
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"cannot read {str(path)!r} as XML: {error}; check the file") from error
    if root.tag == "annotation":
        yield from _voc(root, path)
    elif root.tag == "annotations" and root.find("track") is None:
        for image in root.iter("image"):
            name, size = image.get("name", ""), _size(image.get("width"), image.get("height"))
            yield f"image {name!r} of {str(path)!r}", {"image": name}
            for i, box in enumerate(image.iter("box")):
                corners = {"x1": box.get("xtl"), "y1": box.get("ytl"), "x2": box.get("xbr"), "y2": box.get("ybr")}
                yield f"box {i} of image {name!r}", {"image": name, "label": box.get("label"), **corners, **size}
    else:
        raise InputError(f"{EXPECTED}; got XML with <{root.tag}> in {str(path)!r} (video tracks are not read)")


def _voc(root: ElementTree.Element, path: Path) -> Iterator[Located]:
    image = root.findtext("filename") or path.stem
    yield f"{str(path)!r}", {"image": image}
    size = _size(root.findtext("size/width"), root.findtext("size/height"))
    known = size if size.get(SIZE) not in (None, ("0", "0")) else {}
    for i, thing in enumerate(root.iter("object")):
        corners = {key: thing.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")}
        yield f"object {i} of {str(path)!r}", {"image": image, "label": thing.findtext("name"), **corners, **known}


def _yolo(path: Path) -> str:
    return (
        f"{str(path)!r} looks like YOLO's text files: class numbers and boxes in fractions, without names and sizes; "
        f"convert them to rows with image, label, score, x1, y1, x2, y2 in pixels ({EXPECTED})"
    )
