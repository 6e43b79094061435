"""Put the images of repeated prompts in the order of the prompts.

Beams and returned sequences repeat a prompt, and its images with it: A B A B. Some families of transformers repeat the
images of a prompt one by one, A A B B, so that the sequences see each other's images, in plain decoding too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from halluguard.decoding.engine.batch import ModelInputs


def in_prompt_order(
    encoded: Mapping[str, ModelOutput] | None, tokens: Sequence[int], times: int
) -> Mapping[str, ModelOutput] | None:
    """Features that were encoded before decoding, in the order of the prompts.

    Args:
        encoded: features per modality, as the family repeated them.
        tokens: number of image tokens in each prompt.
        times: number of repetitions of each prompt.
    """
    order = _order(_image_features(encoded), tokens, times)
    if encoded is None or order == sorted(order):
        return encoded
    image = copy.copy(encoded["image"])
    for name in ("pooler_output", "deepstack_features"):
        if image.get(name) is not None:
            image[name] = _arranged(image[name], order)
    return {**encoded, "image": image}


def _image_features(encoded: Mapping[str, ModelOutput] | None) -> list[Tensor]:
    """One entry per image; empty if there are none."""
    image: ModelInputs = (encoded or {}).get("image") or {}
    pooled = image.get("pooler_output")
    if pooled is None and image.get("deepstack_features"):
        pooled = image["deepstack_features"][0]
        pooled = pooled[1] if isinstance(pooled[0], int) else pooled
    return [] if pooled is None else list(pooled)


def _order(features: Sequence[Tensor], tokens: Sequence[int], times: int) -> list[int]:
    """Numbers of the features in the order of the prompts; empty where the features are not arranged by image."""
    order: list[int] = []
    for count in tokens:
        first = end = len(order)
        read = 0
        while end < len(features) and read < count * times:
            read += len(features[end])
            end += 1
        if read != count * times or (end - first) % times:
            return []
        own = list(range(first, end))
        runs = [own[i : i + times] for i in range(0, len(own), times)]
        if all(_same(features[run[0]], features[i]) for run in runs for i in run):
            own = [run[i] for i in range(times) for run in runs]
        order += own
    return order if len(order) == len(features) else []


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or torch.equal(one, other)


def _arranged(features: Any, order: Sequence[int]) -> Any:
    """A tensor or list with one entry per image, or such a list for each layer, in the given order."""
    if torch.is_tensor(features):
        return features[list(order)]
    if isinstance(features, tuple) and isinstance(features[0], int):
        return (features[0], _arranged(features[1], order))
    if len(features) == len(order) and torch.is_tensor(features[0]):
        return [features[i] for i in order]
    return [_arranged(layer, order) for layer in features]
