"""Rows that say what is in which image, and the expert's best score for each: one look per image."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halluguard.errors import HalluguardError, InputError
from halluguard.records import Detector
from halluguard.vocabulary import normal


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row: whether the phrase's thing is in the image."""

    image: str
    phrase: str
    present: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """A row with the expert's best score for it."""

    image: str
    label: str
    present: bool
    score: float


def read_rows(path: str | Path) -> list[Labelled]:
    """Labelled rows: CSV, TSV or JSON lines with image, phrase, present; or a COCO annotations file.

    From annotations come all pairs of image and category; file names stand for images.

    Raises:
        InputError: unreadable, or a row is wrong; the message names it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the labelled rows {str(path)!r}: {error}; check the file") from error
    if text.lstrip().startswith("{"):
        try:
            whole = json.loads(text)
        except ValueError:
            whole = None
        if isinstance(whole, dict) and {"images", "annotations", "categories"} <= whole.keys():
            return _from_coco(whole)
        raw: list[Any] = [_json_line(line, i, path) for i, line in enumerate(text.splitlines()) if line.strip()]
    else:
        raw = list(csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ","))
    return [_labelled(row, f"row {i + 1} of {str(path)!r}") for i, row in enumerate(raw)]


def _json_line(line: str, i: int, path: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"line {i + 1} of {str(path)!r} is not JSON: {error}; mend it") from error


_PRESENT = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _labelled(row: Any, where: str) -> Labelled:
    values = row if isinstance(row, Mapping) else {}
    image, phrase, said = (values.get(key) for key in ("image", "phrase", "present"))
    present = _PRESENT.get(str(said).strip().lower())
    if image in (None, "") or not isinstance(phrase, str) or not normal(phrase) or present is None:
        raise InputError(f"{where} must have image, phrase, and present (true or false), got {row!r}; mend it")
    return Labelled(str(image), phrase, present)


def _from_coco(data: Mapping[str, Any]) -> list[Labelled]:
    try:
        names = {row["id"]: str(row["name"]) for row in data["categories"]}
        images = {row["id"]: str(row.get("file_name") or row["id"]) for row in data["images"]}
        there = {(row["image_id"], row["category_id"]) for row in data["annotations"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"the COCO annotations lack {error}; check the file") from error
    return [
        Labelled(image, name, (i, c) in there) for i, image in images.items() for c, name in names.items()
    ]  # fmt: skip


def score_rows(
    rows: Iterable[Labelled],
    detector: Detector,
    open_image: Callable[[str], Any] = lambda image: image,
    *,
    batch_size: int = 8,
) -> tuple[list[Scored], dict[str, int]]:
    """The expert's best score for each row, one look per image for all its phrases.

    Args:
        open_image: image -> picture, or the key for an expert that needs none.

    Returns:
        The scored rows, and why others were left out: reason -> rows ("not covered", or what failed). An image on which
        the expert fails gives no rows: a failure is not a score of 0.

    Raises:
        InputError: two rows contradict each other.
    """
    wanted: dict[str, dict[str, bool]] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        if not detector.covers(row.phrase):
            left_out["not covered"] += 1
        elif wanted.setdefault(row.image, {}).setdefault(row.phrase, row.present) != row.present:
            raise InputError(f"the rows say that {row.phrase!r} is and is not in {row.image!r}; keep one of them")
    scored: list[Scored] = []
    images = list(wanted)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        for image, boxes in zip(batch, _look(batch, wanted, detector, open_image), strict=True):
            if isinstance(boxes, Exception):
                left_out[f"{type(boxes).__name__}: {boxes}"] += len(wanted[image])
                continue
            for i, (phrase, present) in enumerate(wanted[image].items()):
                best = max((box.score for box in boxes if box.phrase == i), default=0.0)
                scored.append(Scored(image, normal(phrase), present, best))
    return scored, dict(left_out)


def _look(
    batch: Sequence[str],
    wanted: Mapping[str, Mapping[str, bool]],
    detector: Detector,
    open_image: Callable[[str], Any],
) -> list[Any]:
    """Per image its boxes, or the error; a batch that fails is looked at one by one."""
    try:
        return list(detector.detect([open_image(image) for image in batch], [list(wanted[image]) for image in batch]))
    except HalluguardError as error:
        if len(batch) == 1:
            return [error]
        return [one for image in batch for one in _look([image], wanted, detector, open_image)]
