"""Write inputs that are not files (streams, rows in memory) into the run folder, and read them from there.

A run can then be continued: equal content gives the same file, and different content another file.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder
from halluguard.errors import InputError, SettingsError
from halluguard.images import ImageSource, load_image
from halluguard.io import writing_to
from halluguard.records import DEFAULT_PROMPT

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_STREAM = 4 * 1024**3
"""Most bytes that are read from standard input."""
_CHUNK = 1 << 20


class Captioner(Protocol):
    """A `Guard`, or any function (image, question) -> text."""

    def __call__(self, image: Image, question: str, /) -> object: ...


def spool_stream(stream: BinaryIO, out: Path, suffix: str = "", most: int | None = None) -> Path:
    """Write a stream, such as standard input, into the run folder and return its file, with an ending if it has one.

    Raises:
        InputError: the stream holds more than `most` bytes.
    """
    return _spooled(_pieces(stream, most), out, "input", suffix)


def _pieces(stream: BinaryIO, most: int | None) -> Iterator[bytes]:
    size = 0
    while piece := stream.read(_CHUNK):
        size += len(piece)
        if most is not None and size > most:
            raise InputError(
                f"expected at most {most:,} bytes on standard input, got more; save it as a file and name it"
            )
        yield piece


def spool_rows(
    rows: Iterable[Mapping[str, object]], out: Path, captioner: Captioner | None = None, images: Path | None = None
) -> Path:
    """Write rows as JSON lines into the run folder and return the file.

    Args:
        rows: mappings such as {"image": ..., "caption": ..., "question": ...}. An image may be a name under `images`,
            or the image itself (PIL, array, bytes), which is written with the row.
        out: the run folder.
        captioner: captioner that answers the rows without a caption.
        images: folder of the images that are given by name.
    """
    answer = None if captioner is None else answerer(captioner)
    folder = ImageFolder(images)
    lines = (json.dumps(_written(row, answer, folder)).encode() + b"\n" for row in rows)
    return _spooled(lines, out, "rows", ".jsonl")


def answerer(captioner: Captioner) -> Callable[[Image, str], object]:
    """(image, question) -> text, from a `Guard` or any function.

    For a Guard, the final answer is audited, including its own corrections.
    """
    if not callable(captioner):
        raise SettingsError(
            f"a captioner is a Guard or a function (image, question) -> text, got {captioner!r}; pass one"
        )
    if callable(getattr(captioner, "drafts", None)):
        return lambda image, question: getattr(captioner(image, question), "text", None)
    return captioner


def _written(
    row: Mapping[str, object], answer: Callable[[Image, str], object] | None, folder: ImageFolder
) -> dict[str, object]:
    if not isinstance(row, Mapping):
        raise InputError(
            f"expected rows such as {{'image': ..., 'caption': ...}}, got a {type(row).__name__}; pass mappings"
        )
    fields = dict(row)
    image = fields.get("image")
    if answer is not None and fields.get("caption") is None:
        question = str(fields.setdefault("question", DEFAULT_PROMPT))
        opened = load_image(folder.read(Row(0, "", image)) if isinstance(image, str) else cast(ImageSource, image))
        fields["caption"] = answer(opened, question)
        if not isinstance(fields["caption"], str):
            raise InputError(
                f"a captioner must return a text, got a {type(fields['caption']).__name__}; correct the captioner"
            )
    if image is not None and not isinstance(image, str | int | Mapping):
        data = image if isinstance(image, bytes) else _png(cast(ImageSource, image))
        fields["image"] = {"bytes": base64.b64encode(data).decode()}
    return fields


def _png(image: ImageSource) -> bytes:
    """An image as the bytes of a PNG file with the same pixels."""
    buffer = io.BytesIO()
    load_image(image).save(buffer, "PNG")
    return buffer.getvalue()


def _spooled(pieces: Iterator[bytes], out: Path, name: str, suffix: str) -> Path:
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / f".{name}.{secrets.token_hex(4)}.tmp"
        digest = hashlib.blake2b(digest_size=8)
        try:
            with temporary.open("xb") as file:
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
