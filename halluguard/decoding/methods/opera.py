"""OPERA: over-trust penalty and retrospection-allocation.

    phi(c) = 1e-7 max_j prod_{i >= j} sigma w_ij        i, j: tokens of the answer, the candidate c the last of both
    s(c)   = l(c) - alpha phi(c)                        for the n most probable tokens c, -inf for the others
             l(c) + alpha (attention of c to the picture)          for the first ten tokens
    w: last layer, maximum over heads, each row renormalised over the whole context; sigma = 50
    and when the column j that is largest stays the same for more than 15 steps, the search goes back to it and takes
    another way (`retrospection.py`)

Huang et al. 2024, "OPERA: alleviating hallucination in multi-modal large language models via over-trust penalty and
retrospection-allocation", CVPR, arXiv 2311.17911, eq. 3 to 6 and section 3.3. Original code: shikiw/OPERA (MIT),
`transformers-4.29.2/src/transformers/generation/utils.py`, `opera_beam_search`. In the code alone: the first ten
tokens' rule, the factor 1e-7, the cut to n candidates; no return to the first ten columns, n returns to a place (the
paper has a limit of its own), and at a place returned to every token but those taken back, by the model's own logit
(the paper: the other candidates).

A candidate's attention is known once it has been read, so each of the n is fed to the model ahead of time and taken
out of the cache again: 1 + n readings a step. Steps repeated after a return cost one.

We differ:
- each prompt of a batch goes back by itself (the original takes one prompt), and each row of several returns;
- any number of beams, greedy search and sampling (the original refuses all but beams);
- what was taken back is banned (the original gives it the logit of the least probable token), and a return forgets
  the bans of all later steps (the original clears the wrong places of its list, and keeps them);
- answers of any length (the original does not go back past 512 tokens);
- fp32, products as sums of logarithms (the original's are fp16, whose 65504 is soon passed: the penalty is then
  infinite);
- alpha = 0 is plain generation, without returns.
As in the original, the columns a beam trusted are remembered by its rank, not along its path.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, StaticCache

from halluguard.decoding.base import Combined, DecodingMethod, LogitsCombiner, Step
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import decoder, depth
from halluguard.decoding.engine.retrospection import Judged, Retrospection
from halluguard.errors import SettingsError, UnsupportedModelError

EARLY = 10
"""Tokens of the answer, from the first, that are judged by their attention to the picture."""


LARGEST = 1e30
"""Bound of the penalty, which grows by powers of sigma w: an infinite one would leave no candidate."""


def extended(products: Tensor, row: Tensor, sigma: float) -> Tensor:
    """log prod_{i >= j} sigma w_ij for every column j, with one more token.

    Args:
        products: (N, T) logarithms before it. row: (N, T + 1), its attention to the answer, itself the last.
    """
    scaled = (sigma * row).log()
    return torch.cat([products + scaled[:, :-1], scaled[:, -1:]], -1)


def penalty(products: Tensor) -> Tensor:
    """phi (N,), from the logarithms of the products with the candidate (N, T + 1)."""
    return (products.amax(-1) + math.log(1e-7)).exp().clamp(max=LARGEST)


@dataclass(frozen=True)
class OPERA(DecodingMethod):
    """Penalise candidates that lean on a token of the answer that everything since has leaned on, or go back to it.

    Needs the last layer's attention (the decoder runs an attention of our own, as exact as the family's eager one),
    picture tokens in the prompt, and a cache that grows. Meant for five beams. Cost: 1 + `candidates` readings a
    step, of every beam; a return reads the prompt and the steps before it again, at one reading a step, for the whole
    batch.
    Refused: static caches, `use_cache=False`, prompt lookup and drafts, cross-attention models.

    With retrospection a streamer hears the answer when it stands, at its end; a logits processor or stop criterion of
    your own is called again for repeated steps, so it must go by the tokens it is shown, not by a count of its calls.

    Args:
        alpha: strength, >= 0; 0 is plain generation. Code: 1 (`penalty_weights`).
        candidates: n, >= 1; >= 2 without retrospection. Code: 5 (`num_attn_candidates`).
        sigma: scale, > 0. Code: 50 (`scale_factor`).
        threshold: steps, >= 2, for which a column may be trusted most before the search goes back to it; None never
            goes back. Code: 15.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "code": {"alpha": 1.0, "candidates": 5, "sigma": 50.0, "threshold": 15},
        "efficient": {"alpha": 1.0, "candidates": 1, "sigma": 50.0, "threshold": 25},
        "penalty": {"alpha": 1.0, "candidates": 5, "sigma": 50.0, "threshold": None},
    }

    alpha: float = 1.0
    candidates: int = 5
    sigma: float = 50.0
    threshold: int | None = 15

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the method off")
        if self.threshold is not None and not (isinstance(self.threshold, int) and self.threshold >= 2):
            raise SettingsError(
                f"threshold must be a whole number >= 2, got {self.threshold}; the code has 15, None never goes back"
            )
        fewest = 2 if self.threshold is None else 1
        if not (isinstance(self.candidates, int) and self.candidates >= fewest):
            raise SettingsError(
                f"candidates must be a whole number >= {fewest}, got {self.candidates}; the code has 5, and one leaves "
                "nothing to choose unless a threshold is set"
            )
        if not self.sigma > 0:
            raise SettingsError(f"sigma must be > 0, got {self.sigma}; the code has 50")

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    def bind(self, twin: Any) -> _Call:
        return _Call(self, twin)


class _Call(LogitsCombiner):
    """OPERA within one call: the products of every beam, which follow the beams, and the way to look ahead."""

    def __init__(self, method: OPERA, twin: Any) -> None:
        self.method, self.twin = method, twin
        self.past = None if method.threshold is None else Retrospection(twin, method.threshold, method.candidates)
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
            if self.past is not None:
                self.past.parents = beam_idx
            return reorder(past_key_values, beam_idx)

        twin.__dict__["_reorder_cache"] = follow

    def search(self, own: Callable[..., Any], input_ids: Tensor, **kwargs: Any) -> Any:
        return own(input_ids, **kwargs) if self.past is None else self.past.search(own, input_ids, **kwargs)

    def _entering(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.ahead:
            self.entered = kwargs

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        logits, layout = branches[0], self.twin.layout
        if logits.shape[1] != 1:
            raise SettingsError("OPERA reads one token a step, got several; leave prompt lookup and drafts out")
        written = layout.length - layout.prompt
        self._remember(written)
        plain = logits[:, 0]
        if self.past is None:
            judged = self._judge(plain, written)
        else:
            judged = self.past.judge(written, lambda: self._judge(plain, written))
        scores = plain.scatter(-1, judged.tokens, judged.scores)
        keep = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, judged.tokens, True)
        if self.past is not None:
            self.past.free(written, plain, scores, keep)
        return scores[:, None], keep[:, None]

    def _judge(self, logits: Tensor, written: int) -> Judged:
        """The most probable tokens (N, V), each read ahead of time."""
        layout = self.twin.layout
        best = logits.topk(min(self.method.candidates, logits.shape[-1]), -1)
        picture = layout.picture(layout.length + 1)
        charged, trusted = [], []
        for tokens in best.indices.unbind(-1):
            row = self._attention_of(tokens[:, None])[:, : layout.length + 1]
            assert self.products is not None
            products = extended(self.products, row[:, layout.prompt :], self.method.sigma)
            charged.append(-(row * picture).sum(-1) if written < EARLY else penalty(products))
            trusted.append(products.argmax(-1))
        scores = best.values - self.method.alpha * torch.stack(charged, -1)
        return Judged(best.indices, scores, torch.stack(trusted, -1).mode().values)

    def _remember(self, written: int) -> None:
        """Add the token that was just read to the products."""
        if self.row is None:
            raise UnsupportedModelError(
                f"OPERA reads the attention of the last layer, and {type(self.twin).__name__} computes it in a way of "
                "its own or not at all; use a method that reads logits only, such as VCD"
            )
        layout = self.twin.layout
        if layout.prefill or self.products is None:
            self.products = self.row.new_zeros(len(self.row), 0)
        if written > self.products.shape[1]:
            row = self.row[:, layout.prompt : layout.length]
            self.products = extended(self.products, row, self.method.sigma)

    def _attention_of(self, tokens: Tensor) -> Tensor:
        """(N, K + 1): the last layer's attention of one more token, which leaves no trace in the cache."""
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
