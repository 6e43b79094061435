"""The rows every builder and reader makes and every trainer takes: one for each way of learning.

    InstructionRow   (images, prompt) -> completion                 learnt as written (SFT)
    PreferenceRow    (images, prompt) -> chosen rather than rejected (DPO and kin), perhaps with negative images
    RatedRow         (images, prompt) -> completion, liked or not   (KTO)

Rows are frozen and light: a picture is a path, a PIL image, or a recipe that is drawn when a trainer asks for it, so
a million rows fit in memory. What is random in a row comes from its own `seed`, never from the order in which rows are
read: the same row gives the same picture in every worker, epoch and process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from halluguard.errors import InputError, require
from halluguard.images import load_image

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class Recipe(Protocol):
    """A picture that is made when it is needed; the same recipe always makes the same pixels."""

    def make(self) -> Image: ...


Picture = Any
"""A path, a PIL image, or a `Recipe`."""


def open_picture(picture: Picture) -> Image:
    """The picture itself, upright RGB.

    Raises:
        ImageError: a missing or unreadable file.
    """
    return picture.make() if isinstance(picture, Recipe) else load_image(picture)


def _opened_beside(negatives: Sequence[Picture], images: Sequence[Picture], opened: Sequence[Image]) -> list[Image]:
    """The negative pictures; one made from a picture of the row is made from it as already opened."""
    made = []
    for picture in negatives:
        source = getattr(picture, "source", None)
        for image, ready in zip(images, opened, strict=True):
            if source is image and not isinstance(image, Recipe):
                picture = replace(picture, source=ready)
        made.append(open_picture(picture))
    return made


def row_seed(*parts: Any) -> int:
    """A number in [0, 2**63) that depends on `parts` alone: not on the process, the platform or Python's hash seed.

    >>> row_seed(0, "000000310196.jpg", "crop") == row_seed(0, "000000310196.jpg", "crop") != row_seed(1, "a")
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Truth:
    """Object names known to be in the (positive) picture, and known not to be."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} must be a text that is not empty, got {value!r}; leave the row out")


def _pictures(row: Any, *names: str) -> None:
    for name in names:
        value = getattr(row, name)
        if isinstance(value, str | os.PathLike) or not isinstance(value, Sequence):
            raise InputError(f"{name} must be a sequence of pictures, got {type(value).__name__}; write ({name[:-1]},)")
        object.__setattr__(row, name, tuple(value))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _user(text: str, images: int = 0) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def _dialogue(row: Any) -> list[dict[str, Any]]:
    """Earlier turns and the question; the pictures stand before the first question, as in LLaVA's data."""
    turns: list[dict[str, Any]] = []
    for question, answer in row.history:
        turns += [_user(question, 0 if turns else len(row.images)), _assistant(answer)]
    return [*turns, _user(row.prompt, 0 if turns else len(row.images))]


@dataclass(frozen=True)
class InstructionRow:
    """One text to learn.

    Args:
        images: pictures the prompt is about, none for a text-only row.
        prompt: what the user asks last.
        completion: what to learn.
        image_id: of the first picture; rows are split and checked for leakage by it.
        kind: which builder made it ("negative-popular", "erased", "retention", ...).
        source: the data it comes from ("COCO", "LRV-Instruction", "sandbox", ...).
        seed: of everything random in the row.
        truth: what is known about the picture.
        license: of the data, as its authors name it; a model card must repeat it.
        history: earlier (question, answer) exchanges of the same dialogue.
    """

    images: tuple[Picture, ...]
    prompt: str
    completion: str
    _: KW_ONLY
    image_id: int | str = ""
    kind: str = ""
    source: str = ""
    seed: int = 0
    truth: Truth | None = None
    license: str = ""
    history: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _pictures(self, "images")
        _text("prompt", self.prompt)
        _text("completion", self.completion)

    def to_conversation(self) -> dict[str, Any]:
        """TRL's prompt-completion form; pictures are opened."""
        return {
            "images": [open_picture(image) for image in self.images],
            "prompt": _dialogue(self),
            "completion": [_assistant(self.completion)],
        }


@dataclass(frozen=True)
class PreferenceRow:
    """Two answers to one question, of which the first is better. Fields not named here are those of `InstructionRow`.

    Args:
        chosen, rejected: the better and the worse answer; neither empty, and different in more than case and blanks.
        negative_images: as many as `images`, or none: pictures for which `chosen` should be less likely. They are
            the image side of the preference (the conditional term of mDPO); a trainer without it ignores them.
        minimal_edit: `rejected` is `chosen` with some words changed in place, so weights on the changed tokens (DDPO)
            make sense.

    >>> PreferenceRow(("a.jpg",), "Is there a dog in the image?", "No.", "Yes.", kind="negative-random").chosen
    'No.'
    """

    images: tuple[Picture, ...]
    prompt: str
    chosen: str
    rejected: str
    _: KW_ONLY
    negative_images: tuple[Picture, ...] = ()
    image_id: int | str = ""
    kind: str = ""
    source: str = ""
    seed: int = 0
    truth: Truth | None = None
    license: str = ""
    history: tuple[tuple[str, str], ...] = ()
    minimal_edit: bool = False

    def __post_init__(self) -> None:
        _pictures(self, "images", "negative_images")
        for name in ("prompt", "chosen", "rejected"):
            _text(name, getattr(self, name))
        if _plain(self.chosen) == _plain(self.rejected):
            raise InputError(f"chosen and rejected must differ, got {self.chosen!r} twice; leave the row out")
        if self.negative_images and len(self.negative_images) != len(self.images):
            raise InputError(
                f"negative_images must be as many as images ({len(self.images)}) or none, got "
                f"{len(self.negative_images)}; give one for each"
            )

    def to_conversation(self) -> dict[str, Any]:
        """TRL's conversational preference form, with `negative_images` (a list, perhaps empty) beside `images`.

        Pictures are opened, negative ones drawn. The other columns are plain values for a trainer's own use.
        """
        opened = [open_picture(image) for image in self.images]
        return {
            "images": opened,
            "negative_images": _opened_beside(self.negative_images, self.images, opened),
            "prompt": _dialogue(self),
            "chosen": [_assistant(self.chosen)],
            "rejected": [_assistant(self.rejected)],
            "seed": self.seed,
            "kind": self.kind,
            "image_id": str(self.image_id),
            "minimal_edit": self.minimal_edit,
        }

    def to_instruction(self) -> InstructionRow:
        """The chosen answer alone, for plain fine-tuning."""
        return InstructionRow(
            self.images,
            self.prompt,
            self.chosen,
            image_id=self.image_id,
            kind=self.kind,
            source=self.source,
            seed=self.seed,
            truth=self.truth,
            license=self.license,
            history=self.history,
        )


@dataclass(frozen=True)
class RatedRow:
    """One answer that was liked (`label` true) or not. The other fields are those of `InstructionRow`."""

    images: tuple[Picture, ...]
    prompt: str
    completion: str
    label: bool
    _: KW_ONLY
    image_id: int | str = ""
    kind: str = ""
    source: str = ""
    seed: int = 0
    truth: Truth | None = None
    license: str = ""
    history: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _pictures(self, "images")
        _text("prompt", self.prompt)
        _text("completion", self.completion)
        if not isinstance(self.label, bool):
            raise InputError(f"label must be true or false, got {self.label!r}; correct it or leave the row out")

    def to_conversation(self) -> dict[str, Any]:
        """The form of TRL's `KTOTrainer`; pictures are opened."""
        return {
            "images": [open_picture(image) for image in self.images],
            "prompt": _dialogue(self),
            "completion": [_assistant(self.completion)],
            "label": self.label,
        }


Row = InstructionRow | PreferenceRow | RatedRow


class _Conversations:
    """The transform of a data set of row numbers; a class, so that workers of any start method can have it."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = [self.rows[number].to_conversation() for number in batch["row"]]
        return {key: [row[key] for row in made] for key in made[0]}


def as_dataset(rows: Iterable[Row]) -> Any:
    """A `datasets.Dataset` of `rows`, all of one class, for TRL's trainers. Pictures are opened on access, not stored.

    Columns are those of `to_conversation`. Because they are made on access, a trainer must not drop "unused" ones:
    set `remove_unused_columns=False`.

    Raises:
        InputError: no rows, or rows of several classes. MissingExtraError: the extra `train` is not installed.
    """
    datasets = require("datasets", extra="train", feature="a data set of rows")
    held = tuple(rows)
    _one_class(held)
    data = datasets.Dataset.from_dict({"row": list(range(len(held)))})
    return data.with_transform(_Conversations(held))


def _one_class(rows: Sequence[Row]) -> None:
    classes = sorted({type(row).__name__ for row in rows})
    if len(classes) != 1:
        raise InputError(
            f"expected rows of one class, got {' and '.join(classes) or 'no rows'}; "
            "train on each class by itself (PreferenceRow.to_instruction gives the chosen side)"
        )
