"""Read branches that are much shorter than the original in a forward of their own, and join the caches.

A branch without the image has a tenth of the original's tokens. In one batch with it, the branch would be padded to the
original's length and read in full, and the padding would take the attention of all branches off its fast path. So the
first forward reads the original as plain generation does, and then each shorter branch at its own length. Afterwards
the keys and values of the short branches are padded on the left, and all later forwards run one batch.

Only caches of the kinds below can be joined; with any other cache all branches are read together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer
from transformers.utils import ModelOutput

from halluguard.decoding.engine.batch import Branch, ImageData, ModelInputs, stacked
from halluguard.decoding.engine.compatibility import CACHE, cache_name, has_empty_states

SHORT = 0.75
"""A branch with at most this share of the longest prompt is read separately."""

_ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
_JOINABLE = (*_ATTENTION, LinearAttentionLayer)


@dataclass
class ShortBranches:
    """Branches that are read in a separate forward, after that of the others.

    Args:
        branches: the branches at their own length, by number.
        cache: an empty cache of the kind that the model fills.
        pad_id: token for masked places.
        longest: length of the other branches in tokens; the short caches are padded to it.
    """

    branches: dict[int, Branch]
    cache: DynamicCache
    pad_id: int
    longest: int

    def read(
        self, prepare: Callable[..., ModelInputs], forward: Callable[..., ModelOutput], logits_to_keep: int | None
    ) -> ModelOutput:
        """One forward of all short branches, padded to the longest of them."""
        length = max(branch.ids.shape[1] for branch in self.branches.values())
        padded = [branch.padded(length, self.pad_id) for branch in self.branches.values()]
        ids, inputs = stacked(padded, ImageData())
        inputs[CACHE] = self.cache
        prepared = prepare(ids, is_first_iteration=True, **inputs)
        prepared.pop("logits_to_keep", None)
        if prepared.get("position_ids") is None:  # counted in places of the cache
            prepared["position_ids"] = torch.arange(self.longest - length, self.longest, device=ids.device)[None]
        kept = {} if logits_to_keep is None else {"logits_to_keep": logits_to_keep}
        return forward(**{**prepared, **kept, "return_dict": True})

    def joined(self, others: ModelOutput, short: ModelOutput, cache: DynamicCache, branches: int) -> Tensor:
        """The last logits of all branches in their order; `cache` then holds all of them too."""
        order = [i for i in range(branches) if i not in self.branches] + list(self.branches)
        count = len(self.branches)
        batch = short["logits"].shape[0] // count
        places = [order.index(i) for i in range(branches)]
        join(cache, self.cache, torch.cat([torch.arange(p * batch, (p + 1) * batch) for p in places]))
        kept = min(others["logits"].shape[1], short["logits"].shape[1])
        parts = [
            *others["logits"][:, -kept:].split(batch),
            *short["logits"][:, -kept:].to(others["logits"].device).split(batch),
        ]
        return torch.cat([parts[place] for place in places])


def empty_copy(inputs: ModelInputs) -> DynamicCache | None:
    """An empty cache of the kind in `inputs`; None if it has been filled, or cannot be joined."""
    name = cache_name(inputs)
    cache = None if name is None else inputs[name]
    if type(cache) is not DynamicCache or cache.get_seq_length() or getattr(cache, "offloading", False):
        return None
    if any(type(layer) not in _JOINABLE or getattr(layer, "record_past", False) for layer in cache.layers):
        return None
    if any(isinstance(layer, LinearAttentionLayer) and not has_empty_states(layer) for layer in cache.layers):
        return None
    return copy.deepcopy(cache)


def join(cache: DynamicCache, short: DynamicCache, order: Tensor) -> None:
    """Append the sequences of `short` to `cache`, padded on the left, and put all of them in `order`."""
    layers: list[tuple[Any, Any]] = list(zip(cache.layers, short.layers, strict=True))
    for layer, other in layers:
        if isinstance(layer, LinearAttentionLayer):
            for states, others in (
                (layer.conv_states, other.conv_states),
                (layer.recurrent_states, other.recurrent_states),
            ):
                for i, state in states.items():
                    if state is not None:
                        states[i] = _together(state, others[i], order)
        elif layer.is_initialized:
            length = layer.keys.shape[-2]
            layer.keys = _together(layer.keys, _left_padded(other.keys, length), order)
            layer.values = _together(layer.values, _left_padded(other.values, length), order)


def _left_padded(states: Tensor, length: int) -> Tensor:
    return F.pad(states, [0, 0, length - states.shape[-2], 0])


def _together(state: Tensor, other: Tensor, order: Tensor) -> Tensor:
    whole = torch.cat([state, other.to(state.device)])
    in_order = order.tolist() == list(range(len(order)))
    return whole if in_order else whole[order.to(whole.device)]


def short_ones(own: Sequence[Branch], longest: int) -> dict[int, Branch]:
    """The negative branches that are short beside the longest prompt, by their numbers from 1."""
    return {i: branch for i, branch in enumerate(own, start=1) if branch.ids.shape[1] <= SHORT * longest}
