"""Differences between the supported versions of transformers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from transformers import ProcessorMixin
from transformers.cache_utils import LinearAttentionLayer
from transformers.generation.utils import GenerationMixin

CACHES = ("past_key_values", "cache", "cache_params")
"""Names of the cache among a model's inputs and outputs: from transformers 5.24 on, all are `cache`."""


_TAKEN = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
CACHE = "cache" if "cache" in _TAKEN else "past_key_values"
"""Name under which `prepare_inputs_for_generation` takes the cache; from transformers 5.24 on the older one warns."""


def cache_name(inputs: Mapping[str, Any]) -> str | None:
    """The name under which `inputs` have a cache; None if they have none."""
    names = set(inputs)  # asked for a name it does not have, an output of transformers 5.24 prints a warning
    return next((name for name in CACHES if name in names and inputs[name] is not None), None)


def has_empty_states(layer: LinearAttentionLayer) -> bool:
    """Whether a recurrent layer of a cache has read nothing, and keeps its states by number.

    transformers 5.8.1 keeps one state of each kind in a layer, without a number; such caches are not joined.
    """
    filled: dict[int, bool] | bool = layer.has_previous_state
    return isinstance(filled, dict) and not any(filled.values())


def image_makers(processor: ProcessorMixin) -> list[Callable[[Any], Any]]:
    """Ways in which a processor makes image inputs, each a function of the images.

    A processor may set options of its image processor in its class (from transformers 5.23 on in an attribute), or add
    some where it calls it (Pixtral's patch size).
    """
    kinds = getattr(processor, "valid_processor_kwargs", None)
    options = {**getattr(kinds, "_defaults", {}).get("images_kwargs", {}), **getattr(processor, "images_kwargs", {})}
    options["return_tensors"] = "pt"
    of_images = image_processor(processor)
    makers: list[Callable[[Any], Any]] = [] if of_images is None else [lambda images: of_images(images, **options)]
    inside = getattr(processor, "_process_images", None)
    if inside is not None:
        makers.append(lambda images: inside(images, **options)[0])
    return makers


def image_processor(processor: object) -> Callable[..., Any] | None:
    """The part of a processor that reads images, or else the part that reads clips (InstructBLIP video)."""
    return getattr(processor, "image_processor", None) or getattr(processor, "video_processor", None)


def without_cache(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """All of `inputs` but the cache."""
    return {name: value for name, value in inputs.items() if name not in CACHES}
