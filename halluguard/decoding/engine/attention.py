"""Read or change the decoder's self-attention in one call: scores before the softmax, weights after it.

    w = softmax(edit(q k^T * scale + mask)),   out = w v

A method calls `edit_attention` from its `bind`. The shared copy of that call then runs its decoder's self-attention
through `_attend`, which transformers finds by name in its own registry; the caller's model keeps its attention. A
family whose attention has parts that `_attend` does not know (attention sinks, position biases) is refused, and so is
one whose decoder never calls it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from halluguard.decoding.engine.layers import READS_LOGITS, decoder
from halluguard.errors import UnsupportedModelError

NAME = "halluguard"  # in transformers' registry of attention functions

Edit = Callable[[Tensor, int], Tensor]
Watch = Callable[[Tensor, Tensor, int], None]


@dataclass
class Edits:
    """The edits of attention in one call.

    Args:
        edit, watch, original_only: see `edit_attention`.
        calls: number of layers that have run through `_attend`.
        paused: whether the forward under way reads negative branches alone, which `original_only` leaves as they are.
    """

    edit: Edit | None
    watch: Watch | None
    original_only: bool = False
    calls: int = 0
    paused: bool = False


def edit_attention(
    view: PreTrainedModel, edit: Edit | None = None, watch: Watch | None = None, original_only: bool = False
) -> None:
    """Let a method change or see the decoder's self-attention in this call. For use in `bind`.

    Args:
        view: the argument of `bind`. `view.layout` tells the branches and the image tokens apart.
        edit: `(scores, layer) -> scores`, before the softmax: (branches * batch, heads, S queries, K keys), masked
            places at the type's minimum. K is the length of the sequence so far (of the cache, if it is static).
        watch: `(weights, values, layer)`: weights after the softmax, of the shape of the scores, and the values
            (branches * batch, heads, K, D) that they weigh.
        original_only: whether `edit` changes the original branch alone; it then sees no forward without that branch.

    Raises:
        UnsupportedModelError: the family's attention cannot be run here.
    """
    edits = Edits(edit, watch, original_only)
    if NAME not in AttentionInterface().valid_keys():
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, eager_mask)
    use_attention(view, NAME)
    for module in decoder(view).modules():
        module.__dict__["_halluguard_edits"] = [*module.__dict__.get("_halluguard_edits", ()), edits]
    view.__dict__.setdefault("_attention_edits", []).append(edits)


def check_used(view: nn.Module) -> None:
    """Raise UnsupportedModelError if a forward has ended and a method's attention function was never called."""
    for edits in view.__dict__.get("_attention_edits", ()):
        if not edits.calls:
            raise UnsupportedModelError(
                f"{type(view).__name__} computes its attention in a way of its own, which cannot be read or edited: "
                f"the method would have no effect; {READS_LOGITS}"
            )


def pause_edits(view: nn.Module, paused: bool) -> None:
    """Switch the edits of the original branch off or on, around a forward of negative branches alone."""
    for edits in view.__dict__.get("_attention_edits", ()):
        edits.paused = paused and edits.original_only


def use_attention(view: PreTrainedModel, name: str) -> None:
    """Give the modules of a shared copy their own configs, with which the decoder runs the attention `name`.

    "eager" is the family's own attention that returns its weights.
    """
    copies: dict[int, Any] = {}
    copy.deepcopy(view.config, copies)
    text = copies.get(id(view.config.get_text_config(decoder=True)))
    for module in view.modules():
        config = module.__dict__.get("config")
        if config is not None:  # some modules (UDOP's stacks) have a config of their own
            module.__dict__["config"] = copies.get(id(config)) or copy.deepcopy(config, copies)
    inner = decoder(view)
    for part in (text, inner.__dict__.get("config")):
        if part is not None:
            part._attn_implementation_internal = name
    for module in inner.modules():
        config = module.__dict__.get("config")
        if config is not None and getattr(config, "_attn_implementation", name) != name:
            module.__dict__["config"] = copy.deepcopy(config)
            module.__dict__["config"]._attn_implementation_internal = name


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Plain attention with the edits of the call."""
    all_edits: list[Edits] = module.__dict__.get("_halluguard_edits", [])
    return plain_attention(
        module, query, key, value, attention_mask, scaling, dropout, softcap, all_edits=all_edits, **kwargs
    )


def plain_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    *,
    all_edits: Sequence[Edits] = (),
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Attention written out, as exact as the eager one of transformers: output (B, S, heads, D) and weights.

    Args:
        module: the attention module.
        query: (B, heads, S, D).
        key, value: (B, key heads, K, D).
        attention_mask: (B or 1, 1, S, at least K), added to the scores; None masks nothing.
        scaling: factor of the scores; default D ** -0.5.
        dropout: not applied: nothing is trained here.
        softcap: bound of the scores, by tanh; None for none.
        all_edits: edits of the scores.
        **kwargs: other arguments of a kernel; sinks and biases are refused.
    """
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise UnsupportedModelError(
                f"plain attention is expected, and {type(module).__name__} adds {name!r}; {READS_LOGITS}"
            )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    layer = int(getattr(module, "layer_idx", 0) or 0)
    for edits in all_edits:
        edits.calls += 1
        scores = scores if edits.edit is None or edits.paused else edits.edit(scores, layer)
    weights = scores.float().softmax(-1).to(query.dtype)
    for edits in all_edits:
        if edits.watch is not None:
            edits.watch(weights, value, layer)
    return (weights @ value).transpose(1, 2).contiguous(), weights
