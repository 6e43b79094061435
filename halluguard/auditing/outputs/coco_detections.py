"""Write the boxes behind the verdicts as a COCO file: images, categories, and annotations with a score.

`pycocotools.coco.COCO(file)` reads it, and `loadRes` takes its list of annotations. The 80 COCO categories keep their
official ids; other names get ids from 1001 on, in alphabetical order. Boxes are x, y, width, height in pixels.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from halluguard.auditing.run_folder import read_parts
from halluguard.io import JsonObject, write_text
from halluguard.records import XYXY
from halluguard.vocabulary import COCO

# Official ids run from 1 to 90; these are not used.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
OFFICIAL = dict(zip(COCO, (i for i in range(1, 91) if i not in _UNUSED), strict=True))
OTHERS_FROM = 1001
_TRAILING_NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")


def write_detections(run: Path, target: Path) -> int:
    """Write the boxes of a finished run, and return their number; equal boxes of one image are written once.

    Evidence without geometry, such as a known object, has no box and is left out.
    """
    images: dict[str, None] = {}
    scores: dict[tuple[str, str, XYXY], float] = {}
    for row in read_parts(run):
        for verdict in row["verdicts"]:
            for box in verdict.get("evidence", ()):
                if box.get("xyxy"):
                    images[row["image"]] = None
                    scores[row["image"], box["label"], tuple(box["xyxy"])] = box["score"]
    ids = _image_ids(list(images))
    others = sorted({label for _, label, _ in scores} - OFFICIAL.keys())
    categories = OFFICIAL | {label: number for number, label in enumerate(others, start=OTHERS_FROM)}
    document = {
        "images": [{"id": ids[image], "file_name": image} for image in images],
        "categories": [{"id": number, "name": label} for label, number in categories.items()],
        "annotations": [
            _annotation(number, ids[image], categories[label], xyxy, score)
            for number, ((image, label, xyxy), score) in enumerate(scores.items(), start=1)
        ],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(document, ensure_ascii=True) + "\n")
    return len(scores)


def _image_ids(images: list[str]) -> dict[str, int]:
    """The number at the end of each name ("COCO_val2014_000000000042.jpg" is 42), or 1, 2, 3, ... if any are equal."""
    numbers = [int(match.group(1)) if (match := _TRAILING_NUMBER.search(image)) else -1 for image in images]
    if len(set(numbers)) == len(images) and -1 not in numbers:
        return dict(zip(images, numbers, strict=True))
    return {image: i for i, image in enumerate(images, start=1)}


def _annotation(number: int, image: int, category: int, xyxy: XYXY, score: float) -> JsonObject:
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
