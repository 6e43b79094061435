"""Split rows by image, guard against images of evaluations, mix in other data.

A row belongs where its image belongs, and the images of POPE, CHAIR and AMBER must not be trained on. COCO numbers its
images once for all years: `COCO_val2014_000000310196.jpg` is `000000310196.jpg` in train2017. A guard by file name
alone misses it, so pass the lists of ids.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

from halluguard import io
from halluguard.errors import InputError, SettingsError
from halluguard.tuning.reading import read_entries, read_whole, require_file
from halluguard.tuning.rows import Recipe, row_seed


class HasImageId(Protocol):
    """A training row or an annotated image."""

    @property
    def image_id(self) -> int | str: ...


T = TypeVar("T")
R = TypeVar("R", bound=HasImageId)

EVALUATION_NAMES = (r"COCO_val2014_\d+", r"AMBER_\d+")
"""Patterns of file names that only evaluation images have: all of COCO val2014, and AMBER's."""

_COCO = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?0*(\d+)", re.IGNORECASE)
_FIELDS = ("image_id", "image", "file_name", "id")


def image_key(image_id: object) -> str:
    """One spelling of an id: COCO numbers, their strings and file names agree; other paths keep the file name.

    >>> image_key(310196), image_key("val2014/COCO_val2014_000000310196.jpg"), image_key("AMBER_7.jpg")
    ('310196', '310196', 'AMBER_7')
    """
    stem = PurePath(str(image_id).strip().replace("\\", "/")).name
    stem = re.sub(r"\.(?:jpe?g|png|webp)$", "", stem, flags=re.IGNORECASE)
    match = _COCO.fullmatch(stem)
    return match[1] if match else stem


@dataclass(frozen=True)
class EvaluationImages:
    """Images that must not be trained on.

    Args:
        ids: numbers or file names, as evaluation lists give them.
        names: regular expressions; an image whose file name (without extension) matches in full is refused.
        aliases: id in the training data -> id in the lists, such as Visual Genome's `coco_id` by `image_id`.

    Raises:
        SettingsError: a name is not a regular expression.
    """

    ids: frozenset[str] = frozenset()
    names: tuple[str, ...] = EVALUATION_NAMES
    aliases: Mapping[str, str] = field(default_factory=dict)
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        try:
            patterns = tuple(re.compile(name, re.IGNORECASE) for name in self.names)
        except re.error as error:
            raise SettingsError(
                f"names must be regular expressions, got {self.names} ({error}); correct them"
            ) from error
        object.__setattr__(self, "ids", frozenset(image_key(i) for i in self.ids))
        object.__setattr__(self, "aliases", {image_key(a): image_key(b) for a, b in self.aliases.items()})
        object.__setattr__(self, "_patterns", patterns)

    @classmethod
    def read(
        cls,
        *paths: str | Path,
        names: tuple[str, ...] = EVALUATION_NAMES,
        aliases: Mapping[str, str] | None = None,
    ) -> EvaluationImages:
        """Read the ids in POPE's question files, AMBER's, lists of captions, or plain lists (JSON, JSON Lines, text).

        Raises:
            InputError: a file is missing, or names no image.
        """
        ids: set[str] = set()
        for path in paths:
            listed = set(_ids(Path(path)))
            if not listed:
                raise InputError(
                    f"expected ids of images in {str(path)!r} ({', '.join(_FIELDS)}, or one per line), got none; "
                    "check the file"
                )
            ids |= listed
        return cls(frozenset(ids), names, aliases or {})

    def holds(self, image_id: object, image: object = None) -> bool:
        """Whether an image with this id, or from this file, is one of them."""
        for name in (image_id, _file_of(image)):
            if name is None or name == "":
                continue
            key = image_key(name)
            if {key, self.aliases.get(key, key)} & self.ids:
                return True
            if any(pattern.fullmatch(PurePath(str(name)).stem) for pattern in self._patterns):
                return True
        return False

    def leaks(self, row: HasImageId) -> bool:
        """Whether a row (or an annotated image) shows one of them, also as a negative image."""
        images = [*getattr(row, "images", ()), *getattr(row, "negative_images", ()), getattr(row, "image", None)]
        return self.holds(row.image_id) or any(self.holds(None, image) for image in images)


def _file_of(image: object) -> str | None:
    while isinstance(image, Recipe):
        image = getattr(image, "source", None)
    if isinstance(image, str | PurePath):
        return str(image)
    return getattr(image, "filename", None) or None


def _ids(path: Path) -> Iterator[str]:
    require_file(path)
    with io.reading(path), io.open_text(path, errors="replace") as file:
        head = file.read(64).lstrip()
    if head.startswith("["):
        yield from _listed_ids(read_whole(path))
    elif head.startswith(("{", "PAR1")):
        yield from _listed_ids(entry.value for entry in read_entries(path))
    else:
        yield from (image_key(line) for line in io.read_text(path).splitlines() if line.strip())


def _listed_ids(entries: Iterable[object]) -> Iterator[str]:
    """The ids in rows, in COCO's `images`, in the keys of a mapping, or in a plain list."""
    for value in entries:
        if isinstance(value, Mapping):
            if isinstance(value.get("images"), list):
                yield from _listed_ids(value["images"])
                continue
            named = next((value[name] for name in _FIELDS if isinstance(value.get(name), str | int)), None)
            if named is None and all(isinstance(entry, list) for entry in value.values()):
                yield from map(image_key, value)
            value = named
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield image_key(value)


def without_leaks(rows: Iterable[R], guard: EvaluationImages) -> tuple[list[R], list[R]]:
    """(rows to train on, rows that show an evaluation image)."""
    kept: list[R] = []
    leaked: list[R] = []
    for row in rows:
        (leaked if guard.leaks(row) else kept).append(row)
    return kept, leaked


def refuse_leaks(rows: Iterable[R], guard: EvaluationImages) -> Iterator[R]:
    """The same rows, streamed.

    Raises:
        InputError: at the first row that shows an evaluation image.
    """
    for row in rows:
        if guard.leaks(row):
            raise InputError(
                f"the image {row.image_id!r} is one of the evaluation's; leave such rows out with without_leaks before "
                "training"
            )
        yield row


def held_out(image_id: object, *, share: float, seed: int) -> bool:
    """Whether an image belongs to the held-out part: by a hash of its id, so never by order, file or year."""
    if not 0 <= share <= 1:
        raise SettingsError(f"share must be in [0, 1], got {share}; 0.1 is usual")
    return row_seed(seed, "split", image_key(image_id)) < share * 2**63


def split_by_image(rows: Iterable[R], *, share: float, seed: int) -> tuple[list[R], list[R]]:
    """(training, held out): all rows of an image, and annotated images themselves, fall on one side.

    Split images before building where rows draw on several of them (swaps, "other").

    Args:
        rows: training rows or annotated images.
        share: share of the images to hold out, in [0, 1].
        seed: seed of the split.
    """
    train: list[R] = []
    out: list[R] = []
    for row in rows:
        (out if held_out(row.image_id, share=share, seed=seed) else train).append(row)
    return train, out


def mix(rows: Sequence[T], retention: Sequence[T], *, share: float, seed: int) -> list[T]:
    """All `rows`, and as many of `retention` as make `share` of the whole, in a random order.

    General rows (captions, VQA, text only) keep earlier abilities of the model; 0.1 to 0.2 is usual.

    Raises:
        SettingsError: share outside [0, 1). InputError: too few retention rows.
    """
    if not 0 <= share < 1:
        raise SettingsError(f"share must be in [0, 1), got {share}; 0.1 to 0.2 is usual")
    needed = round(len(rows) * share / (1 - share))
    if needed > len(retention):
        raise InputError(
            f"a share of {share} together with {len(rows)} rows needs {needed} retention rows, got {len(retention)}; "
            "give more, or lower share"
        )
    rng = random.Random(row_seed(seed, "mix"))
    mixed = [*rows, *rng.sample(list(retention), needed)]
    rng.shuffle(mixed)
    return mixed
