"""Records between an entry of a file and its rows: the entry as a source, drafts of rows, a format."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from halluguard.tuning.captions import PROMPTS
from halluguard.tuning.preferences.messages import Exchange

Fields: TypeAlias = Mapping[str, Any]
"""An entry as parsed."""

UNREAD_IMAGE = re.compile(r"(?:^|_)(?:images?|img|pictures?|pics?|photos?|pixel_values)(?:_|$)", re.IGNORECASE)
"""Keys that seem to hold an image; one that a format does not read must not be dropped silently."""

IMAGE_KEYS = ("images", "image", "image_path", "img_path", "image_paths")
"""Columns in which formats keep images; a value is a name, the bytes of a file, a struct of both, or a list of them."""


@dataclass(frozen=True)
class FormatOptions:
    """Choices that some formats leave to their reader.

    Args:
        aspect, margin: for VLFeedback: pairs differ by at least `margin` in this rating; the better answer is no less
            helpful.
        only_wrong: for HA-DPO's questions: keep only those that the model got wrong, as its own loader does. This skews
            the polarity of the chosen answers; report the yes-ratio.
        keep_leaking: for LRV-Instruction: keep answers that speak of the text their writer saw ("no mention of").
    """

    aspect: str = "Visual Faithfulness"
    margin: float = 1.0
    only_wrong: bool = False
    keep_leaking: bool = False


@dataclass(frozen=True)
class DraftRow:
    """A row before its images are found.

    Args:
        images: as the entry names them.
        image_id: id of the first image.
        prompt, chosen: question and (better) answer.
        rejected: the worse answer of a pair.
        pair: whether it is a pair; else an instruction, or a rating.
        label: whether the answer was liked, for a rating.
        kind: kind of the row.
        history: earlier exchanges.
        negative_images: images for which the answer is wrong.
    """

    images: tuple[object, ...]
    image_id: str
    prompt: str
    chosen: str
    rejected: str = ""
    pair: bool = False
    label: bool | None = None
    kind: str = ""
    history: tuple[Exchange, ...] = ()
    negative_images: tuple[object, ...] = ()


@dataclass(frozen=True)
class Skip:
    """A pair left out on purpose."""

    reason: str


@dataclass(frozen=True)
class Source:
    """An entry and what reading it depends on: its key in a mapping, the options, and a seed for drawn prompts."""

    fields: Fields
    key: str | None
    options: FormatOptions
    seed: int

    @property
    def images(self) -> tuple[object, ...]:
        return images_under(self.fields, *IMAGE_KEYS)

    @property
    def image_id(self) -> str:
        """The file name of the first image."""
        path = self.fields.get("image_path")
        return stem(path if isinstance(path, str) and path else name_of(next(iter(self.images), None)))

    @property
    def drawn_prompt(self) -> str:
        return random.Random(self.seed).choice(PROMPTS)

    def pair(self, prompt: str, chosen: str, rejected: str, **more: Any) -> DraftRow:
        """A pair about the entry's images."""
        about = {"images": self.images, "image_id": self.image_id, **more}
        return DraftRow(prompt=prompt, chosen=chosen, rejected=rejected, pair=True, **about)


def images_under(fields: Fields, *keys: str) -> tuple[object, ...]:
    """The images under the first of these keys that holds any."""
    for key in keys:
        value = fields.get(key)
        if value is not None and value != "" and value != []:
            return tuple(value) if isinstance(value, list) else (value,)
    return ()


Drafts: TypeAlias = Iterable[DraftRow | Skip]


@dataclass(frozen=True)
class Format:
    """A format of training data.

    Args:
        name: name of the data or tool.
        keys: its keys in words, for messages.
        recognises: whether an entry has this format, by its keys.
        read: function from an entry to drafts.
        license: licence of the data as its authors state it.
        minimal_edit: whether the rejected answers are the chosen ones with some words changed.
    """

    name: str
    keys: str
    recognises: Callable[[Fields], bool]
    read: Callable[[Source], Drafts]
    license: str = "unknown"
    minimal_edit: bool = False


def name_of(image: object) -> str:
    """The name of an image that an entry gives; empty where it gives only bytes."""
    if isinstance(image, Mapping):
        return str(image.get("path") or "")
    return "" if image is None or isinstance(image, bytes) else str(image)


def stem(name: object) -> str:
    """The last part of a path."""
    return PurePath(str(name)).name
