"""DoLa: decoding by contrasting layers.

    s = lp_L - alpha lp_j,   on { y : p_L(y) >= beta max p_L },   lp_j: the head applied to layer j
    j = argmax over candidate layers of JSD(p_L, p_j), for each sequence and step

Chuang et al. 2024, "DoLa: decoding by contrasting layers improves factuality in large language models", ICLR, arXiv
2309.03883, eq. 1 to 4. Original code: voidism/DoLa (no licence file found), `transformers-4.28.1/src/transformers/
generation/utils.py`. A text method: nothing in it looks at the image, which is why it serves as a comparison here. The
code reads earlier layers without the final norm, and its divergence has its arguments swapped (KL(M||p) for KL(p||M));
the preset "paper" has both as the paper writes them.

Differences from the original: the layer is chosen for each sequence (the code takes a mean over the batch, and its mask
from sequence 0); fp32, every mode of generation; alpha is ours: 1 in the paper, 0 is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step, plausible
from halluguard.decoding.engine.layers import depth, early_logits, embeddings, head
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError


def divergence(mature: Tensor, premature: Tensor, formula: str = "code") -> Tensor:
    """(...) Jensen-Shannon divergence of two logits (..., V), as the code or the paper has it, in nats."""
    p, q = mature.log_softmax(-1), premature.log_softmax(-1)
    mean = ((p.exp() + q.exp()) / 2).log()
    if formula == "code":
        return (mean.exp() * (2 * mean - p - q)).sum(-1) / 2
    return (p.exp() * (p - mean) + q.exp() * (q - mean)).sum(-1) / 2


def contrast_layers(mature: Tensor, premature: Tensor, alpha: float = 1.0, formula: str = "code") -> Tensor:
    """lp_L - alpha lp_j for the candidate layer that differs most from the last layer.

    Args:
        mature: (..., V), logits of the last layer.
        premature: (layers, ..., V), logits of the candidates.
        alpha: strength of the contrast.
        formula: "code" or "paper"; see `divergence`.
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

    Reads the head once for each candidate layer. Refused: models that return no hidden states or have no plain head.

    Args:
        alpha: strength of the contrast, >= 0; 1 as in the paper; 0 is plain generation.
        beta: plausibility bound in [0, 1]. Paper and code: 0.1 (`relative_top`).
        layers: "low" or "high": the paper's buckets of a 32-layer model, halves of this one's depth; or layer
            numbers, 0 being the embeddings. transformers advises "low" for long answers, "high" for short ones.
        formula: "code" or "paper"; see the head of this file.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset(
            {"formula": "code"},
            "`generation/utils.py`: lower half of the layers, every second one, no norm, KL(M \\|\\| p)",
        ),
        "paper": Preset({"formula": "paper"}, "the paper: the same with the final norm and KL(p \\|\\| M)"),
        "high": Preset({"layers": "high"}, "the paper's bucket for short answers: the upper half"),
    }
    reference = "Chuang et al., ICLR 2024, arXiv 2309.03883. Code: voidism/DoLa"
    cost = Cost(requires="hidden states, a linear head")
    needs = ("hidden_states",)

    alpha: float = 1.0
    beta: float = 0.1
    layers: str | Sequence[int] = "low"
    formula: str = "code"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        if isinstance(self.layers, str) and self.layers not in ("low", "high"):
            raise SettingsError(f"layers must be 'low', 'high' or layer numbers, got {self.layers!r}; use one of them")
        if self.formula not in ("code", "paper"):
            raise SettingsError(f"formula must be 'code' or 'paper', got {self.formula!r}; the default is 'code'")
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", tuple(self.layers))

    def bind(self, view: FoldedView) -> LogitsCombiner:
        tied = embeddings(view).weight is head(view).weight
        return _BoundDoLa(self, view, candidates(self.layers, depth(view), tied))


@dataclass(frozen=True)
class _BoundDoLa(LogitsCombiner):
    """DoLa with the head of one call's model."""

    method: DoLa
    view: FoldedView
    layers: list[int]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        method = self.method
        early = early_logits(self.view, step.hidden_layers(self.layers), normed=method.formula == "paper")
        scores = contrast_layers(branches[0], early, method.alpha, method.formula)
        return scores, plausible(branches[0], method.beta)
