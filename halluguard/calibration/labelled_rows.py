"""Read rows that label objects as present or absent in images, and score them with a detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from halluguard.errors import HalluguardError, InputError
from halluguard.io import JsonObject, begins_with_brace, iter_rows, json_limit, parse_json, read_text
from halluguard.metrics.vocabulary import Vocabulary, load_vocabulary
from halluguard.records import Box, Detector, ImageOrKey
from halluguard.vocabulary import normal

MAX_PAIRS = 10_000_000
"""Most pairs of image and category in annotations; each becomes a row."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The label of a phrase in an image: present or absent. `group` is the independent unit, default the image."""

    image: str
    phrase: str
    present: bool
    group: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """A labelled row with the detector's best score for its phrase; 0 if there is no box."""

    image: str
    label: str
    present: bool
    score: float
    group: str = ""

    @property
    def unit(self) -> str:
        """The independent unit of the row: its group, or its image."""
        return self.group or self.image


def read_rows(path: str | Path) -> list[Labelled]:
    """Labelled rows from CSV, TSV or JSON Lines with image, phrase, present; or from a COCO annotations file.

    COCO annotations give one row per image and category; images are named by their file names.

    Raises:
        InputError: the file is unreadable, or a row is wrong; the message names it.
    """
    if begins_with_brace(path):
        try:
            whole = parse_json(read_text(path), json_limit(path))
        except ValueError:  # JSON Lines
            whole = None
        if isinstance(whole, dict) and {"images", "annotations", "categories"} <= whole.keys():
            return _from_coco(whole)
    return [_labelled(row, where) for where, row in iter_rows(path)]


def read_truth(path: str | Path, vocabulary: Vocabulary | None = None) -> tuple[dict[str, list[str]], int]:
    """The objects in each image, from any file of labels. Objects that are not labelled as present count as absent.

    Args:
        path: JSON with image id -> names, or a file as for `read_rows`.
        vocabulary: the objects that count; default COCO's. Names outside it are left out.

    Returns:
        Image -> names of the vocabulary, and the number of labels that were left out.

    Raises:
        InputError: the file is unreadable, or a row is wrong.
    """
    words = (vocabulary or load_vocabulary()).words
    try:
        whole = parse_json(read_text(path), json_limit(path))
    except ValueError:  # JSON Lines, or a table
        whole = None
    objects: dict[str, list[str]] = {}
    if isinstance(whole, dict) and "annotations" not in whole and all(isinstance(v, list) for v in whole.values()):
        objects = {image: [str(name) for name in names] for image, names in whole.items()}
    else:
        absent: dict[str, set[str]] = {}
        for row in read_rows(path):
            names = objects.setdefault(row.image, [])
            if row.present:
                names.append(row.phrase)
            else:
                absent.setdefault(row.image, set()).add(row.phrase)
        for image, phrases in absent.items():
            for phrase in sorted(phrases.intersection(objects[image])):
                raise InputError(f"{path} says that {phrase!r} is and is not in {image!r}; keep one of them")
    known = {image: [name for name in names if name.strip().lower() in words] for image, names in objects.items()}
    return known, sum(map(len, objects.values())) - sum(map(len, known.values()))


_PRESENT = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _labelled(row: object, where: str) -> Labelled:
    values = row if isinstance(row, Mapping) else {}
    image, phrase = values.get("image"), values.get("phrase")
    present = _PRESENT.get(str(values.get("present")).strip().lower())
    if image in (None, "") or not isinstance(phrase, str) or not normal(phrase) or present is None:
        raise InputError(
            f"{where} must have image, phrase, and present (true or false), got {repr(row)[:200]}; correct it"
        )
    return Labelled(str(image), phrase, present, str(values.get("group") or ""))


def _from_coco(data: JsonObject) -> list[Labelled]:
    try:
        names = {row["id"]: str(row["name"]) for row in data["categories"]}
        images = {row["id"]: str(row.get("file_name") or row["id"]) for row in data["images"]}
        present = {(row["image_id"], row["category_id"]) for row in data["annotations"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected COCO annotations with lists of categories (id, name), images (id, file_name) and annotations "
            f"(image_id, category_id), got {type(error).__name__}: {error}; check the file"
        ) from error
    if len(images) * len(names) > MAX_PAIRS:
        raise InputError(
            f"expected at most {MAX_PAIRS:,} pairs of image and category, got {len(images):,} images and "
            f"{len(names):,} categories; keep fewer of either"
        )
    return [
        Labelled(image, name, (i, c) in present) for i, image in images.items() for c, name in names.items()
    ]  # fmt: skip


def score_rows(
    rows: Iterable[Labelled],
    detector: Detector,
    open_image: Callable[[str], ImageOrKey] = lambda image: image,
    *,
    batch_size: int = 8,
) -> tuple[list[Scored], dict[str, int]]:
    """The detector's best score for each row; all phrases of an image are detected together.

    Args:
        rows: labelled rows.
        detector: the detector to calibrate.
        open_image: image key -> image; default the key itself, for a detector that needs no images.
        batch_size: images per detector call.

    Returns:
        The scored rows, and the number of skipped rows per reason ("not covered", or an error). An image on which the
        detector fails gives no rows: a failure is not a score of 0.

    Raises:
        InputError: two rows contradict each other.
    """
    labels: dict[str, dict[str, bool]] = {}
    groups: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for row in rows:
        groups[row.image] = row.group
        if not detector.covers(row.phrase):
            skipped["not covered"] += 1
        elif labels.setdefault(row.image, {}).setdefault(row.phrase, row.present) != row.present:
            raise InputError(f"the rows say that {row.phrase!r} is and is not in {row.image!r}; keep one of them")
    scored: list[Scored] = []
    images = list(labels)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        for image, boxes in zip(batch, _detect(batch, labels, detector, open_image), strict=True):
            if isinstance(boxes, HalluguardError):
                skipped[f"{type(boxes).__name__}: {boxes}"] += len(labels[image])
                continue
            for i, (phrase, present) in enumerate(labels[image].items()):
                best = max((box.score for box in boxes if box.phrase == i), default=0.0)
                scored.append(Scored(image, normal(phrase), present, best, groups[image]))
    return scored, dict(skipped)


def _detect(
    batch: Sequence[str],
    labels: Mapping[str, Mapping[str, bool]],
    detector: Detector,
    open_image: Callable[[str], ImageOrKey],
) -> list[list[Box] | HalluguardError]:
    """The boxes, or the error, of each image; a batch that fails is repeated image by image."""
    try:
        return list(detector.detect([open_image(image) for image in batch], [list(labels[image]) for image in batch]))
    except HalluguardError as error:
        if len(batch) == 1:
            return [error]
        return [one for image in batch for one in _detect([image], labels, detector, open_image)]
