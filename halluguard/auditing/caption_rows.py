"""Rows: what an audit reads from any input, and how it finds the caption, the image and the question in it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from halluguard.auditing.inputs import Item, step_into
from halluguard.errors import InputError, SettingsError

# What the columns are called, the likeliest first. "conversations" and "messages" are how instruction-tuning data write
# a dialogue, of which the first answer is checked; "txt" and "json" are members of a WebDataset sample.
CAPTION_KEYS = (
    *("caption", "captions", "text", "answer", "response", "prediction", "output", "generated_text", "description"),
    *("txt", "cap", "json.caption", "json.text", "conversations.1.value", "messages.1.content"),
)
IMAGE_KEYS = (
    *("image", "image_path", "img_path", "image_file", "file_name", "filename", "img", "image_name", "path"),
    *("images.0", "image_id", "img_id", "imageid", "key", "__key__"),
)
ID_KEYS = ("id", "caption_id", "question_id", "sample_id", "uid", "uuid", "__key__")
QUESTION_KEYS = ("question", "query", "prompt", "instruction", "conversations.0.value", "messages.0.content")


@dataclass(frozen=True, slots=True)
class Keys:
    """Under which keys a row's parts stand; dots step into objects ("conversations.1.value"). None: not there."""

    caption: str
    image: str | None = None
    id: str | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One caption to check.

    Args:
        index: its place in the input, from 0: what identifies it.
        id: its name, from the id column, else the index; not necessarily unique.
        image: the picture's path or id, as the input writes it.
        caption: the text.
        question: what was asked, when the input says.
        image_bytes: the image's bytes, when the input carries them.
        code, reason: why it cannot be checked; empty when it can.
    """

    index: int
    id: str
    image: str = ""
    caption: str = ""
    question: str | None = None
    image_bytes: bytes | None = None
    code: str = ""
    reason: str = ""


def guess_keys(items: Iterable[Item], given: Mapping[str, str | None]) -> Keys:
    """The keys of a sample of items: those given, and for the others the first known name that most items have.

    Args:
        items: the first entries of the input.
        given: what the user named, by field of `Keys`; None or absent is guessed.

    Raises:
        InputError: no entry is readable, or none has a caption under a known name.
        SettingsError: a given key stands in no entry.
    """
    sample = [item.fields for item in items if item.fields is not None]
    if not sample:
        raise InputError("expected rows with a caption, and not one of the first could be read; check the input")
    known = {"caption": CAPTION_KEYS, "image": IMAGE_KEYS, "id": ID_KEYS, "question": QUESTION_KEYS}
    found: dict[str, str | None] = {}
    for part in (field.name for field in fields(Keys)):
        key = given.get(part)
        if key is None:
            key = _most_common(sample, known[part], part)
        elif all(step_into(row, key) is None for row in sample):
            raise SettingsError(f"no row has {part}s under {key!r}; the keys are {sorted(sample[0])}")
        found[part] = key
    caption = found.pop("caption")
    if caption is None:
        raise InputError(
            f"expected captions under one of the keys {', '.join(CAPTION_KEYS)}; the rows have {sorted(sample[0])}; "
            "name the right one with --caption-key"
        )
    return Keys(caption, **found)


def _most_common(sample: list[Mapping[str, Any]], known: tuple[str, ...], part: str) -> str | None:
    """The first known key that at least half of the rows have, with a value that can be one."""
    kinds = (str,) if part in ("caption", "question") else (str, int, Mapping)
    for key in known:
        values = [step_into(row, key) for row in sample]
        if 2 * sum(isinstance(value, kinds) and not isinstance(value, bool) for value in values) >= len(sample):
            return key
    return None


def row(index: int, item: Item, keys: Keys) -> Row:
    """An item as a row; one that cannot be checked says why and keeps its place."""
    if item.fields is None:
        return Row(index, str(index), code="unreadable-row", reason=item.problem)
    name = _name(step_into(item.fields, keys.id)) if keys.id else None
    picture, image = item.image_bytes, step_into(item.fields, keys.image) if keys.image else None
    if isinstance(image, Mapping):  # how datasets write a picture: {"bytes": ..., "path": ...}
        picture, image = _bytes(image.get("bytes")) or picture, image.get("path") or name or str(index)
    question = step_into(item.fields, keys.question) if keys.question else None
    caption = step_into(item.fields, keys.caption)
    found = Row(
        index=index,
        id=name if name is not None else str(index),
        image=_name(image) or "",
        caption=caption if isinstance(caption, str) else "",
        question=question.replace("<image>", "").strip() if isinstance(question, str) else None,
        image_bytes=picture,
    )
    return _with_problem(found, caption, image, keys)


def _with_problem(found: Row, caption: Any, image: Any, keys: Keys) -> Row:
    if not isinstance(caption, str):
        got = "nothing" if caption is None else type(caption).__name__
        return replace(found, code="no-caption", reason=f"expected a text under {keys.caption!r}, got {got}")
    if not caption.strip():
        return replace(found, code="empty-caption", reason="the caption is empty")
    if not found.image and found.image_bytes is None:
        got = "nothing" if image is None else type(image).__name__
        where = f"under {keys.image!r}" if keys.image else "in the row"
        return replace(found, code="no-image", reason=f"expected an image's name or id {where}, got {got}")
    return found


def _bytes(value: Any) -> bytes | None:
    """A picture's bytes, as they are or, in JSON, as base64."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return None
    return value if isinstance(value, bytes) else None


def _name(value: Any) -> str | None:
    """A name or id as text: 42 and "42" are the same."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return None
