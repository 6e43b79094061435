"""M3ID: multi-modal mutual information decoding.

    paper   s = lp(v, x) + 1[max lp(v, x) < log gate] (1 - g_t) / g_t (lp(v, x) - lp(x)),   g_t = exp(-lambda t), t >= 1
    code    s = l(v, x) + (1 - g_t) / g_t (l(v, x) - l(x)),   t >= 0,   on { y : p(y | v, x) >= beta max p(. | v, x) }

The model forgets its image as it writes, so the correction grows along the answer. A step at which the model is sure
keeps its logits.
Favero et al. 2024, "Multi-modal hallucination control by visual information grounding", CVPR, arXiv 2403.14003. The
authors published no code. Others benchmark the copy in sangminwoo/RITUAL (MIT) and zifuwan/ONLY (`*_sample.py`): no
gate, a plausibility mask that the paper does not have, and t counted from 0, so that its first token is plain decoding
under a mask. On one-word answers that copy is the mask alone.

Differences from the original: fp32, one folded forward, every mode of generation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.negative_inputs import NegativeInputs, NoImage
from halluguard.decoding.setting_checks import check_beta, check_range


def corrected(logits: Tensor, blind: Tensor, t: Tensor, forgetting: float, gate: float | None) -> Tensor:
    """Scores of the paper (with a gate) or of the copies (gate None).

    Args:
        logits: (..., S, V), of the original branch.
        blind: (..., S, V), of the branch without the image.
        t: (S,), index of the token that each position predicts.
        forgetting: lambda, per token.
        gate: probability of the best token from which a step is left alone.
    """
    weight = (forgetting * t.to(logits)).exp()[:, None] - 1  # (1 - g) / g with g = exp(-lambda t)
    if gate is None:
        return logits + weight * (logits - blind)
    logits, blind = logits.log_softmax(-1), blind.log_softmax(-1)
    unsure = logits.amax(-1, keepdim=True) < math.log(gate)
    return logits + unsure * weight * (logits - blind)


@dataclass(frozen=True)
class M3ID(DecodingMethod):
    """Contrast with the same prompt without its image, growing along the answer.

    No second encoding of the image. Refused: recurrent layers and other families that cannot run without the image; see
    `negative_inputs.NoImage`.

    Args:
        forgetting: lambda per token, >= 0; 0 is plain generation. Paper and copies: 0.02.
        gate: in (0, 1]; steps whose best token has at least this probability are left alone. Paper: 0.3. None: no
            gate, as in the copies.
        beta: plausibility bound in [0, 1]; the paper has none (0), the copies 0.1.
        first: t of the first token, >= 0; paper 1, copies 0.
    """

    PRESETS: ClassVar = {
        "off": Preset({"forgetting": 0.0}),
        "paper": Preset(
            {"forgetting": 0.02, "gate": 0.3, "beta": 0.0, "first": 1},
            "the paper; the two numbers as MitigV 0.1.7 states them",
        ),
        "copies": Preset(
            {"forgetting": 0.02, "gate": None, "beta": 0.1, "first": 0},
            "`ritual_sample.py` of sangminwoo/RITUAL, `only_sample.py` of zifuwan/ONLY",
        ),
    }
    reference = "Favero et al., CVPR 2024, arXiv 2403.14003. The authors published no code"
    cost = Cost(branches=2)
    law_settings: ClassVar = {"forgetting": 0.5, "gate": 1.0}

    forgetting: float = 0.02
    gate: float | None = 0.3
    beta: float = 0.0
    first: int = 1

    def __post_init__(self) -> None:
        check_range("forgetting", self.forgetting, 0, advice="use 0 to switch the method off")
        if self.gate is not None:
            check_range("gate", self.gate, 0, 1, above=True, advice="the paper has 0.3, None leaves the gate out")
        check_beta(self.beta)
        check_range("first", self.first, 0, advice="the paper counts from 1")

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (NoImage(),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        scores = corrected(branches[0], branches[1], step.index + self.first, self.forgetting, self.gate)
        return scores, plausible(branches[0], self.beta)
