"""Make rows of an input's entries: find the caption, the image, the id and the question under their keys."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from halluguard.auditing.fields import Text, shortened, step_into, texts_of, values_under
from halluguard.auditing.inputs import Item
from halluguard.correction.text.reading import MAX_CHARS
from halluguard.errors import InputError, SettingsError

# Names of columns, the likeliest first. Names for a model's text come before "answer", which may be the reference.
# "txt" and "json" are members of a WebDataset sample.
_DIALOGUES = ("conversations", "messages", "conversation", "dialogue", "turns")
_WORDS = ("value", "content", "text", "content.@text.text")


_EXCHANGES = ("texts.*.assistant", "qa_pairs.*.answer", "qa.*.answer", "conversations.*.assistant", "turns.*.answer")
"""Keys of dialogues that are lists of exchanges, each an object with a question and an answer."""


def _of_role(role: str) -> list[str]:
    """Possible keys of the first turn of a role in a dialogue."""
    return [f"{dialogue}.@{role}.{words}" for dialogue in _DIALOGUES for words in _WORDS]


CAPTION_KEYS = (
    *("caption", "captions", "prediction", "response", "generated_text", "output", "text", "answer", "description"),
    *("txt", "cap", "json.caption", "json.text", "choices.*.message.content"),
    *("response.body.choices.*.message.content", *_of_role("assistant"), *_EXCHANGES),
    *(f"json.{key}" for key in (*_of_role("assistant"), *_EXCHANGES)),
)
_IMAGE_PARTS = ("@image.image", "@image.path", "@image.url", "@image_url.image_url.url", "@image_url.image_url")
"""Keys of the image in a content part, in Hugging Face's form and in OpenAI's."""
IMAGE_KEYS = (
    *("image", "image_path", "img_path", "image_file", "file_name", "filename", "img", "image_name", "path"),
    *("images.*", "image.*", "image_id", "img_id", "imageid", "key", "__key__"),
    *(f"{dialogue}.@user.content.{part}" for dialogue in _DIALOGUES for part in _IMAGE_PARTS),
)
ID_KEYS = ("id", "caption_id", "question_id", "sample_id", "custom_id", "uid", "uuid", "__key__")
QUESTION_KEYS = (
    "question",
    "query",
    "prompt",
    "instruction",
    *_of_role("user"),
    *(f"json.{key}" for key in _of_role("user")),
)
_ANSWER_KEYS = ("prediction", "response", "generated_text", "output", "answer")
MAX_NAME = 10_000
"""Longest name of an image or a row, in characters."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a row's parts; dots step into objects ("conversations.1.value"). None: the part is missing."""

    caption: str
    image: str | None = None
    id: str | None = None
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One caption to check.

    Args:
        index: position in the input, from 0; it identifies the row.
        id: value of the id column, else the index; not necessarily unique.
        image: path or id of the image, as in the input.
        caption: the text to check.
        question: the question that the caption answers, if the input has one.
        image_bytes: bytes of the image, if the input carries them.
        code: code of the reason why the row is skipped ("no-caption"); empty if it can be checked.
        reason: the code in words.
    """

    index: int
    id: str
    image: str = ""
    caption: str = ""
    question: str | None = None
    image_bytes: bytes | None = None
    code: str = ""
    reason: str = ""


def guess_keys(items: Iterable[Item], named: Mapping[str, str | None]) -> Keys:
    """The keys of an input: those that the user named; for the others, the first known name that most entries have.

    Args:
        items: the first entries of the input.
        named: field of `Keys` -> key that the user named; the others are guessed.

    Raises:
        InputError: no entry is readable, or none has a caption under a known name.
        SettingsError: no entry has a named key.
    """
    items = list(items)
    sample = [item.fields for item in items if item.fields is not None]
    if not sample:
        reason = items[0].problem if items else "there are no rows"
        raise InputError(
            f"expected rows with a caption, but none of the first rows could be read ({reason}); check them"
        )
    known = {"caption": CAPTION_KEYS, "image": IMAGE_KEYS, "id": ID_KEYS, "question": QUESTION_KEYS}
    keys: dict[str, str | None] = {}
    for part in (field.name for field in fields(Keys)):
        key = named.get(part)
        if key is None:
            key = _most_common(sample, known[part], part)
        elif all(step_into(row, key) is None for row in sample):
            raise SettingsError(f"no row has {part}s under {key!r}; the keys are {shortened(sorted(sample[0]))}")
        keys[part] = key
    if not keys["question"] and _most_common(sample, ("text",), "question"):
        # A question file joined with its answers: {"text": "Is there a dog?", "answer": "Yes."}
        if keys["caption"] == "text" and not named.get("caption") and _most_common(sample, ("answer",), "caption"):
            keys["caption"] = "answer"
        if keys["caption"] in _ANSWER_KEYS:
            keys["question"] = "text"
    caption = keys.pop("caption")
    if caption is None:
        raise InputError(
            f"expected captions under one of the keys {', '.join(CAPTION_KEYS[:14])}, or an assistant's turn in "
            f"{' or '.join(_DIALOGUES[:2])}; the rows have {shortened(sorted(sample[0]))}; "
            "name the right one with --caption-key"
        )
    return Keys(caption, **keys)


def _most_common(sample: Sequence[Mapping[str, object]], known: tuple[str, ...], part: str) -> str | None:
    """The first known key under which at least half of the rows have a suitable value for this part."""
    for key in known:
        values = [step_into(row, key) for row in sample]
        if part == "caption":
            fitting = sum(isinstance(text.value, str) for row in sample for text in texts_of(row, key)[-1:])
        elif part == "question":
            fitting = sum(isinstance(value, str) for value in values)
        else:
            fitting = sum(isinstance(value, Mapping) or _name(value) is not None for value in values)
        if 2 * fitting >= len(sample):
            return key
    return None


def to_rows(index: int, item: Item, keys: Keys) -> list[Row]:
    """The rows of an entry, one for each of its texts. A row that cannot be checked keeps its index, with the reason.

    Args:
        index: index of the first row.
        item: the entry.
        keys: keys of its parts.
    """
    if item.fields is None:
        return [Row(index, str(index), code="unreadable-row", reason=item.problem)]
    texts = texts_of(item.fields, keys.caption, keys.question)
    return [_row(index + at, item, text, keys) for at, text in enumerate(texts)]


def _row(index: int, item: Item, text: Text, keys: Keys) -> Row:
    name = _name(step_into(item.fields, keys.id)) if keys.id else None
    images = values_under(item.fields, keys.image) if keys.image else []
    data, image = item.image_bytes, images[0] if images else None
    if isinstance(image, str) and image.startswith("data:image/"):
        data, image = _bytes(image.partition(",")[2]), name or str(index)
    elif isinstance(image, Mapping):  # the form of images in `datasets`: {"bytes": ..., "path": ...}
        data, image = _bytes(image.get("bytes")) or data, image.get("path") or name or str(index)
    question, caption = text.question, text.value
    row = Row(
        index=index,
        id=name if name is not None else str(index),
        image=_name(image) or "",
        caption=caption if isinstance(caption, str) else "",
        question=question.replace("<image>", "").strip() if isinstance(question, str) else None,
        image_bytes=data,
    )
    code, reason = _problem(row, caption, image, keys)
    if not code and (several := len({_name(one) or repr(one) for one in images})) > 1:
        code, reason = (
            "several-images",
            (
                f"expected one image for a text, got {several} under {keys.image!r}; name the right one with "
                "--image-key, as in images.0, or write a row for each image"
            ),
        )
    if not code:
        return row
    # A text that is too long to be checked is not kept in memory with a thousand others; the export reads it again.
    question = row.question and row.question[:MAX_CHARS]
    kept = replace(row, id=row.id[:MAX_NAME], image=row.image[:MAX_NAME], caption=row.caption[:MAX_CHARS])
    if len(row.caption) > MAX_CHARS or len(row.question or "") > MAX_CHARS:
        kept = replace(kept, caption=row.caption[:MAX_NAME])
        question = question and question[:MAX_NAME]
    return replace(kept, question=question, code=code, reason=reason)


def _problem(row: Row, caption: object, image: object, keys: Keys) -> tuple[str, str]:
    """(code, reason) if the row cannot be checked, else two empty texts."""
    if not isinstance(caption, str):
        got = "nothing" if caption is None else type(caption).__name__
        return "no-caption", f"expected a text under {keys.caption!r}, got {got}"
    if not caption.strip():
        return "empty-caption", "the caption is empty"
    for what, text, limit in (("image", row.image, MAX_NAME), ("id", row.id, MAX_NAME)):
        if len(text) > limit:
            return "unreadable-row", f"expected an {what} of at most {limit:,} characters, got {len(text):,}"
    for what, text in (("caption", caption), ("question", row.question or "")):
        if len(text) > MAX_CHARS:
            return "caption", f"expected a {what} of at most {MAX_CHARS:,} characters, got {len(text):,}"
    if not row.image and row.image_bytes is None:
        got = "nothing" if image is None else type(image).__name__
        where = f"under {keys.image!r}" if keys.image else "in the row"
        return "no-image", f"expected an image's name or id {where}, got {got}"
    return "", ""


def _bytes(value: object) -> bytes | None:
    """The bytes of an image, given as bytes or, in JSON, as base64."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return None
    return value if isinstance(value, bytes) else None


def _name(value: object) -> str | None:
    """A name or id as text: 42 and "42" are the same."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return None
