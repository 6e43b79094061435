"""Read chat requests in OpenAI's form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from halluguard.errors import ImageError, InputError
from halluguard.images import load_image
from halluguard.io import JsonObject
from halluguard.prompting.conversation import Conversation, read_messages
from halluguard.rendering import data_url
from halluguard.serving.errors import ApiError, invalid
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
        conversation: the messages, read; None where they have a form that is passed on unchecked, such as tool
            calls.
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


async def read_request(body: object, settings: ServerSettings) -> ChatRequest:
    """Check a request and read its images.

    Raises:
        ApiError: the request does not have OpenAI's form, or an image cannot be read.
    """
    if not isinstance(body, dict):
        raise invalid(f"expected a JSON object, got {type(body).__name__}; send a chat completion request")
    _check_fields(body)
    sent: JsonObject = {key: value for key, value in body.items() if key not in ("halluguard", "imagination")}
    reader = _Images(settings)
    messages, read = [], []
    for index, message in enumerate(body["messages"]):
        for_model, for_us = await reader.message(message, f"messages[{index}]")
        messages.append(for_model)
        read.append(for_us)
    sent["messages"] = messages
    request = ChatRequest(sent, read, imagination=body.get("imagination"), evidence=body.get("halluguard") is not False)
    try:
        return replace(request, conversation=read_messages(read))
    except InputError as error:
        return replace(request, unread=str(error))


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


class _Images:
    """Read the images of one request, within its limits on number and pixels."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.number = self.pixels = 0

    async def message(self, message: object, param: str) -> tuple[Any, Any]:
        """The message for the upstream server, and the message for the check."""
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            return message, message
        parts, read = [], []
        for index, part in enumerate(content):
            where = f"{param}.content[{index}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "image_url":
                sent, image = await self._image(part, where)
                parts.append(sent)
                read.append({"type": "image", "image": image})
            elif kind in ("text", "refusal"):
                parts.append(part)
                read.append(part)
            else:  # reading a path or a video could expose files of this machine
                raise invalid(f"expected parts of the types 'text' and 'image_url', got {kind!r}", where)
        return {**message, "content": parts}, {**message, "content": read}  # type: ignore[dict-item]

    async def _image(self, part: JsonObject, param: str) -> tuple[JsonObject, Image]:
        self.number += 1
        if self.number > self.settings.max_images:
            raise invalid(f"expected at most {self.settings.max_images} images, got more; send fewer", param)
        field = part.get("image_url")
        url = field.get("url") if isinstance(field, dict) else field
        data = await read_image(url, self.settings, param)
        try:
            image = await asyncio.to_thread(load_image, data, max_pixels=self.settings.max_pixels - self.pixels)
        except ImageError as error:
            raise ApiError(400, str(error), param=param, code="invalid_image") from error
        self.pixels += image.width * image.height
        if isinstance(url, str) and url.startswith("data:"):
            return part, image
        detail = {"detail": field["detail"]} if isinstance(field, dict) and "detail" in field else {}
        encoded = await asyncio.to_thread(data_url, image, max(image.size), quality=95)
        return {"type": "image_url", "image_url": {"url": encoded, **detail}}, image
