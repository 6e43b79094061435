"""DeCo: dynamic correction decoding by earlier layers.

    C       = the fewest most probable tokens whose probabilities sum to top_p, at most top_k of them
    i, y*   = argmax over layers i and tokens y of C of p_i(y),   p_i: final norm and head applied to layer i
    s(y)    = l(y) + alpha p_i(y*) l_i(y)  on C,  -inf elsewhere

Wang et al. 2025, "MLLM can see? Dynamic correction decoding for hallucination mitigation", ICLR, arXiv 2410.11779.
Original code: zjunlp/Deco (no licence file found), `transformers/generation/utils.py`.

Differences from the original: batches under greedy search and sampling too (the original corrects one sequence there),
fp32, every mode of generation; alpha = 0 is plain generation, where the original still cuts to C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step
from halluguard.decoding.engine.layers import check_layer_range, early_logits, layer_range
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_alpha, check_range, check_whole


def candidate_tokens(logits: Tensor, top_p: float, top_k: int) -> Tensor:
    """(..., V) bool: C, of the model's own logits (..., V)."""
    best = logits.softmax(-1).topk(min(top_k, logits.shape[-1]), -1)
    before = best.values.cumsum(-1) - best.values
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best.indices, before < top_p)


def corrected(logits: Tensor, early: Tensor, allowed: Tensor, alpha: float) -> Tensor:
    """Scores (..., V), before the tokens outside C are dropped.

    Args:
        logits: (..., V), of the last layer.
        early: (layers, ..., V), logits of earlier layers.
        allowed: (..., V) bool, C.
        alpha: strength of the correction.
    """
    best = early.softmax(-1).masked_fill(~allowed, 0).amax(-1)  # (layers, ...)
    weight, layer = best.max(0)
    chosen = torch.take_along_dim(early, layer[None, ..., None].expand(1, *logits.shape), 0)[0]
    return logits + alpha * weight[..., None] * chosen


@dataclass(frozen=True)
class DeCo(DecodingMethod):
    """Add the logits of the earlier layer that is surest of one of the candidate tokens.

    Reads the head once for each candidate layer. Refused: models that return no hidden states, or have no final norm or
    plain head.

    Args:
        alpha: strength of the correction, >= 0; 0 is plain generation. Code: 0.6.
        top_p: total probability of C, in (0, 1]. Code: 0.9.
        top_k: largest number of tokens in C, >= 1. Code: 20.
        layers: first and last candidate. None takes the paper's 20 to 28 of 32, scaled to the number of layers of this
            model (never the last layer itself).
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset(
            {"alpha": 0.6, "top_p": 0.9, "top_k": 20, "layers": None},
            "README and `generation/utils.py`: layers 20 to 28 of 32",
        ),
    }
    reference = "Wang et al., ICLR 2025, arXiv 2410.11779. Code: zjunlp/Deco"
    cost = Cost(requires="hidden states, final norm, a linear head")
    needs = ("hidden_states",)

    alpha: float = 0.6
    top_p: float = 0.9
    top_k: int = 20
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to switch the correction off")
        check_range("top_p", self.top_p, 0, 1, above=True, advice="the code has 0.9")
        check_whole("top_k", self.top_k, 1, advice="the code has 20")
        object.__setattr__(self, "layers", check_layer_range(self.layers))

    def bind(self, view: FoldedView) -> LogitsCombiner:
        return _BoundDeCo(self, view, layer_range(view, self.layers, 20, 28))


@dataclass(frozen=True)
class _BoundDeCo(LogitsCombiner):
    """DeCo with the head of one call's model."""

    method: DeCo
    view: FoldedView
    layers: range

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        early = early_logits(self.view, step.hidden_layers(self.layers))
        allowed = candidate_tokens(branches[0], self.method.top_p, self.method.top_k)
        return corrected(branches[0], early, allowed, self.method.alpha), allowed
