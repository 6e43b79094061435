"""Visual entropy: penalise tokens that all image positions predict equally well.

    p_i(y) = softmax over image positions i of Z_i(y),   Z: logits of the prompt's last hidden states at image positions
    E(y)   = -sum_i p_i(y) log p_i(y) / log m  in [0, 1]
    s      = l - alpha E   where E(argmax l) > gamma,   l elsewhere

Ma et al. 2026, CVPR, arXiv 2603.27201. Original code: ASGO-MM/MCoT-hallucination (no licence file).
E is computed once, from the prompt: the method is one bias per image over the vocabulary, switched by the top token.

Differences from the original: a cache is used, batches and beams have the bias of their own prompt, and the logits are
scaled and capped as the family's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step
from halluguard.decoding.engine.layers import decoder, early_logits
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_alpha, check_range
from halluguard.errors import UnsupportedModelError

POSITIONS = 128
"""Image positions whose logits are held at a time: 128 of a vocabulary of 152,000 take 78 MB."""


def entropy(logits: Tensor) -> Tensor:
    """E (V,) of logits (m, V) at m >= 2 image positions.

    >>> entropy(torch.tensor([[0.0, 1.0986], [0.0, 0.0]]))
    tensor([1.0000, 0.8113])
    """
    log_p = logits.float().log_softmax(0)
    return -(log_p.exp() * log_p).sum(0) / math.log(len(logits))


def penalised(logits: Tensor, entropies: Tensor, alpha: float, gamma: float) -> Tensor:
    """logits - alpha * entropies where the entropy of the top token is above gamma; both (..., V)."""
    top = entropies.expand_as(logits).gather(-1, logits.argmax(-1, keepdim=True))
    return torch.where(top > gamma, logits - alpha * entropies, logits)


class _Bound(LogitsCombiner):
    """The entropies of one call's prompts."""

    def __init__(self, method: VisualEntropy, view: FoldedView) -> None:
        self.method, self.view = method, view
        self.entropies: list[Tensor] = []
        decoder(view).register_forward_hook(self._read)

    def _read(self, module: nn.Module, args: object, output: Any) -> None:
        if self.entropies:
            return
        states = output[0] if not torch.is_tensor(output) else output
        image = self.view.layout.image_tokens()
        for row, at in zip(states, image[:, -states.shape[1] :], strict=True):
            if int(at.sum()) < 2:
                raise UnsupportedModelError(
                    f"at least two image tokens in every prompt are expected, got {int(at.sum())}; use a method that "
                    "reads logits only, such as VCD"
                )
            self.entropies.append(self._of(row[at]))

    def _of(self, states: Tensor) -> Tensor:
        """E over positions, with sums that are updated chunk by chunk: sum e^z and sum z e^z."""
        top = weight = weighted = None
        for chunk in states.split(POSITIONS):
            logits = early_logits(self.view, chunk, normed=False)
            peak = logits.amax(0) if top is None else torch.maximum(top, logits.amax(0))
            if top is not None and weight is not None and weighted is not None:
                scale = (top - peak).exp()
                weighted = scale * (weighted + (top - peak) * weight)
                weight = scale * weight
            shifted = logits - peak
            powers = shifted.exp()
            weight = powers.sum(0) if weight is None else weight + powers.sum(0)
            added = (shifted * powers).sum(0)
            weighted = added if weighted is None else weighted + added
            top = peak
        assert weight is not None
        assert weighted is not None
        return (weight.log() - weighted / weight) / math.log(len(states))

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        entropies = torch.stack(self.entropies)
        each = branches[0].shape[0] // len(entropies)
        own = entropies.repeat_interleave(each, 0)[:, None]
        return penalised(branches[0], own, self.method.alpha, self.method.gamma), None


@dataclass(frozen=True)
class VisualEntropy(DecodingMethod):
    """If all image positions predict the top token about equally, penalise all tokens that are predicted so.

    Applies the head to each image position, once per call. Refused: models without image tokens in the prompt, or
    without a linear head. Function words and the end token are spread evenly too: expect little outside of reasoning
    models, for which it was made.

    Args:
        alpha: strength, >= 0; 0 is plain generation. Paper: 0.75.
        gamma: entropy of the top token above which the penalty applies, in [0, 1]. Paper: 0.5.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "paper": Preset({"alpha": 0.75, "gamma": 0.5}, "the paper; the code's argparse leaves alpha out"),
    }
    reference = "Ma et al., CVPR 2026, arXiv 2603.27201. Code: ASGO-MM/MCoT-hallucination"
    cost = Cost(requires="image tokens in the prompt")
    law_settings: ClassVar = {"alpha": 40.0, "gamma": 0.0}

    alpha: float = 0.75
    gamma: float = 0.5

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to switch the penalty off")
        check_range("gamma", self.gamma, 0, 1, advice="use 0 to penalise at every step")

    def bind(self, view: FoldedView) -> LogitsCombiner:
        return _Bound(self, view)
