"""Wrap the decoder's attention in one call: read and change keys, values and outputs, and keep the model's own kernel.

    out = around(attention),   attention.plain() = the kernel that the model runs anyway (sdpa, flash, ...)

`edit_attention` in `attention.py` changes scores, which no fused kernel shows, so it computes them itself. What is here
needs no scores: the kernel stays, and no attention map exists. A model that runs its eager attention gets the eager
attention of `attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from halluguard.decoding.engine.attention import plain_attention, use_attention
from halluguard.decoding.engine.layers import READS_LOGITS, decoder
from halluguard.errors import UnsupportedModelError

PREFIX = "halluguard around "  # of the names in transformers' registry of attention functions

Around = Callable[["Attention"], Tensor]
"""The attention of one layer -> its output (B, S, heads, D)."""


@dataclass
class Attention:
    """The self-attention of one layer in the forward under way.

    Args:
        module: the attention module.
        query: (B, heads, S, D).
        key, value: (B, key heads, K, D), the tensors that the cache keeps.
        mask: as the kernel gets it; None where the kernel masks the future itself.
        options: further arguments of the kernel.
        kernel: the attention function that the model runs without the wrap.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    options: Mapping[str, Any]
    kernel: Callable[..., tuple[Tensor, Tensor | None]]

    @property
    def layer(self) -> int:
        """Number of the layer, from 0."""
        return int(getattr(self.module, "layer_idx", 0) or 0)

    def plain(self) -> Tensor:
        """(B, S, heads, D): the output of the model's own kernel."""
        return self.kernel(self.module, self.query, self.key, self.value, self.mask, **self.options)[0]

    def of_last(self, queries: int, length: int, key: Tensor, value: Tensor) -> Tensor:
        """The output of the last queries with other keys and values, in eager arithmetic.

        Args:
            queries: number of queries.
            length: tokens of the sequence so far; the newest stands in column length - 1.
            key, value: of the shapes of the layer's own.

        Returns:
            (B, queries, heads, D).
        """
        mask = self.mask
        if mask is None:
            places = torch.arange(key.shape[2], device=key.device)
            newest = torch.arange(length - queries, length, device=key.device)
            mask = (places <= newest[:, None])[None, None]
        elif mask.ndim == 4:
            mask = mask[:, :, -queries:]
        else:
            raise UnsupportedModelError(
                f"an attention mask with four axes is expected, got {mask.ndim}; load the model with "
                'attn_implementation="sdpa"'
            )
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=key.dtype).masked_fill(~mask, torch.finfo(key.dtype).min)
        queried = self.query[:, :, -queries:]
        return plain_attention(self.module, queried, key, value, mask, **self.options)[0]


@dataclass
class _Wrap:
    """One wrap in one call; the members are those that `attention.check_used` and `pause_edits` read."""

    around: Around
    calls: int = 0
    paused: bool = False
    original_only: bool = False


def wrap_attention(view: PreTrainedModel, around: Around) -> None:
    """Run `around` in place of the decoder's self-attention in this call. For use in `bind`.

    Raises:
        UnsupportedModelError: at the first forward, if the family's attention cannot be wrapped.
    """
    own = view.config.get_text_config(decoder=True)._attn_implementation
    kernels = AttentionInterface()
    fused = isinstance(own, str) and own in kernels.valid_keys()
    name = f"{PREFIX}{own if fused else 'eager'}"
    if name not in kernels.valid_keys():
        masks = AttentionMaskInterface()
        kernel = kernels[own] if fused else plain_attention
        AttentionInterface.register(name, _wrapped(kernel))
        AttentionMaskInterface.register(name, masks[own] if fused and own in masks.valid_keys() else eager_mask)
    use_attention(view, name)
    wrap = _Wrap(around)
    for module in decoder(view).modules():
        module.__dict__["_halluguard_wrap"] = wrap
    view.__dict__.setdefault("_attention_edits", []).append(wrap)


def _wrapped(kernel: Callable[..., tuple[Tensor, Tensor | None]]) -> Callable[..., tuple[Tensor, None]]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, None]:
        wrap: _Wrap | None = module.__dict__.get("_halluguard_wrap")
        if wrap is None:
            raise UnsupportedModelError(
                f"attention inside the text decoder is expected, got {type(module).__name__}; {READS_LOGITS}"
            )
        wrap.calls += 1
        return wrap.around(Attention(module, query, key, value, attention_mask, options, kernel)), None

    return attend
