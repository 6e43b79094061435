"""Read conversations about images: messages in OpenAI's or Hugging Face's form, few-shot examples, clips as frames."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, TypeAlias

from PIL.Image import Image

from halluguard.errors import InputError
from halluguard.images import ImageSource, load_image, shrunk
from halluguard.records import DEFAULT_PROMPT
from halluguard.thinking import thoughts

Role = Literal["system", "user", "assistant"]

Example: TypeAlias = tuple[ImageSource, str, str]
"""An image, a question about it, and the right answer."""

ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Names of roles, and the role that each stands for."""

_TEXT_TYPES = ("text", "input_text", "output_text")
_IMAGE_KEYS = ("image", "image_url", "url", "path", "base64")
_IMAGE_TYPES = ("image", "image_url", "input_image")
_VIDEO_TYPES = ("video", "frames")


@dataclass(frozen=True)
class Clip:
    """Frames of a video, in order.

    Args:
        frames: RGB images.
        times: seconds from the start, one per frame.
    """

    frames: tuple[Image, ...]
    times: tuple[float, ...]


Part: TypeAlias = Image | Clip | str


@dataclass(frozen=True)
class Message:
    """One message: texts, images and clips in the order in which they were given.

    Args:
        role: "system", "user" or "assistant".
        parts: texts, RGB images and clips.
        is_example: whether it belongs to a few-shot example, whose image the answer is not about.
    """

    role: Role
    parts: tuple[Part, ...]
    is_example: bool = False

    @property
    def text(self) -> str:
        """The texts of the message, one per line."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> list[Image]:
        """The images and the frames of clips, in order."""
        return [image for part in self.parts if not isinstance(part, str) for image in images_of(part)]


@dataclass(frozen=True)
class Conversation:
    """Messages up to the one that is to be answered.

    Args:
        messages: at least one; the last one is the user's.
    """

    messages: tuple[Message, ...]

    @property
    def question(self) -> str:
        """The text that is to be answered."""
        return self.messages[-1].text

    @property
    def images(self) -> list[Image]:
        """All images in the order of their placeholders, frames of clips included, no larger than models need."""
        return [shrunk(image) for message in self.messages for image in message.images]

    @property
    def subjects(self) -> list[tuple[Image, float | None]]:
        """(image, seconds) of the images that the answer is about, without examples; seconds only for frames."""
        subjects: list[tuple[Image, float | None]] = []
        for part in (part for message in self.messages if not message.is_example for part in message.parts):
            if isinstance(part, Clip):
                subjects += zip(part.frames, part.times, strict=True)
            elif not isinstance(part, str):
                subjects.append((part, None))
        return subjects

    def without_asked_image(self) -> Conversation:
        """The same conversation without the images and clips of the last message that has one and is not an example."""
        last = max((i for i, m in enumerate(self.messages) if m.images and not m.is_example), default=None)
        if last is None:
            return self
        text_only = replace(
            self.messages[last], parts=tuple(p for p in self.messages[last].parts if isinstance(p, str))
        )
        return Conversation((*self.messages[:last], text_only, *self.messages[last + 1 :]))


def images_of(part: Image | Clip) -> tuple[Image, ...]:
    """An image by itself, or the frames of a clip."""
    return part.frames if isinstance(part, Clip) else (part,)


def asked(image: ImageSource | Sequence[ImageSource], prompt: str) -> Conversation:
    """The conversation of one question about one image, or about several.

    Raises:
        InputError: the prompt has no words.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"expected a prompt with words, got {prompt!r}; ask something, e.g. {DEFAULT_PROMPT!r}")
    images = image if isinstance(image, list | tuple) else [image]
    return Conversation((Message("user", (*map(load_image, images), prompt)),))


def with_examples(conversation: Conversation, examples: Iterable[Example]) -> Conversation:
    """The conversation after few-shot examples: each a question with its image, and the answer to it.

    They stand after the system prompt and before everything else.

    Raises:
        InputError: an example is not an image, a question and an answer.
    """
    turns: list[Message] = []
    for example in examples:
        if not isinstance(example, list | tuple) or len(example) != 3:
            raise InputError(f"expected examples of (image, question, answer), got {example!r}; give all three")
        image, question, answer = example
        for name, text in (("a question", question), ("an answer", answer)):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"expected an example with {name} in words, got {text!r}; write one")
        turns.append(Message("user", (load_image(image), question), is_example=True))
        turns.append(Message("assistant", (answer,), is_example=True))
    after = next((i for i, m in enumerate(conversation.messages) if m.role != "system"), 0)
    return Conversation((*conversation.messages[:after], *turns, *conversation.messages[after:]))


def read_messages(messages: Sequence[Mapping[str, Any]], images: Sequence[ImageSource] | None = None) -> Conversation:
    """Read messages in OpenAI's form or in Hugging Face's.

    Args:
        messages: mappings with a role ("system", "developer", "user", "assistant") and a content: a text, or a list of
            parts. A part is a text, an image ({"type": "image", "image": source}, {"type": "image_url", "image_url":
            {"url": "data:image/png;base64,..."}}), a placeholder of an image in `images` ({"type": "image"}), or a clip
            ({"type": "video", "video": [frames], "fps": 2}, or "times" in place of "fps").
        images: the images of the placeholders, in order.

    Raises:
        InputError: a message cannot be read; the sentence says which one and why.
        ImageError: an image cannot be read.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise InputError(
            f"expected a list of messages, got {type(messages).__name__}; write [{{'role': 'user', 'content': ...}}]"
        )
    messages = list(messages)
    if not messages:
        raise InputError("expected at least one message, got an empty list; add one of the role 'user'")
    if images is not None and (isinstance(images, str | bytes) or not isinstance(images, Iterable)):
        raise InputError(f"expected images=[...], a list, got {type(images).__name__}; write images=[image]")
    supply = iter([] if images is None else list(images))
    read = tuple(_message(index, message, supply) for index, message in enumerate(messages))
    left = sum(1 for _ in supply)
    if left:
        raise InputError(
            f"expected as many images as placeholders, got {left} more; add a part {{'type': 'image'}} for each, or "
            "leave them out of images=[...]"
        )
    if read[-1].role != "user":
        raise InputError(
            f"expected the last message to be the user's, got one of the role {read[-1].role!r}; ask something after it"
        )
    for index, message in enumerate(read):
        if message.role == "system" and index:
            raise InputError(f"expected the system prompt as message 0, got one as message {index}; put it first")
    return Conversation(read)


def _message(index: int, message: object, supply: Iterator[ImageSource]) -> Message:
    if not isinstance(message, Mapping):
        raise InputError(
            f"message {index} should be a mapping with a role and a content, got {type(message).__name__}; write both"
        )
    name, content = message.get("role"), message.get("content")
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise InputError(f"message {index} should have one of the roles {sorted(ROLES)}, got {name!r}; choose one")
    entries = [content] if isinstance(content, str) else content
    if not isinstance(entries, Sequence):
        raise InputError(f"message {index} should have a text or a list of parts as content, got {content!r}; add it")
    parts = [_part(index, entry, supply) for entry in entries]
    if role == "assistant":
        parts = [_without_thoughts(part) if isinstance(part, str) else part for part in parts]
    whole = Message(role, tuple(part for part in parts if not isinstance(part, str) or part.strip()))
    if not whole.text:
        raise InputError(f"message {index} should have a text, got none; add a part {{'type': 'text', 'text': ...}}")
    if role != "user" and whole.images:
        raise InputError(
            f"message {index} of the role {role!r} should be text alone, got an image; give it to the user"
        )
    return whole


def _without_thoughts(text: str) -> str:
    """An earlier answer as the model sees it again, without the reasoning before it."""
    for start, end in reversed(thoughts(text)):
        text = text[:start] + text[end:]
    return text.strip()


def _part(index: int, entry: object, supply: Iterator[ImageSource]) -> Part:
    if isinstance(entry, str):
        return entry
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if isinstance(entry, Mapping):
        if kind in _TEXT_TYPES:
            if isinstance(entry.get("text"), str):
                return entry["text"]
            raise InputError(f"message {index} has a part of type {kind!r} without a text; add 'text': ... to it")
        if kind in _IMAGE_TYPES:
            return _image(index, entry, supply)
        if kind in _VIDEO_TYPES:
            return _clip(index, entry)
    raise InputError(
        f"message {index} should have parts of the types 'text', 'image', 'image_url' and 'video', got "
        f"{kind or type(entry).__name__!r}; see halluguard.prompting.conversation.read_messages"
    )


def _image(index: int, entry: Mapping[str, Any], supply: Iterator[ImageSource]) -> Image:
    sources = [entry[key] for key in _IMAGE_KEYS if entry.get(key) is not None]
    if len(sources) > 1:
        raise InputError(f"message {index} gives an image twice, as {sorted(entry)}; leave all but one out")
    if not sources:
        supplied = next(supply, None)
        if supplied is None:
            raise InputError(
                f"message {index} has a placeholder of an image and images=[...] has none left for it; add the image "
                "there, or to the part as {'type': 'image', 'image': ...}"
            )
        return load_image(supplied)
    source: Any = sources[0].get("url") if isinstance(sources[0], Mapping) else sources[0]
    if entry.get("base64") is not None:
        return load_image(_decoded(index, source))
    if isinstance(source, str) and source.startswith("data:"):
        return load_image(_decoded(index, source.partition(",")[2]))
    if isinstance(source, str) and "://" in source:
        raise InputError(
            f"message {index} names an image on the network ({source[:60]!r}), which is never fetched; load it and "
            "give the image itself, or a data: URL"
        )
    if entry.get("type") != "image":
        raise InputError(
            f"message {index} should give its image_url as a data: URL, got {str(source)[:60]!r}; for a path or an "
            "image write {'type': 'image', 'image': ...}"
        )
    return load_image(source)


def _decoded(index: int, text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"message {index} has an image that is not base64 ({error}); encode it again") from error


def _clip(index: int, entry: Mapping[str, Any]) -> Clip:
    frames = entry.get("video", entry.get("frames"))
    if not isinstance(frames, list | tuple) or not frames:
        raise InputError(
            f"message {index} should give its video as a list of frames, got {type(frames).__name__}; decode it first, "
            "e.g. eight frames at equal distances"
        )
    times, fps = entry.get("times"), entry.get("fps", 1)
    if times is None:
        if not isinstance(fps, int | float) or not fps > 0:
            raise InputError(
                f"message {index} should give the frames per second as a number > 0, got {fps!r}; "
                "give fps, or times in seconds"
            )
        times = [i / fps for i in range(len(frames))]
    times = [*times] if isinstance(times, Iterable) else [times]
    if not all(isinstance(time, Real) for time in times):
        raise InputError(f"message {index} should give times in seconds, got {times!r}; give one number per frame")
    if len(times) != len(frames):
        raise InputError(
            f"message {index} should give one time per frame, got {len(times)} for {len(frames)} frames; give one each"
        )
    return Clip(tuple(map(load_image, frames)), tuple(map(float, times)))
