"""DeCo: dynamic correction decoding by earlier layers.

    C       = the smallest set of most probable tokens that holds top_p, of at most top_k
    i, y*   = argmax over layers i and tokens y of C of p_i(y),   p_i: the final norm and the head read on layer i
    s(y)    = l(y) + alpha p_i(y*) l_i(y)  on C,  -inf elsewhere

Wang et al. 2025, "MLLM can see? Dynamic correction decoding for hallucination mitigation", ICLR, arXiv 2410.11779.
Original code: zjunlp/Deco (no licence file found), `transformers/generation/utils.py`.

We differ: batches under greedy search and sampling too (the original corrects one sequence there), fp32, every mode
of generation; alpha = 0 is plain generation, where the original still cuts to C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, LogitsCombiner, Step
from halluguard.decoding.engine.layers import at_depth, depth, early_logits
from halluguard.errors import SettingsError


def candidate_tokens(logits: Tensor, top_p: float, top_k: int) -> Tensor:
    """(..., V) bool: C, of the model's own logits (..., V)."""
    best = logits.softmax(-1).topk(min(top_k, logits.shape[-1]), -1)
    before = best.values.cumsum(-1) - best.values
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best.indices, before < top_p)


def corrected(logits: Tensor, early: Tensor, keep: Tensor, alpha: float) -> Tensor:
    """Scores (..., V), before those outside C are dropped.

    Args:
        logits: (..., V). early: (layers, ..., V) logits of earlier layers. keep: (..., V), C.
    """
    best = early.softmax(-1).masked_fill(~keep, 0).amax(-1)  # (layers, ...)
    weight, layer = best.max(0)
    chosen = torch.take_along_dim(early, layer[None, ..., None].expand(1, *logits.shape), 0)[0]
    return logits + alpha * weight[..., None] * chosen


@dataclass(frozen=True)
class DeCo(DecodingMethod):
    """Add the logits of the earlier layer that is surest of one of the candidate tokens.

    Needs hidden states, a norm after the layers and a linear head. Cost: one row a forward, and the head once for
    each candidate layer. Refused: models that return no hidden states, or without norm or plain head.

    Args:
        alpha: strength, >= 0; 0 is plain generation. Code: 0.6.
        top_p, top_k: the cut of C. Code: 0.9 and 20.
        layers: first and last candidate, or None for the paper's 20 to 28 of 32 at the same share of this model's
            depth (never the last layer itself).
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "code": {"alpha": 0.6, "top_p": 0.9, "top_k": 20, "layers": None},
    }
    needs = ("hidden_states",)

    alpha: float = 0.6
    top_p: float = 0.9
    top_k: int = 20
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the correction off")
        if not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p must be in (0, 1], got {self.top_p}; the code has 0.9")
        if not (isinstance(self.top_k, int) and self.top_k >= 1):
            raise SettingsError(f"top_k must be a whole number >= 1, got {self.top_k}; the code has 20")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 1 <= self.layers[0] <= self.layers[1]:
                raise SettingsError(f"layers must be the first and the last, from 1, got {self.layers}; or None")

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    def bind(self, twin: Any) -> _Call:
        deep = depth(twin)
        first, last = self.layers or (at_depth(20, deep), at_depth(28, deep))
        if self.layers is not None and last >= deep:
            raise SettingsError(f"layers must be in 1..{deep - 1} for this model, got {self.layers}; or None")
        last = max(1, min(last, deep - 1))
        return _Call(self, twin, range(max(1, min(first, last)), last + 1))


@dataclass(frozen=True)
class _Call(LogitsCombiner):
    """DeCo with the head of one call's model."""

    method: DeCo
    twin: Any
    layers: range

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        assert step.hidden_states is not None
        early = early_logits(self.twin, torch.stack([step.hidden_states[layer] for layer in self.layers]))
        keep = candidate_tokens(branches[0], self.method.top_p, self.method.top_k)
        return corrected(branches[0], early, keep, self.method.alpha), keep
