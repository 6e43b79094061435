"""DoLa: decoding by contrasting layers.

    s = lp_L - alpha lp_j,   on { y : p_L(y) >= beta max p_L },   lp_j: the head read on layer j
    j = argmax over candidate layers of JSD(p_L, p_j), for each sequence and step

Chuang et al. 2024, "DoLa: decoding by contrasting layers improves factuality in large language models", ICLR, arXiv
2309.03883, eq. 1 to 4. Original code: voidism/DoLa (no licence file found), `transformers-4.28.1/src/transformers/
generation/utils.py`. A text method: nothing in it looks at the picture, which is why it is a baseline here. The code
reads earlier layers without the final norm, and its divergence has its arguments the other way round (KL(M||p) for
KL(p||M)); "paper" has both as the paper writes them.

We differ: the layer is chosen for each sequence (the code takes a mean over the batch, and its mask from sequence 0);
fp32, every mode of generation; alpha, 1 in the paper, is ours: 0 is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, LogitsCombiner, Step, check_beta, plausible
from halluguard.decoding.engine.layers import depth, early_logits, embeddings, head
from halluguard.errors import SettingsError


def divergence(mature: Tensor, premature: Tensor, formula: str = "code") -> Tensor:
    """(...) Jensen-Shannon divergence of two rows of logits (..., V), as the code or the paper has it, in nats."""
    p, q = mature.log_softmax(-1), premature.log_softmax(-1)
    mean = ((p.exp() + q.exp()) / 2).log()
    if formula == "code":
        return (mean.exp() * (2 * mean - p - q)).sum(-1) / 2
    return (p.exp() * (p - mean) + q.exp() * (q - mean)).sum(-1) / 2


def contrast_layers(mature: Tensor, premature: Tensor, alpha: float = 1.0, formula: str = "code") -> Tensor:
    """lp_L - alpha lp_j for the candidate that differs most from the last layer.

    Args:
        mature: (..., V) logits of the last layer. premature: (layers, ..., V) of the candidates.
    """
    chosen = divergence(mature[None], premature, formula).argmax(0)
    index = chosen[None, ..., None].expand(1, *mature.shape)
    early = torch.take_along_dim(premature, index, 0)[0]
    return mature.log_softmax(-1) - alpha * early.log_softmax(-1)


def candidates(layers: str | Sequence[int], of: int, tied: bool) -> list[int]:
    """Layer numbers (0: the embeddings) of "low" or "high", every second one of the lower or upper half.

    Where embeddings and head share their matrix, layer 0 repeats its own token and is left out.

    >>> candidates("low", 32, tied=False), candidates("high", 3, tied=True)
    ([0, 2, 4, 6, 8, 10, 12, 14], [2])
    """
    if not isinstance(layers, str):
        wrong = [layer for layer in layers if not 0 <= layer < of]
        if wrong or not layers:
            raise SettingsError(f"layers must be in 0..{of - 1} for this model, got {list(layers)}; or 'low' or 'high'")
        return list(layers)
    half = of // 2
    span = range(0, half) if layers == "low" else range(half, of)
    return [layer for layer in span if layer % 2 == 0 and (layer or not tied)] or [max(1, half)]


@dataclass(frozen=True)
class DoLa(DecodingMethod):
    """Contrast the last layer with the earlier one that differs most from it.

    Needs hidden states and a linear head. Cost: one row a forward, and the head once for each candidate layer.
    Refused: models that return no hidden states or have no plain head.

    Args:
        alpha: >= 0; 1 as in the paper; 0 is plain generation.
        beta: plausibility in [0, 1]. Paper and code: 0.1 (`relative_top`).
        layers: "low" or "high": the paper's buckets of a 32-layer model, halves of this one's depth; or layer
            numbers, 0 being the embeddings. transformers advises "low" for long answers, "high" for short ones.
        formula: "code" or "paper"; see the head of this file.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "code": {"formula": "code"},
        "paper": {"formula": "paper"},
        "high": {"layers": "high"},
    }
    needs = ("hidden_states",)

    alpha: float = 1.0
    beta: float = 0.1
    layers: str | Sequence[int] = "low"
    formula: str = "code"

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the contrast off")
        check_beta(self.beta)
        if isinstance(self.layers, str) and self.layers not in ("low", "high"):
            raise SettingsError(f"layers must be 'low', 'high' or numbers, got {self.layers!r}")
        if self.formula not in ("code", "paper"):
            raise SettingsError(f"formula must be 'code' or 'paper', got {self.formula!r}")
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    def bind(self, twin: Any) -> _Call:
        tied = embeddings(twin).weight is head(twin).weight
        return _Call(self, twin, candidates(self.layers, depth(twin), tied))


@dataclass(frozen=True)
class _Call(LogitsCombiner):
    """DoLa with the head of one call's model."""

    method: DoLa
    twin: Any
    layers: list[int]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        assert step.hidden_states is not None
        hidden = torch.stack([step.hidden_states[layer] for layer in self.layers])
        normed = self.method.formula == "paper"
        early = early_logits(self.twin, hidden, normed=normed)
        return contrast_layers(branches[0], early, self.method.alpha, self.method.formula), plausible(
            branches[0], self.method.beta
        )
