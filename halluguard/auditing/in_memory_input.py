"""Inputs that are no files: written down once in the run folder, under the name of their content, and read from there.

A run can then be continued: the same content gives the same file, and other content another.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder
from halluguard.errors import InputError, SettingsError
from halluguard.images import load_image
from halluguard.io import writing_to
from halluguard.records import DEFAULT_PROMPT

_CHUNK = 1 << 20


def spool_stream(stream: BinaryIO, out: Path) -> Path:
    """Write a stream (standard input, say) into the run folder; its file comes back."""
    return _spooled(iter(lambda: stream.read(_CHUNK), b""), out, "input")


def spool_rows(rows: Iterable[Mapping[str, Any]], out: Path, captioner: Any = None, images: Path | None = None) -> Path:
    """Write rows as JSON lines into the run folder; the file comes back.

    Args:
        rows: mappings such as {"image": ..., "caption": ..., "question": ...}. A picture may be a name under `images`,
            or the picture itself (PIL, array, bytes), which is written down with the row.
        out: the run folder.
        captioner: a `Guard` or a function (picture, question) -> text, asked for the rows without a caption.
        images: the folder of the pictures that are given by name.
    """
    answer = None if captioner is None else answerer(captioner)
    pictures = ImageFolder(images)
    lines = (json.dumps(_written(row, answer, pictures)).encode() + b"\n" for row in rows)
    return _spooled(lines, out, "rows", ".jsonl")


def answerer(captioner: Any) -> Callable[[Any, str], str]:
    """(picture, question) -> text, from a `Guard` or any function.

    What is audited of a Guard is what it answers in the end: its own corrections are part of it.
    """
    if callable(getattr(captioner, "drafts", None)) and callable(captioner):
        return lambda picture, question: captioner(picture, question).text
    if callable(captioner):
        return lambda picture, question: captioner(picture, question)
    raise SettingsError(f"a captioner is a Guard or a function (picture, question) -> text, got {captioner!r}")


def _written(row: Mapping[str, Any], answer: Callable[[Any, str], str] | None, pictures: ImageFolder) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise InputError(f"expected rows such as {{'image': ..., 'caption': ...}}, got a {type(row).__name__}")
    fields = dict(row)
    image: Any = fields.get("image")
    if answer is not None and fields.get("caption") is None:
        question = fields.setdefault("question", DEFAULT_PROMPT)
        picture = load_image(pictures.read(Row(0, "", image))) if isinstance(image, str) else load_image(image)
        fields["caption"] = answer(picture, question)
        if not isinstance(fields["caption"], str):
            raise InputError(f"a captioner must return a text, got a {type(fields['caption']).__name__}")
    if image is not None and not isinstance(image, str | int | Mapping):
        data = image if isinstance(image, bytes) else _png(image)
        fields["image"] = {"bytes": base64.b64encode(data).decode()}
    return fields


def _png(image: Any) -> bytes:
    """A picture as the bytes of a file that holds the same pixels."""
    buffer = io.BytesIO()
    load_image(image).save(buffer, "PNG")
    return buffer.getvalue()


def _spooled(pieces: Iterator[bytes], out: Path, name: str, suffix: str = "") -> Path:
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / f".{name}-{os.getpid()}"
        digest = hashlib.blake2b(digest_size=8)
        try:
            with temporary.open("wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            target = out / f"{name}-{digest.hexdigest()}{suffix}"
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    return target
