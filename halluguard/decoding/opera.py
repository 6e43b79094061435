"""OPERA: over-trust penalty.

    phi(c) = 1e-7 max_j prod_{i >= j} sigma w_ij        i, j: tokens of the answer, the candidate c the last of both
    s(c)   = l(c) - alpha phi(c)                        for the n most probable tokens c, -inf for the others
             l(c) + alpha (attention of c to the picture)          for the first ten tokens
    w: last layer, maximum over heads, each row renormalised over the whole context; sigma = 50

Huang et al. 2024, "OPERA: alleviating hallucination in multi-modal large language models via over-trust penalty and
retrospection-allocation", CVPR, arXiv 2311.17911, eq. 3 to 6. Original code: shikiw/OPERA (MIT),
`transformers-4.29.2/src/transformers/generation/utils.py`, `opera_beam_search`. The first ten tokens' rule, the
factor 1e-7 and the cut to n candidates are in the code alone.

A candidate's attention is known once it has been read, so each of the n is fed to the model ahead of time and taken
out of the cache again: 1 + n readings a step.

We differ: the penalty alone. Retrospection (rolling back when one summary token stays the most trusted for 15 tokens)
is left out: the search is the host's, which does not go back. Any number of beams, greedy search and sampling (the
original refuses all but beams); batches; fp32 (the original's products are fp16); alpha = 0 is plain generation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from halluguard.decoding.attention import edit_attention
from halluguard.decoding.branches import Step, folded_view
from halluguard.decoding.negatives import Negative
from halluguard.decoding.parts import decoder, depth
from halluguard.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

EARLY = 10
"""Tokens of the answer, from the first, that are judged by their attention to the picture."""


def extended(products: Tensor, row: Tensor, sigma: float) -> Tensor:
    """prod_{i >= j} sigma w_ij for every column j, with one more token.

    Args:
        products: (N, T) before it. row: (N, T + 1), its attention to the answer, itself the last.
    """
    import torch

    scaled = sigma * row
    return torch.cat([products * scaled[:, :-1], scaled[:, -1:]], -1)


def penalty(products: Tensor) -> Tensor:
    """phi (N,), from the products with the candidate (N, T + 1)."""
    return 1e-7 * products.amax(-1)


@dataclass(frozen=True)
class OPERA:
    """Penalise candidates that lean on a token of the answer that everything since has leaned on.

    Needs the last layer's attention (the decoder runs an attention of our own, as exact as the family's eager one),
    picture tokens in the prompt, and a cache that grows. Meant for five beams. Cost: 1 + `candidates` readings a
    step, of every beam. Refused: static caches, `use_cache=False`, prompt lookup and drafts, cross-attention models.

    Args:
        alpha: strength, >= 0; 0 is plain generation. Code: 1 (`penalty_weights`).
        candidates: n, >= 2. Code: 5 (`num_attn_candidates`).
        sigma: scale, > 0. Code: 50 (`scale_factor`).
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "penalty": {"alpha": 1.0, "candidates": 5, "sigma": 50.0},
    }
    negatives: ClassVar[tuple[Negative, ...]] = ()

    alpha: float = 1.0
    candidates: int = 5
    sigma: float = 50.0

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the penalty off")
        if not (isinstance(self.candidates, int) and self.candidates >= 2):
            raise SettingsError(
                f"candidates must be a whole number >= 2, got {self.candidates}; one candidate leaves nothing to "
                "choose, without the retrospection that is left out here"
            )
        if not self.sigma > 0:
            raise SettingsError(f"sigma must be > 0, got {self.sigma}; the code has 50")

    @property
    def neutral(self) -> bool:
        return self.alpha == 0

    def attach(self, twin: Any) -> _Call:
        return _Call(self, twin)

    def fold(self, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]:
        raise SettingsError("OPERA folds by what its attach returns: it reads with the model; use .on(model)")

    def on(self, model: Any, processor: Any = None) -> Any:
        """A view of `model` that generates with this method; see `branches.folded_view`."""
        return folded_view(self, model, processor)


class _Call:
    """OPERA within one call: the products of every beam, which follow the beams, and the way to look ahead."""

    def __init__(self, method: OPERA, twin: Any) -> None:
        self.method, self.twin = method, twin
        self.products: Tensor | None = None
        self.row: Tensor | None = None  # (N, K), the last token's attention in the last layer
        self.entered: dict[str, Any] = {}
        self.ahead = False
        last = depth(twin) - 1

        def watch(weights: Tensor, layer: int) -> None:
            if layer == last:
                row = weights[:, :, -1].float().amax(1)
                self.row = row / row.sum(-1, keepdim=True)

        edit_attention(twin, watch=watch)
        decoder(twin).register_forward_pre_hook(self._entering, with_kwargs=True)
        reorder = twin._reorder_cache

        def follow(past_key_values: Any, beam_idx: Tensor) -> Any:
            if self.products is not None:
                self.products = self.products[beam_idx]
            return reorder(past_key_values, beam_idx)

        twin.__dict__["_reorder_cache"] = follow

    def _entering(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.ahead:
            self.entered = kwargs

    def fold(self, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]:
        import torch

        logits, layout = rows[0], self.twin.layout
        if logits.shape[1] != 1:
            raise SettingsError("OPERA reads one token a step, got several; leave prompt lookup and drafts out")
        written = layout.length - layout.prompt
        self._remember(written)
        best = logits[:, 0].topk(min(self.method.candidates, logits.shape[-1]), -1)
        picture = layout.picture(layout.length + 1)
        charged = []
        for tokens in best.indices.unbind(-1):
            row = self._attention_of(tokens[:, None])[:, : layout.length + 1]
            if written < EARLY:
                charged.append(-(row * picture).sum(-1))
            else:
                assert self.products is not None
                charged.append(penalty(extended(self.products, row[:, layout.prompt :], self.method.sigma)))
        judged = best.values - self.method.alpha * torch.stack(charged, -1)
        scores = logits[:, 0].scatter(-1, best.indices, judged)
        keep = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best.indices, True)
        return scores[:, None], keep[:, None]

    def _remember(self, written: int) -> None:
        """Add the token that was just read to the products."""
        assert self.row is not None
        layout = self.twin.layout
        if layout.prefill or self.products is None:
            self.products = self.row.new_zeros(len(self.row), 0)
        if written > self.products.shape[1]:
            row = self.row[:, layout.prompt : layout.length]
            self.products = extended(self.products, row, self.method.sigma)

    def _attention_of(self, tokens: Tensor) -> Tensor:
        """(N, K + 1): the last layer's attention of one more token, which leaves no trace in the cache."""
        import torch.nn.functional as F
        from transformers import DynamicCache, StaticCache

        kwargs = {name: value for name, value in self.entered.items() if name not in _PROMPT_ONLY}
        cache, at, layout = kwargs.get("past_key_values"), kwargs.get("position_ids"), self.twin.layout
        if cache is None or isinstance(cache, StaticCache):
            raise SettingsError(
                f"OPERA looks ahead in a cache that grows, got {type(cache).__name__}; leave out use_cache=False and "
                "cache_implementation"
            )
        shrinks = type(cache) is DynamicCache and all(type(c).__name__ == "DynamicLayer" for c in cache.layers)
        kwargs["past_key_values"] = cache if shrinks else copy.deepcopy(cache)
        mask = self.twin.call.inputs["attention_mask"]
        mask = mask.repeat_interleave(layout.batch // len(mask), 0)  # over beams
        kwargs["attention_mask"] = F.pad(mask, [0, layout.length + 1 - mask.shape[1]], value=1)
        if at is not None:
            kwargs["position_ids"] = at[..., -1:] + 1
        if kwargs.get("cache_position") is not None:
            kwargs["cache_position"] = kwargs["cache_position"][-1:] + 1
        self.ahead = True
        try:
            decoder(self.twin)(input_ids=tokens, **kwargs)
        finally:
            self.ahead = False
        if shrinks:
            cache.crop(-1)
        assert self.row is not None
        return self.row


_PROMPT_ONLY = ("input_ids", "inputs_embeds", "visual_pos_masks", "deepstack_visual_embeds")
