"""The boxes that verdicts rest on, as a COCO file: images, categories and annotations with a score.

`pycocotools.coco.COCO(file)` reads it, and `loadRes` takes its list of annotations. The 80 COCO categories keep their
official ids; other names follow from 1001 on, in alphabetical order. Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from halluguard.auditing.run_folder import read_parts
from halluguard.io import write_text
from halluguard.vocabulary import COCO

# Official ids run from 1 to 90; these are not used.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
OFFICIAL = dict(zip(COCO, (i for i in range(1, 91) if i not in _UNUSED), strict=True))
OTHERS_FROM = 1001
_TRAILING_NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")


def write_detections(run: Path, target: Path) -> int:
    """Write the boxes of a finished run; how many comes back. Equal boxes of one image are written once.

    Evidence without geometry (a known object, say) has no box and is left out.
    """
    images: dict[str, int] = {}
    boxes: dict[tuple[str, str, tuple[float, ...]], float] = {}
    for row in read_parts(run):
        for verdict in row["verdicts"]:
            for box in verdict.get("evidence", ()):
                if box.get("xyxy"):
                    images.setdefault(row["image"], len(images))
                    boxes[row["image"], box["label"], tuple(box["xyxy"])] = box["score"]
    ids = _image_ids(list(images))
    others = sorted({label for _, label, _ in boxes} - OFFICIAL.keys())
    categories = OFFICIAL | {label: OTHERS_FROM + i for i, label in enumerate(others)}
    annotations = [
        _annotation(i, ids[image], categories[label], xyxy, score)
        for i, ((image, label, xyxy), score) in enumerate(boxes.items(), start=1)
    ]
    document = {
        "images": [{"id": ids[image], "file_name": image} for image in images],
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
        "annotations": annotations,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, [json.dumps(document, ensure_ascii=True) + "\n"])
    return len(annotations)


def _image_ids(images: list[str]) -> dict[str, int]:
    """The number that each name ends in ("COCO_val2014_000000000042.jpg" is 42), or, if two are alike, 1, 2, 3, ..."""
    numbers = [int(match.group(1)) if (match := _TRAILING_NUMBER.search(image)) else -1 for image in images]
    if len(set(numbers)) == len(images) and -1 not in numbers:
        return dict(zip(images, numbers, strict=True))
    return {image: i for i, image in enumerate(images, start=1)}


def _annotation(number: int, image: int, category: int, xyxy: tuple[float, ...], score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = xyxy
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "score": score,
    }
