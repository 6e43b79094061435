"""Read chat requests in OpenAI's form."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from halluguard.errors import ImageError, InputError
from halluguard.image_files import header_pixels
from halluguard.images import load_image
from halluguard.io import JsonObject
from halluguard.prompting.conversation import Conversation, read_messages
from halluguard.rendering import data_url
from halluguard.serving.errors import ApiError, invalid
from halluguard.serving.held_memory import HeldPixels
from halluguard.serving.image_sources import read_image
from halluguard.serving.settings import ServerSettings

MAX_CHOICES = 16
"""Largest `n` of a request."""


@dataclass(frozen=True)
class ChatRequest:
    """A request that was read.

    Args:
        body: the request for the upstream server: images are data URLs, and the extra fields of halluguard are removed.
        messages: the messages with their images opened, as `Guard.chat` takes them.
        conversation: the messages as a conversation; None if their form is passed on unchecked, such as tool calls.
        unread: reason why there is no conversation; "" if there is one.
        imagination: the extra field of that name, in [-1, 1]; None leaves the model as it is.
        evidence: True if the reply holds claims, verdicts and edits.
    """

    body: JsonObject
    messages: list[Any]
    conversation: Conversation | None = None
    unread: str = ""
    imagination: float | None = None
    evidence: bool = True

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def choices(self) -> int:
        return int(self.body.get("n") or 1)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk that states the number of tokens."""
        options = self.body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True


@contextlib.asynccontextmanager
async def reading(body: object, settings: ServerSettings, held: HeldPixels) -> AsyncIterator[ChatRequest]:
    """Check a request and read its images, for which `held` reserves room until the block ends.

    Raises:
        ApiError: the request does not have OpenAI's form, an image cannot be read, or there is no room for it.
    """
    if not isinstance(body, dict):
        raise invalid(f"expected a JSON object, got {type(body).__name__}; send a chat completion request")
    _check_fields(body)
    files = [await _image_file(part, where, settings) for where, part in _images(body["messages"], settings)]
    pixels = sum(await asyncio.to_thread(lambda: [header_pixels(data) for _, data in files]))
    async with held.room(min(pixels, settings.max_pixels)):  # images with more pixels are refused below
        yield await _read(body, files, settings)


def _images(messages: list[object], settings: ServerSettings) -> Iterator[tuple[str, JsonObject]]:
    """Yield (place, part) of each image in the messages.

    Raises:
        ApiError: there are too many, or a part is neither a text nor an image.
    """
    number = 0
    for i, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else []):
            where = f"messages[{i}].content[{j}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image_url":
                number += 1
                if number > settings.max_images:
                    raise invalid(f"expected at most {settings.max_images} images, got more; send fewer", where)
                yield where, part
            elif kind not in ("text", "refusal"):  # reading a path or a video could expose files of this machine
                raise invalid(f"expected parts of the types 'text' and 'image_url', got {kind!r}", where)


async def _image_file(part: JsonObject, where: str, settings: ServerSettings) -> tuple[str, bytes]:
    """(place, bytes of the file) of an image."""
    field = part.get("image_url")
    return where, await read_image(field.get("url") if isinstance(field, dict) else field, settings, where)


async def _read(body: JsonObject, files: list[tuple[str, bytes]], settings: ServerSettings) -> ChatRequest:
    """The request, with its images read from these files."""
    sent: JsonObject = {key: value for key, value in body.items() if key not in ("halluguard", "imagination")}
    left, opened = settings.max_pixels, []
    for where, data in files:
        try:
            image = await asyncio.to_thread(load_image, data, max_pixels=left)
        except ImageError as error:
            raise ApiError(400, str(error), param=where, code="invalid_image") from error
        left -= image.width * image.height
        opened.append(image)
    images = iter(opened)
    sent["messages"], messages = [], []
    for message in body["messages"]:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            sent["messages"].append(message)
            messages.append(message)
            continue
        shown = [next(images) if part["type"] == "image_url" else None for part in content]
        parts = [
            part if image is None else await _sent(part, image) for part, image in zip(content, shown, strict=True)
        ]
        sent["messages"].append({**message, "content": parts})
        read = [
            part if image is None else {"type": "image", "image": image}
            for part, image in zip(content, shown, strict=True)
        ]
        messages.append({**message, "content": read})
    request = ChatRequest(
        sent, messages, imagination=body.get("imagination"), evidence=body.get("halluguard") is not False
    )
    try:
        return replace(request, conversation=read_messages(messages))
    except InputError as error:
        return replace(request, unread=str(error))


async def _sent(part: JsonObject, image: Image) -> JsonObject:
    """The part of an image for the upstream server, where any URL becomes a data: URL."""
    field = part["image_url"]
    url = field.get("url") if isinstance(field, dict) else field
    if isinstance(url, str) and url[:5].lower() == "data:":
        return part
    detail = {"detail": field["detail"]} if isinstance(field, dict) and "detail" in field else {}
    encoded = await asyncio.to_thread(data_url, image, max(image.size), quality=95)
    return {"type": "image_url", "image_url": {"url": encoded, **detail}}


def _check_fields(body: JsonObject) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise invalid("expected 'model' to be the name of a model; add it", "model")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise invalid("expected 'messages' to be a list with at least one message; add it", "messages")
    n = body.get("n")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_CHOICES):
        raise invalid(f"expected 'n' to be a whole number from 1 to {MAX_CHOICES}, got {n!r}; change it", "n")
    if body.get("stream") not in (None, True, False):
        raise invalid("expected 'stream' to be true or false; change it", "stream")
    imagination = body.get("imagination")
    if imagination is not None and (
        isinstance(imagination, bool) or not isinstance(imagination, int | float) or not -1 <= imagination <= 1
    ):
        raise invalid(f"expected 'imagination' in [-1, 1], got {imagination!r}; change it", "imagination")
