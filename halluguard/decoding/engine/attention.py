"""Attention read or changed inside one call: scores before the softmax, weights after it, per layer and per row.

    w = softmax(edit(q k^T * scale + mask)),   out = w v

A method calls `edit_attention` from its `bind`. The twin of that call then runs its decoder's self-attention
through the function below, which transformers finds by name in its own registry; the caller's model keeps the
attention it has. What the function does not know (attention sinks, position biases) is refused, and a decoder
that never passes here is refused too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from halluguard.decoding.engine.layers import decoder
from halluguard.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor

NAME = "halluguard"  # in transformers' registry of attention functions

Edit = Callable[["Tensor", int], "Tensor"]
Watch = Callable[["Tensor", int], None]
WatchValues = Callable[["Tensor", "Tensor", int], None]


@dataclass
class Edits:
    """What one call does to its attention; `calls` counts the layers that passed."""

    edit: Edit | None
    watch: Watch | None
    watch_values: WatchValues | None = None
    calls: int = 0


def edit_attention(
    twin: Any, edit: Edit | None = None, watch: Watch | None = None, watch_values: WatchValues | None = None
) -> Edits:
    """Let a method change or see the self-attention of the decoder in this call. For use in `bind`.

    Args:
        twin: what `bind` was given. `twin.layout` tells rows and picture columns apart.
        edit: `(scores, layer) -> scores`, before the softmax: (rows * batch, heads, S queries, K keys), masked
            places at the type's minimum. K is the length of the sequence so far (of the cache, when static).
        watch: `(weights, layer)`, after the softmax, of the same shape.
        watch_values: `(weights, values, layer)`, with the values (rows * batch, heads, K, D) they weigh.

    Raises:
        UnsupportedModelError: the family's attention is not one that can be run here.
    """
    edits = Edits(edit, watch, watch_values)
    _register()
    _run_through(twin, NAME)
    for module in decoder(twin).modules():
        module.__dict__["_halluguard_edits"] = [*module.__dict__.get("_halluguard_edits", ()), edits]
    twin.__dict__.setdefault("_attention_edits", []).append(edits)
    return edits


def eager(twin: Any) -> None:
    """Run the decoder of this call with the family's own eager attention, so that it returns its weights."""
    _run_through(twin, "eager")


def check_used(twin: Any) -> None:
    """Raise when a forward ended and a method's attention function was never called."""
    for edits in twin.__dict__.get("_attention_edits", ()):
        if not edits.calls:
            raise UnsupportedModelError(
                f"{type(twin).__name__} computes its attention in a way of its own, which cannot be read or edited: "
                "the method would have no effect; use a method that reads logits only, such as VCD"
            )


def _run_through(twin: Any, name: str) -> None:
    """Give the twin's modules configs of their own, whose decoder attends by the function `name`."""
    memo: dict[int, Any] = {}
    config = twin.config
    copy.deepcopy(config, memo)
    text = memo.get(id(config.get_text_config(decoder=True)))
    for module in twin.modules():
        own = module.__dict__.get("config")
        if own is not None:  # some modules (UDOP's stacks) have one that is not the model's
            module.__dict__["config"] = memo.get(id(own)) or copy.deepcopy(own, memo)
    inner = decoder(twin)
    for part in {id(c): c for c in (text, inner.__dict__.get("config")) if c is not None}.values():
        part._attn_implementation_internal = name
    for module in inner.modules():
        own = module.__dict__.get("config")
        if own is not None and getattr(own, "_attn_implementation", name) != name:
            module.__dict__["config"] = copy.deepcopy(own)
            module.__dict__["config"]._attn_implementation_internal = name


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    if NAME not in AttentionInterface().valid_keys():
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, eager_mask)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:

    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise UnsupportedModelError(
                f"plain attention is expected, and {type(module).__name__} adds {name!r} to it, which cannot be edited "
                "exactly; use a method that reads logits only, such as VCD"
            )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    layer = int(getattr(module, "layer_idx", 0) or 0)
    all_edits: list[Edits] = module.__dict__.get("_halluguard_edits", [])
    for edits in all_edits:
        edits.calls += 1
        scores = scores if edits.edit is None else edits.edit(scores, layer)
    weights = scores.float().softmax(-1).to(query.dtype)
    for edits in all_edits:
        if edits.watch is not None:
            edits.watch(weights, layer)
        if edits.watch_values is not None:
            edits.watch_values(weights, value, layer)
    return (weights @ value).transpose(1, 2).contiguous(), weights
