"""Rows of training data, which builders and readers make and trainers take.

    InstructionRow   (images, prompt) -> completion                  learnt as written (SFT)
    PreferenceRow    (images, prompt) -> chosen rather than rejected (DPO and kin), perhaps with negative images
    RatedRow         (images, prompt) -> completion, liked or not    (KTO)

Rows are frozen and light: an image is a path, a PIL image, or a recipe that is drawn when a trainer asks for it, so a
million rows fit in memory. All randomness of a row comes from its own `seed`, never from the order in which rows are
read: the same row gives the same image in every worker, epoch and process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from PIL.Image import Image

from halluguard.errors import InputError, require
from halluguard.images import ImageSource, load_image

if TYPE_CHECKING:  # an extra: datasets is not installed with the core
    from datasets import Dataset


@runtime_checkable
class Recipe(Protocol):
    """An image that is made when it is needed; the same recipe always makes the same pixels."""

    def make(self) -> Image: ...


RowImage: TypeAlias = "ImageSource | Recipe"
"""An image of a row: what `load_image` opens, or a `Recipe`."""

Conversation: TypeAlias = dict[str, Any]
"""One row in TRL's conversational form: opened images, lists of messages, plain values."""


def open_image(image: RowImage) -> Image:
    """Open or draw `image` as upright RGB.

    Raises:
        ImageError: a missing or unreadable file.
    """
    return image.make() if isinstance(image, Recipe) else load_image(image)


def row_seed(*parts: object) -> int:
    """A number in [0, 2**63) that depends on `parts` alone: not on the process, the platform or Python's hash seed.

    >>> row_seed(0, "000000310196.jpg", "crop") == row_seed(0, "000000310196.jpg", "crop") != row_seed(1, "a")
    True
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Truth:
    """Names of objects known to be in the (positive) image, and names known to be absent from it."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingRow:
    """Base class of the three kinds of rows.

    Args:
        images: images the prompt is about; none for a text-only row.
        prompt: the user's last message.
        image_id: id of the first image; rows are split and checked for leakage by it.
        kind: name of the kind of row its builder made ("negative-popular", "erased", "retention", ...).
        source: name of the data it comes from ("COCO", "LRV-Instruction", "sandbox", ...).
        seed: seed of everything random in the row.
        truth: known facts about the image.
        license: licence of the data, as its authors name it; a model card must repeat it.
        history: earlier (question, answer) exchanges of the same dialogue.

    Raises:
        InputError: an empty text, or images that are not a sequence.
    """

    images: tuple[RowImage, ...]
    prompt: str
    _: KW_ONLY
    image_id: int | str = ""
    kind: str = ""
    source: str = ""
    seed: int = 0
    truth: Truth | None = None
    license: str = ""
    history: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "negative_images"):
            value = getattr(self, name, ())
            if isinstance(value, str | os.PathLike) or not isinstance(value, Sequence):
                raise InputError(
                    f"{name} must be a sequence of images, got {type(value).__name__}; write ({name[:-1]},)"
                )
            if hasattr(self, name):
                object.__setattr__(self, name, tuple(value))
        for name in ("prompt", *self.answer_fields()):
            text = getattr(self, name)
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{name} must be a text that is not empty, got {text!r}; leave the row out")
            if not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text):
                raise InputError(f"{name} holds half a surrogate pair, which no file can store; leave the row out")

    @classmethod
    def answer_fields(cls) -> tuple[str, ...]:
        """Names of the fields that hold answers."""
        return tuple(f.name for f in fields(cls) if f.name in ("completion", "chosen", "rejected"))

    def to_conversation(self) -> Conversation:
        """TRL's conversational form: opened images, the prompt's messages, each answer as a message of its own.

        The images stand before the first question, as in LLaVA's data.
        """
        messages: list[dict[str, object]] = []
        for question, answer in self.history:
            messages += [_user(question, 0 if messages else len(self.images)), _assistant(answer)]
        messages.append(_user(self.prompt, 0 if messages else len(self.images)))
        answers = {name: [_assistant(getattr(self, name))] for name in self.answer_fields()}
        return {"images": [open_image(image) for image in self.images], "prompt": messages, **answers}


def _user(text: str, images: int) -> dict[str, object]:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def _assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


@dataclass(frozen=True)
class InstructionRow(TrainingRow):
    """One text to learn. Fields not named here are those of `TrainingRow`.

    Args:
        completion: the answer to learn.
    """

    completion: str


@dataclass(frozen=True)
class PreferenceRow(TrainingRow):
    """Two answers to one question, of which the first is better. Fields not named here are those of `TrainingRow`.

    Args:
        chosen, rejected: the better and the worse answer; neither empty, and different in more than case and blanks.
        negative_images: as many as `images`, or none: images for which `chosen` should be less likely. They are the
            image side of the preference (the conditional term of mDPO); a trainer without it ignores them.
        minimal_edit: whether `rejected` is `chosen` with some words changed in place, so that weights on the changed
            tokens (DDPO) make sense.

    >>> PreferenceRow(("a.jpg",), "Is there a dog in the image?", "No.", "Yes.", kind="negative-random").chosen
    'No.'
    """

    chosen: str
    rejected: str
    _: KW_ONLY
    negative_images: tuple[RowImage, ...] = ()
    minimal_edit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if _normalised(self.chosen) == _normalised(self.rejected):
            raise InputError(f"chosen and rejected must differ, got {self.chosen!r} twice; leave the row out")
        if self.negative_images and len(self.negative_images) != len(self.images):
            raise InputError(
                f"negative_images must be as many as images ({len(self.images)}) or none, got "
                f"{len(self.negative_images)}; give one for each"
            )

    def to_conversation(self) -> Conversation:
        """TRL's conversational preference form, with `negative_images` (a list, perhaps empty) beside `images`.

        Images are opened, negative ones drawn. The other columns are plain values for a trainer's own use.
        """
        row = super().to_conversation()
        return {
            **row,
            "negative_images": self._negatives(row["images"]),
            "seed": self.seed,
            "kind": self.kind,
            "image_id": str(self.image_id),
            "minimal_edit": self.minimal_edit,
        }

    def _negatives(self, opened: Sequence[Image]) -> list[Image]:
        """The negative images; a recipe that changes an image of the row gets that image already opened."""
        made = []
        for negative in self.negative_images:
            for image, pixels in zip(self.images, opened, strict=True):
                if getattr(negative, "source", None) is image and not isinstance(image, Recipe):
                    negative = replace(negative, source=pixels)  # type: ignore[type-var]
            made.append(open_image(negative))
        return made

    def to_instruction(self) -> InstructionRow:
        """The chosen answer alone, for plain fine-tuning."""
        shared = {f.name: getattr(self, f.name) for f in fields(TrainingRow)}
        return InstructionRow(completion=self.chosen, **shared)


@dataclass(frozen=True)
class RatedRow(TrainingRow):
    """One answer that was liked or not. Fields not named here are those of `TrainingRow`.

    Args:
        completion: the answer.
        label: whether it was liked.
    """

    completion: str
    label: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label, bool):
            raise InputError(f"label must be true or false, got {self.label!r}; correct it or leave the row out")

    def to_conversation(self) -> Conversation:
        """The form of TRL's `KTOTrainer`; images are opened."""
        return {**super().to_conversation(), "label": self.label}


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


class _OpenRows:
    """The transform of a data set of row numbers; a class, so that workers of any start method can have it."""

    def __init__(self, rows: Sequence[TrainingRow]) -> None:
        self.rows = rows

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[object]]:
        conversations = [self.rows[number].to_conversation() for number in batch["row"]]
        return {key: [row[key] for row in conversations] for key in conversations[0]}


def as_dataset(rows: Iterable[TrainingRow]) -> Dataset:
    """A `datasets.Dataset` of `rows`, all of one class, for TRL's trainers. Images are opened on access, not stored.

    The columns are those of `to_conversation`. Because they are made on access, a trainer must not drop "unused" ones:
    set `remove_unused_columns=False`.

    Raises:
        InputError: no rows, or rows of several classes. MissingExtraError: the extra `train` is not installed.
    """
    datasets = require("datasets", extra="train", feature="a data set of rows")
    kept = tuple(rows)
    classes = sorted({type(row).__name__ for row in kept})
    if len(classes) != 1:
        raise InputError(
            f"expected rows of one class, got {' and '.join(classes) or 'no rows'}; "
            "train on each class by itself (PreferenceRow.to_instruction gives the chosen side)"
        )
    data = datasets.Dataset.from_dict({"row": list(range(len(kept)))})
    return data.with_transform(_OpenRows(kept))
