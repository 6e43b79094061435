"""OPERA: over-trust penalty and retrospection-allocation.

    phi(c) = 1e-7 max_j prod_{i >= j} sigma w_ij        i, j: tokens of the answer, the candidate c the last of both
    s(c)   = l(c) - alpha phi(c)                        for the n most probable tokens c, -inf for the others
             l(c) + alpha (attention of c to the image)          for the first ten tokens
    w: last layer, maximum over heads, each query's weights renormalised over the whole context; sigma = 50
    when the column j that is largest stays the same for more than 15 steps, the search returns to it and continues
    in another way (`engine/retrospection.py`).

Huang et al. 2024, "OPERA: alleviating hallucination in multi-modal large language models via over-trust penalty and
retrospection-allocation", CVPR, arXiv 2311.17911, eq. 3 to 6 and section 3.3. Original code: shikiw/OPERA (MIT),
`transformers-4.29.2/src/transformers/generation/utils.py`, `opera_beam_search`. In the code alone: the rule of the
first ten tokens, the factor 1e-7, the cut to n candidates; no return to the first ten columns, and at most n returns to
one place (the paper has a separate limit). After a return, the code chooses by the model's own logit among all tokens
that were not taken back (the paper: among the other candidates).

The attention of a candidate is known once it has been read, so each of the n is fed to the model ahead of time and
removed from the cache again: 1 + n readings per step. Steps repeated after a return cost one.

Differences from the original:
- each prompt of a batch returns by itself (the original takes one prompt), and so does each returned sequence;
- any number of beams, greedy search and sampling (the original refuses all but beams);
- tokens that were taken back are banned (the original gives them the logit of the least probable token), and a return
  forgets the bans of all later steps (the original clears the wrong places of its list, and keeps them);
- answers of any length (the original does not return past 512 tokens);
- fp32, products as sums of logarithms (the original's are fp16, whose maximum of 65504 is soon passed: the penalty is
  then infinite);
- alpha = 0 is plain generation, without returns.
As in the original, the columns that a beam trusted are remembered by its rank, not along its path.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, DynamicCache, StaticCache

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.compatibility import cache_name
from halluguard.decoding.engine.layers import decoder, depth
from halluguard.decoding.engine.retrospection import Judged, Retrospection
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import ModelInputs
from halluguard.decoding.setting_checks import check_alpha, check_range, check_whole
from halluguard.errors import SettingsError, UnsupportedModelError

EARLY = 10
"""Tokens of the answer, from the first, that are judged by their attention to the image."""

LARGEST = 1e30
"""Bound of the penalty, which grows by powers of sigma w: an infinite one would leave no candidate."""


def extended(products: Tensor, attention: Tensor, sigma: float) -> Tensor:
    """log prod_{i >= j} sigma w_ij for every column j, with one more token.

    Args:
        products: (N, T), logarithms of the products before the token.
        attention: (N, T + 1), the token's attention to the answer, itself the last.
        sigma: scale of the attention.
    """
    scaled = (sigma * attention).log()
    return torch.cat([products + scaled[:, :-1], scaled[:, -1:]], -1)


def penalty(products: Tensor) -> Tensor:
    """phi (N,), from the logarithms of the products with the candidate (N, T + 1)."""
    return (products.amax(-1) + math.log(1e-7)).exp().clamp(max=LARGEST)


@dataclass(frozen=True)
class OPERA(DecodingMethod):
    """Penalise candidates that attend to a token which all later tokens have attended to most, or return to that token.

    Meant for five beams. The decoder runs an attention of our own, as exact as the family's eager one. A return reads
    the prompt and the steps before it again, at one reading per step, for the whole batch. Refused: static caches,
    `use_cache=False`, prompt lookup and drafts, cross-attention models.

    With retrospection a streamer gets the answer at its end. A logits processor or stop criterion of your own is called
    again for repeated steps, so it must rely on the tokens that it is shown, not on a count of its calls.

    Args:
        alpha: strength of the penalty, >= 0; 0 is plain generation. Code: 1 (`penalty_weights`).
        candidates: n, >= 1; >= 2 without retrospection. Code: 5 (`num_attn_candidates`).
        sigma: scale of the attention, > 0. Code: 50 (`scale_factor`).
        threshold: number of steps, >= 2, at which one column may be trusted most before the search returns to it; None
            never returns. Code: 15.
    """

    runs_search = True
    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset(
            {"alpha": 1.0, "candidates": 5, "sigma": 50.0, "threshold": 15},
            "README; 1e-7, the first ten tokens and the returns from `generation/utils.py`",
        ),
        "efficient": Preset(
            {"alpha": 1.0, "candidates": 1, "sigma": 50.0, "threshold": 25}, "README of commit 61426ef"
        ),
        "penalty": Preset(
            {"alpha": 1.0, "candidates": 5, "sigma": 50.0, "threshold": None},
            "an ablation of ours: without returns",
        ),
    }
    reference = "Huang et al., CVPR 2024, arXiv 2311.17911. Code: shikiw/OPERA"
    cost = Cost(
        readings=6,
        requires="attention maps; a cache that grows; image tokens in the prompt; steps returned over are read again",
    )

    alpha: float = 1.0
    candidates: int = 5
    sigma: float = 50.0
    threshold: int | None = 15

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to switch the method off")
        if self.threshold is not None:
            check_whole("threshold", self.threshold, 2, advice="the code has 15, None never returns")
        advice = "the code has 5, and one leaves nothing to choose unless a threshold is set"
        check_whole("candidates", self.candidates, 2 if self.threshold is None else 1, advice=advice)
        check_range("sigma", self.sigma, 0, above=True, advice="the code has 50")

    def bind(self, view: FoldedView) -> LogitsCombiner:
        return _BoundOPERA(self, view)


class _BoundOPERA(LogitsCombiner):
    """OPERA within one call: the products of every beam, which follow the beams, and the reading ahead."""

    def __init__(self, method: OPERA, view: FoldedView) -> None:
        self.method, self.view = method, view
        self.past = None if method.threshold is None else Retrospection(view, method.threshold, method.candidates)
        self.products: Tensor | None = None
        self.attention: Tensor | None = None  # (N, K), the last token's attention in the last layer
        self.decoder_inputs: ModelInputs = {}
        self.ahead = False
        last = depth(view) - 1

        def watch(weights: Tensor, values: Tensor, layer: int) -> None:
            if layer == last:
                attention = weights[:, :, -1].float().amax(1)
                self.attention = attention / attention.sum(-1, keepdim=True)

        edit_attention(view, watch=watch)
        decoder(view).register_forward_pre_hook(self._entering, with_kwargs=True)
        reorder = view._reorder_cache

        def follow(cache: Cache, beam_idx: Tensor) -> Cache:
            if self.products is not None:
                self.products = self.products[beam_idx]
            if self.past is not None:
                self.past.parents = beam_idx
            return reorder(cache, beam_idx)

        view.__dict__["_reorder_cache"] = follow

    def search(self, own: Callable[..., Any], input_ids: Tensor, **kwargs: Any) -> Any:
        return own(input_ids, **kwargs) if self.past is None else self.past.search(own, input_ids, **kwargs)

    def _entering(self, module: nn.Module, args: tuple[Any, ...], kwargs: ModelInputs) -> None:
        if not self.ahead:
            self.decoder_inputs = kwargs

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        logits, layout = branches[0], self.view.layout
        if logits.shape[1] != 1:
            raise SettingsError("OPERA reads one token per step, got several; leave prompt lookup and drafts out")
        written = layout.length - layout.prompt
        self._remember(written)
        plain = logits[:, 0]
        if self.past is None:
            judged = self._judge(plain, written)
        else:
            judged = self.past.judge(written, lambda: self._judge(plain, written))
        scores = plain.scatter(-1, judged.tokens, judged.scores)
        allowed = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, judged.tokens, True)
        if self.past is not None:
            self.past.free(written, plain, scores, allowed)
        return scores[:, None], allowed[:, None]

    def _judge(self, logits: Tensor, written: int) -> Judged:
        """The most probable tokens (N, V), each read ahead of time."""
        layout = self.view.layout
        best = logits.topk(min(self.method.candidates, logits.shape[-1]), -1)
        image = layout.image_tokens(layout.length + 1)
        penalties, trusted = [], []
        for tokens in best.indices.unbind(-1):
            attention = self._attention_of(tokens[:, None])[:, : layout.length + 1]
            assert self.products is not None
            products = extended(self.products, attention[:, layout.prompt :], self.method.sigma)
            penalties.append(-(attention * image).sum(-1) if written < EARLY else penalty(products))
            trusted.append(products.argmax(-1))
        scores = best.values - self.method.alpha * torch.stack(penalties, -1)
        return Judged(best.indices, scores, torch.stack(trusted, -1).mode().values)

    def _remember(self, written: int) -> None:
        """Add the token that was just read to the products."""
        if self.attention is None:
            raise UnsupportedModelError(
                f"OPERA reads the attention of the last layer, and {type(self.view).__name__} computes it in a way of "
                "its own or not at all; use a method that reads logits only, such as VCD"
            )
        layout = self.view.layout
        if layout.prefill or self.products is None:
            self.products = self.attention.new_zeros(len(self.attention), 0)
        if written > self.products.shape[1]:
            attention = self.attention[:, layout.prompt : layout.length]
            self.products = extended(self.products, attention, self.method.sigma)

    def _attention_of(self, tokens: Tensor) -> Tensor:
        """(N, K + 1): the last layer's attention of one more token, which leaves no trace in the cache."""
        kwargs = {name: value for name, value in self.decoder_inputs.items() if name not in _PROMPT_ONLY}
        name, at, layout = cache_name(kwargs), kwargs.get("position_ids"), self.view.layout
        cache = None if name is None else kwargs[name]
        if name is None or isinstance(cache, StaticCache):
            raise SettingsError(
                f"OPERA looks ahead in a cache that grows, got {type(cache).__name__}; leave out use_cache=False and "
                "cache_implementation"
            )
        shrinks = type(cache) is DynamicCache and all(type(c).__name__ == "DynamicLayer" for c in cache.layers)
        kwargs[name] = cache if shrinks else copy.deepcopy(cache)
        mask = self.view.call.inputs["attention_mask"]
        mask = mask.repeat_interleave(layout.batch // len(mask), 0)  # over beams
        kwargs["attention_mask"] = F.pad(mask, [0, layout.length + 1 - mask.shape[1]], value=1)
        if at is not None:
            kwargs["position_ids"] = at[..., -1:] + 1
        if kwargs.get("cache_position") is not None:
            kwargs["cache_position"] = kwargs["cache_position"][-1:] + 1
        self.ahead = True
        try:
            decoder(self.view)(input_ids=tokens, **kwargs)
        finally:
            self.ahead = False
        if shrinks:
            kwargs[name].crop(-1)
        assert self.attention is not None
        return self.attention


_PROMPT_ONLY = ("input_ids", "inputs_embeds", "visual_pos_masks", "deepstack_visual_embeds")
