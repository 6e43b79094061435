"""Which pictures may be trained on: split by picture, guard against the pictures of evaluations, mix in other data.

A row belongs where its picture belongs. The pictures of POPE, CHAIR and AMBER must not be trained on. COCO numbers its
pictures once for all years: `COCO_val2014_000000310196.jpg` is `000000310196.jpg` in train2017, so a guard by file name
alone misses it; give the lists of ids.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

from halluguard.errors import InputError, SettingsError
from halluguard.tuning.reading import read_entries, read_whole
from halluguard.tuning.rows import Recipe, row_seed

T = TypeVar("T")

EVALUATION_NAMES = (r"COCO_val2014_\d+", r"AMBER_\d+")
"""File names that tell an evaluation picture by themselves: all of COCO val2014, and AMBER's."""

_COCO = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?0*(\d+)", re.IGNORECASE)
_FIELDS = ("image_id", "image", "file_name", "id")


def image_key(image_id: Any) -> str:
    """One spelling of an id: COCO numbers, their strings and file names agree; of other paths the name stays.

    >>> image_key(310196), image_key("val2014/COCO_val2014_000000310196.jpg"), image_key("AMBER_7.jpg")
    ('310196', '310196', 'AMBER_7')
    """
    stem = PurePath(str(image_id).strip().replace("\\", "/")).name
    stem = re.sub(r"\.(?:jpe?g|png|webp)$", "", stem, flags=re.IGNORECASE)
    match = _COCO.fullmatch(stem)
    return match[1] if match else stem


@dataclass(frozen=True)
class EvaluationImages:
    """Pictures that must not be trained on.

    Args:
        ids: as lists name them: numbers, file names.
        names: regular expressions; a picture whose file name (without extension) matches in full is refused.
        aliases: id in the training data -> id in the lists, such as Visual Genome's `coco_id` by `image_id`.
    """

    ids: frozenset[str] = frozenset()
    names: tuple[str, ...] = EVALUATION_NAMES
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            compiled = [re.compile(name, re.IGNORECASE) for name in self.names]
        except re.error as error:
            raise SettingsError(f"names must be regular expressions, got {self.names} ({error})") from error
        object.__setattr__(self, "ids", frozenset(image_key(i) for i in self.ids))
        object.__setattr__(self, "aliases", {image_key(a): image_key(b) for a, b in self.aliases.items()})
        object.__setattr__(self, "_compiled", compiled)

    @classmethod
    def read(cls, *paths: str | Path, **settings: Any) -> EvaluationImages:
        """The ids in POPE's question files, AMBER's, lists of captions, or plain lists of ids (JSON, JSON Lines, text).

        Raises:
            InputError: a file is missing, or names no picture.
        """
        ids: set[str] = set()
        for path in paths:
            found = set(_ids(Path(path)))
            if not found:
                raise InputError(
                    f"expected ids of pictures in {str(path)!r} ({', '.join(_FIELDS)}, or one a line), got none; "
                    "check the file"
                )
            ids |= found
        return cls(frozenset(ids), **settings)

    def holds(self, image_id: Any, picture: Any = None) -> bool:
        """Whether a picture with this id, or from this file, is one of them."""
        for name in (image_id, _file_of(picture)):
            if name is None or name == "":
                continue
            key = image_key(name)
            stem = PurePath(str(name)).stem
            if {key, self.aliases.get(key, key)} & self.ids:
                return True
            if any(pattern.fullmatch(stem) for pattern in self._compiled):  # type: ignore[attr-defined]
                return True
        return False

    def leaks(self, row: Any) -> bool:
        """Whether a row (or an annotated picture) shows one of them, also as a negative image."""
        pictures = [*getattr(row, "images", ()), *getattr(row, "negative_images", ()), getattr(row, "image", None)]
        return self.holds(row.image_id) or any(self.holds(None, picture) for picture in pictures)


def _file_of(picture: Any) -> str | None:
    while isinstance(picture, Recipe):
        picture = getattr(picture, "source", None)
    if isinstance(picture, str | PurePath):
        return str(picture)
    return getattr(picture, "filename", None) or None


def _ids(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            head = file.read(64).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    except OSError as error:
        raise InputError(f"could not read {str(path)!r} ({error.strerror}); check the path") from error
    if head.startswith("["):
        yield from _named_by(read_whole(path))
    elif head.startswith(("{", "PAR1", "\x1f")):
        yield from _named_by(entry.value for entry in read_entries(path))
    else:
        yield from (image_key(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _named_by(entries: Iterable[Any]) -> Iterator[str]:
    """The ids of rows, of COCO's `images`, of a mapping from ids, or bare ones."""
    for value in entries:
        if isinstance(value, Mapping):
            if isinstance(value.get("images"), list):
                yield from _named_by(value["images"])
                continue
            named = next((value[name] for name in _FIELDS if isinstance(value.get(name), str | int)), None)
            if named is None and all(isinstance(entry, list) for entry in value.values()):
                yield from map(image_key, value)
            value = named
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield image_key(value)


def without_leaks(rows: Iterable[T], guard: EvaluationImages) -> tuple[list[T], list[T]]:
    """(rows to train on, rows that show an evaluation picture)."""
    kept: list[T] = []
    leaked: list[T] = []
    for row in rows:
        (leaked if guard.leaks(row) else kept).append(row)
    return kept, leaked


def refuse_leaks(rows: Iterable[T], guard: EvaluationImages) -> Iterator[T]:
    """The same rows, streamed.

    Raises:
        InputError: at the first row that shows an evaluation picture.
    """
    for row in rows:
        if guard.leaks(row):
            raise InputError(
                f"the picture {row.image_id!r} is one of the evaluation's; "  # type: ignore[attr-defined]
                "take such rows out with without_leaks before training"
            )
        yield row


def held_out(image_id: Any, *, share: float, seed: int) -> bool:
    """Whether a picture belongs to the held-out part: by a hash of its id, so never by order, file or year."""
    if not 0 <= share <= 1:
        raise SettingsError(f"share must be in [0, 1], got {share}")
    return row_seed(seed, "split", image_key(image_id)) < share * 2**63


def split_by_image(rows: Iterable[T], *, share: float, seed: int) -> tuple[list[T], list[T]]:
    """(training, held out): all rows of a picture, and annotated pictures themselves, fall on one side.

    Split pictures before building where rows draw on several (swaps, "other").

    Args:
        share: of the pictures to hold out, in [0, 1].
    """
    train: list[T] = []
    out: list[T] = []
    for row in rows:
        (out if held_out(row.image_id, share=share, seed=seed) else train).append(row)  # type: ignore[attr-defined]
    return train, out


def mix(rows: Sequence[T], retention: Sequence[T], *, share: float, seed: int) -> list[T]:
    """All `rows`, and as many of `retention` as make `share` of the whole, in a random order.

    General rows (captions, VQA, text only) keep what the model could do before; 0.1 to 0.2 is usual.

    Raises:
        SettingsError: share outside [0, 1). InputError: too few retention rows.
    """
    if not 0 <= share < 1:
        raise SettingsError(f"share must be in [0, 1), got {share}")
    wanted = round(len(rows) * share / (1 - share))
    if wanted > len(retention):
        raise InputError(
            f"a share of {share} beside {len(rows)} rows takes {wanted} retention rows, got {len(retention)}; "
            "give more, or lower share"
        )
    rng = random.Random(row_seed(seed, "mix"))
    mixed = [*rows, *rng.sample(list(retention), wanted)]
    rng.shuffle(mixed)
    return mixed
