"""A model under examination: how its user prepares inputs and runs it, beside how its own checkpoint would.

Every probe compares two ways that should agree, so none of them needs a label. The user's way is `prepare` and `run`;
the reference is the checkpoint's own processor and a fresh copy of the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin
from transformers.utils import logging

from halluguard.chat_templates import render_chat
from halluguard.decoding.base import FORBIDDEN
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.negative_inputs import image_token_ids, visual_token_ids
from halluguard.errors import UnsupportedModelError

Inputs = dict[str, Any]
"""Keyword arguments of the model's forward."""

STEPS = 3
"""Tokens of the answer that are compared."""

QUESTIONS = ("Describe the image.", "What is there to see here?")
"""Two prompts that share neither their first word nor their last mark."""


class Prepare(Protocol):
    """Make the model inputs of B prompts; `images` holds a list of images for each."""

    def __call__(self, images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> Mapping[str, Any]: ...


Run = Callable[[Inputs], Tensor]
"""Logits (B, T, V) of the first T tokens of the greedy answer to prepared inputs."""


def by_processor(processor: ProcessorMixin) -> Prepare:
    """The usual way to prepare inputs: the processor's chat template where it has one, padding, no truncation."""

    def prepare(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> Mapping[str, Any]:
        prompts = [_prompt(processor, text, len(own)) for own, text in zip(images, texts, strict=True)]
        batch: Any = [list(own) for own in images] if any(images) else None
        if all(len(own) == 1 for own in images):
            batch = [own[0] for own in images]  # some processors take no lists of images
        return processor(images=batch, text=prompts, padding=True, return_tensors="pt")

    return prepare


def _prompt(processor: ProcessorMixin, text: str, images: int) -> str:
    if getattr(processor, "chat_template", None) is None:
        return text
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [{"type": "text", "text": text}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    return render_chat(processor, messages)


def by_generate(model: PreTrainedModel) -> Run:
    """The usual way to run a model: transformers' own `generate`."""

    def run(inputs: Inputs) -> Tensor:
        settings: dict[str, Any] = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False}
        settings |= {"num_beams": 1, "return_dict_in_generate": True, "output_logits": True}
        placeholders = image_token_ids(model)
        if placeholders:  # in an answer, one would stand for a missing image
            settings["suppress_tokens"] = placeholders
        with torch.inference_mode():
            output: Any = model.generate(**inputs, **settings)  # type: ignore[operator]  # a mixin hides it
            return torch.stack(output.logits, 1).float()

    return run


@dataclass
class Subject:
    """A model under examination, with its user's way of calling it.

    Args:
        model: the model, with its adapter if it has one.
        processor: the checkpoint's own processor, as reference.
        prepare: the user's way to prepare inputs; by default that of the processor.
        run: the user's way to run the model; by default `model.generate`.
        stop: ids of the user's stop tokens; by default those of the model's generation config.
        adapter: the adapter that should be in the model, if any.
        found: numbers of the faults found so far; probes that would only repeat one are skipped.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    prepare: Prepare | None = None
    run: Run | None = None
    stop: Sequence[int] | None = None
    adapter: str | Path | None = None
    found: set[int] = field(default_factory=set)
    _tolerance: float | None = field(default=None, init=False)

    def inputs(self, images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> Inputs:
        """Inputs as the user prepares them, on the model's device and of its type."""
        return self._placed((self.prepare or by_processor(self.processor))(images, texts))

    def reference(self, images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> Inputs:
        """Inputs as the checkpoint's own processor prepares them."""
        return self._placed(by_processor(self.processor)(images, texts))

    def _placed(self, inputs: Mapping[str, Any]) -> Inputs:
        def placed(value: Any) -> Any:
            if not torch.is_tensor(value):
                return value
            return value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)

        return {name: placed(value) for name, value in inputs.items()}

    def logits(self, inputs: Inputs) -> Tensor:
        """(B, T, V): the answer as the user runs the model."""
        with quiet():
            return (self.run or by_generate(self.model))(dict(inputs)).float()

    def fresh_logits(self, inputs: Inputs) -> Tensor:
        """(B, T, V): the answer of a fresh copy of the model."""
        with quiet():
            return by_generate(shared_copy_of(self.model))(dict(inputs))

    def tolerance(self, inputs: Inputs) -> float:
        """Largest `distance` between two correct runs, by the number type and by repeated runs on the device.

        The repetitions are measured once, on the first inputs.
        """
        if self._tolerance is None:
            limit = 1e-3 if self.model.dtype in (torch.float32, torch.float64) else 5e-2
            self._tolerance = max(limit, 3 * distance(self.fresh_logits(inputs), self.fresh_logits(inputs)))
        return self._tolerance

    @property
    def placeholders(self) -> list[int]:
        """Ids of the tokens that stand for image features; empty in families that show the image in another way."""
        return visual_token_ids(self.model)


def distance(one: Tensor, other: Tensor) -> float:
    """Largest difference of two answers' logits (B, T, V), relative to the largest logit if that is above 1.

    Each row is compared up to the first step at which its most probable token differs.
    """
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        steps = min(len(a), len(b))
        same = (a[:steps].argmax(-1) == b[:steps].argmax(-1)).long().cumprod(0)
        kept = min(steps, int(same.sum()) + 1)
        a, b = a[:kept], b[:kept]
        real = (a > FORBIDDEN) & (b > FORBIDDEN) & a.isfinite() & b.isfinite()
        worst = max(worst, float(((a - b).abs() / a[real].abs().max().clamp_min(1))[real].max()))
    return worst


def differs(one: Tensor, other: Tensor) -> bool:
    """Whether two answers' logits differ in any bit."""
    return one.shape != other.shape or not torch.equal(one, other)


def noise(seed: int, size: int = 448, grain: int = 8) -> Image.Image:
    """A card of random coloured blocks, `grain` pixels wide."""
    blocks = -(-size // grain)
    colours = np.random.default_rng(seed).integers(0, 256, (blocks, blocks, 3), dtype=np.uint8)
    return Image.fromarray(colours.repeat(grain, 0).repeat(grain, 1)[:size, :size])


def plain(value: int, size: int = 448) -> Image.Image:
    """A grey card of one brightness in [0, 255]."""
    return Image.new("RGB", (size, size), (value, value, value))


def pixels(inputs: Inputs, like: Inputs) -> tuple[Tensor, Tensor] | None:
    """All floating image values of two inputs in one row each; None if they have none, or different numbers of them."""
    names = [name for name, value in like.items() if torch.is_tensor(value) and value.is_floating_point()]
    if not names or any(name not in inputs for name in names):
        return None
    one, other = (torch.cat([_values(name, part[name]).flatten() for name in names]) for part in (inputs, like))
    return (one, other) if one.shape == other.shape else None


def _values(name: str, value: Tensor) -> Tensor:
    """The pixel values of an input: flattened patches begin with their row and column."""
    return (value[..., 2:] if name == "flattened_patches" else value).float()


def has_image(inputs: Inputs) -> bool:
    """Whether the inputs carry image data."""
    return any(torch.is_tensor(value) and value.is_floating_point() for value in inputs.values())


def takes_images(model: PreTrainedModel) -> bool:
    """Whether a model has inputs for images at all; some of the families are for text alone, or for proteins."""
    if getattr(model.config, "vision_config", None) is not None:
        return True
    names = inspect.signature(type(model).forward).parameters
    return any(part in name for name in names for part in ("pixel", "image", "patch", "video"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' advice about generation settings off the terminal."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_subject(model: object, processor: object) -> None:
    """Raise UnsupportedModelError unless a model and a processor of images and text were given."""
    if not callable(getattr(model, "generate", None)):
        raise UnsupportedModelError(
            f"expected an image-text-to-text model with generate, got {type(model).__name__}; load it with "
            "AutoModelForImageTextToText"
        )
    if not callable(processor):
        raise UnsupportedModelError(
            f"expected the checkpoint's processor, got {type(processor).__name__}; load it with AutoProcessor"
        )
