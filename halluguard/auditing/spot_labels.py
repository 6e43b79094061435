"""Draw a random sample of images to be labelled, and bound a run's error rate from these labels.

    halluguard sample captions.jsonl --images-drawn 100 --seed 7 --out sheet.csv      one line per named object
    (a person fills the column `present`: yes or no)
    halluguard audit captions.jsonl ... --spot-labels sheet.csv --max-spot-rate 0.03

An audit checks the labelled images first, in the order of the draw. The loss of an image is 1 if a released caption
names an object that is labelled absent or not labelled. Labels are read up to the first image that is not filled in,
because a sample without its hard images would not be random. The sheet holds its seed, so that the audit can repeat the
draw and check that the sheet is the whole sample and nothing else.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from halluguard.auditing.cached_experts import AnyExpert
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.outputs.export import is_released
from halluguard.auditing.pipeline import Checker, to_dict
from halluguard.auditing.source import Source
from halluguard.calibration.outcomes import ObjectReader
from halluguard.calibration.watching import RateBound
from halluguard.errors import InputError, SettingsError
from halluguard.io import iter_rows, write_text
from halluguard.records import Detector

COLUMNS = ("draw", "of", "seed", "image", "row", "caption", "object", "present")
_FILLED = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class LabelledImage:
    """An image of the draw.

    Args:
        image: name of the image.
        objects: object -> True if it is in the image.
    """

    image: str
    objects: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class SpotLabels:
    """The labelled images of a sample, in the order of the draw.

    Args:
        images: the labelled images, up to the first one without labels.
        drawn: number of images in the sample.
        population: number of images from which they were drawn.
        seed: seed of the draw.
    """

    images: tuple[LabelledImage, ...]
    drawn: int
    population: int
    seed: int


def draw(rows: Iterable[Row], count: int, seed: int) -> tuple[list[str], int]:
    """Images in the order of a random draw without replacement, and the number of images they are drawn from.

    Args:
        rows: rows of the input; those that cannot be checked are left out.
        count: number of images to draw.
        seed: seed of the draw. With the same seed, a larger `count` draws the same images and further ones.
    """
    images = list(dict.fromkeys(row.image or row.id for row in rows if not row.code))
    order = random.Random(seed).sample(range(len(images)), len(images))
    return [images[i] for i in order[:count]], len(images)


def write_sheet(source: Source, out: Path, count: int, seed: int) -> tuple[int, int]:
    """Write the sheet of a random sample.

    Args:
        source: the opened input.
        out: CSV file to write.
        count: number of images to draw, at least 1; if the input has fewer, all are drawn.
        seed: seed of the draw.

    Returns:
        (images drawn, images in the input).

    Raises:
        InputError: the input has no row that can be checked.
    """
    if count < 1:
        raise SettingsError(f"a sample has at least 1 image, got {count}; 100 show a rate of 3 % if none is wrong")
    drawn, population = draw(source.rows(), count, seed)
    if not drawn:
        raise InputError("no row can be sampled: none has a caption and an image; check the file")
    by_image = _rows_of(source, drawn)
    reader = ObjectReader()
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for number, image in enumerate(drawn, start=1):
        for row in by_image[image]:
            for name in reader.categories(row.caption) or [""]:
                lines.writerow([number, population, seed, _cell(image), row.index, _cell(row.caption), name, ""])
    write_text(out, text.getvalue())
    return len(drawn), population


def _cell(text: str) -> str:
    """A text on one line that no spreadsheet takes for a formula; a lone surrogate becomes an escape."""
    line = " ".join(text.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{line}" if line[:1] in ("=", "+", "-", "@") else line


def _rows_of(source: Source, images: Sequence[str]) -> dict[str, list[Row]]:
    by_image: dict[str, list[Row]] = {image: [] for image in images}
    for row in source.rows():
        name = row.image or row.id
        if name in by_image and not row.code:
            by_image[name].append(row)
    return by_image


def read_labels(path: Path) -> SpotLabels:
    """Read a sheet that was filled in.

    Raises:
        InputError: it is not a sheet of `halluguard sample`, or a cell is neither yes nor no.
    """
    images: dict[int, LabelledImage] = {}
    filled: dict[int, bool] = {}
    settings = set()
    for where, row in iter_rows(path):
        try:
            number, image, name = int(row["draw"]), str(row["image"]), str(row["object"] or "")
            settings.add((int(row["of"]), int(row["seed"])))
            word = str(row["present"] or "").strip().lower()
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where} must have the columns {', '.join(COLUMNS)}; write the sheet with halluguard sample"
            ) from error
        if word and word not in _FILLED:
            raise InputError(f"{where} must say yes or no under 'present', got {word!r}; correct it")
        labelled = images.setdefault(number, LabelledImage(image))
        filled[number] = filled.get(number, True) and bool(word or not name)
        if name and word and labelled.objects.setdefault(name, _FILLED[word]) != _FILLED[word]:
            raise InputError(f"{where} says that {name!r} is and is not in {image!r}; keep one of them")
    if len(settings) != 1 or sorted(images) != list(range(1, len(images) + 1)):
        raise InputError(
            f"{str(path)!r} is not one whole sample: it needs the draws 1 to {len(images)} of one population; keep "
            "every line that halluguard sample wrote"
        )
    ((population, seed),) = settings
    known = next((draw - 1 for draw in range(1, len(images) + 1) if not filled[draw]), len(images))
    if any(images[draw].objects for draw in range(known + 2, len(images) + 1)):
        raise InputError(
            f"{str(path)!r} must be filled in from its first line on, but draw {known + 1} "
            f"({images[known + 1].image!r}) is empty and a later one is not; fill it in, or empty the lines after it"
        )
    return SpotLabels(tuple(images[i] for i in range(1, known + 1)), len(images), population, seed)


def check_spots(
    labels: SpotLabels,
    config: AuditConfig,
    source: Source,
    detector: Detector,
    experts: Sequence[AnyExpert],
    *,
    report: Callable[[RateBound], bool],
    confidence: float = 0.95,
) -> RateBound:
    """Check the labelled images in the order of the draw, and bound the rate of images with a wrong object.

    Args:
        labels: labels from `read_labels`.
        config: the settings of the audit.
        source: the opened input.
        detector, experts: the detector and the property experts, loaded.
        report: called with the bound after each image; it returns True to go on.
        confidence: chance that the bound holds at all times, in (0, 1).

    Raises:
        InputError: the labels are not of a random draw from this input, or there are none.
    """
    drawn, population = draw(source.rows(), labels.drawn, labels.seed)
    expected = [_cell(image) for image in drawn[: len(labels.images)]]
    if population != labels.population or expected != [one.image for one in labels.images]:
        raise InputError(
            f"the labelled images are not those that halluguard sample draws from this input with seed {labels.seed} "
            f"({labels.population} images then, {population} now); label the sample of this input"
        )
    if not labels.images:
        raise InputError(
            f"no image of the sheet is labelled: 'present' is empty for the first ({drawn[0]!r}); fill it in from "
            "the first line on"
        )
    bound = RateBound(confidence, population)
    reader = ObjectReader(config.policy.protocol if config.policy else "fixed", config.vocabulary)
    by_image = _rows_of(source, drawn[: len(labels.images)])
    checker = Checker(config, detector, experts)
    try:
        for name, labelled in zip(drawn, labels.images, strict=False):
            released = [checked for checked in checker.check(by_image[name]) if is_released(to_dict(checked))]
            named = {category for checked in released for category in reader.categories(checked.corrected)}
            bound.add(float(any(not labelled.objects.get(category, False) for category in named)))
            if not report(bound):
                break
    finally:
        checker.close()
    return bound
