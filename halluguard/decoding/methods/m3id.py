"""M3ID: multi-modal mutual information decoding.

    paper   s = lp(v, x) + 1[max lp(v, x) < log gate] (1 - g_t) / g_t (lp(v, x) - lp(x)),   g_t = exp(-lambda t), t >= 1
    code    s = l(v, x) + (1 - g_t) / g_t (l(v, x) - l(x)),   t >= 0,   on { y : p(y | v, x) >= beta max p(. | v, x) }

The model forgets its picture as it writes, so the correction grows with the answer; a sure step is left alone.
Favero et al. 2024, "Multi-modal hallucination control by visual information grounding", CVPR, arXiv 2403.14003. The
authors published no code. What others benchmark is the copy in sangminwoo/RITUAL (MIT) and zifuwan/ONLY
(`*_sample.py`): no gate, a plausibility mask the paper does not have, and t counted from 0, so that its first token is
plain decoding under a mask. On one-word answers that copy is no more than the mask.

We differ: fp32, one folded forward, every mode of generation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.negative_inputs import NegativeInputs, NoImage
from halluguard.errors import SettingsError


def corrected(logits: Tensor, blind: Tensor, t: Tensor, forgetting: float, gate: float | None) -> Tensor:
    """Scores of the paper (with a gate) or of the copies (gate None).

    Args:
        logits, blind: (..., S, V). t: (S,), which token each position predicts.
        forgetting: lambda, per token. gate: probability of the best token from which a step is left alone.
    """
    weight = (forgetting * t.to(logits)).exp()[:, None] - 1  # (1 - g) / g with g = exp(-lambda t)
    if gate is None:
        return logits + weight * (logits - blind)
    logits, blind = logits.log_softmax(-1), blind.log_softmax(-1)
    unsure = logits.amax(-1, keepdim=True) < math.log(gate)
    return logits + unsure * weight * (logits - blind)


@dataclass(frozen=True)
class M3ID(DecodingMethod):
    """Contrast with the same prompt without its picture, growing along the answer.

    Needs nothing beside the model. Cost: two rows a forward and no second vision pass. Refused: recurrent layers and
    other families that cannot run without the picture, by `negative_inputs.NoImage`.

    Args:
        forgetting: lambda, >= 0, per token; 0 is plain generation. Paper and copies: 0.02.
        gate: in (0, 1]; steps whose best token has at least this probability are left alone. Paper: 0.3. None: no
            gate, as in the copies.
        beta: plausibility in [0, 1]; the paper has none (0), the copies 0.1.
        first: t of the first token; paper 1, copies 0.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"forgetting": 0.0},
        "paper": {"forgetting": 0.02, "gate": 0.3, "beta": 0.0, "first": 1},
        "copies": {"forgetting": 0.02, "gate": None, "beta": 0.1, "first": 0},
    }

    forgetting: float = 0.02
    gate: float | None = 0.3
    beta: float = 0.0
    first: int = 1

    def __post_init__(self) -> None:
        if not self.forgetting >= 0:
            raise SettingsError(f"forgetting must be >= 0, got {self.forgetting}; use 0 to switch the method off")
        if self.gate is not None and not 0 < self.gate <= 1:
            raise SettingsError(f"gate must be in (0, 1] or None, got {self.gate}; the paper has 0.3")
        check_beta(self.beta)
        if self.first < 0:
            raise SettingsError(f"first must be >= 0, got {self.first}; the paper counts from 1")

    @property
    def is_identity(self) -> bool:
        return self.forgetting == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (NoImage(),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        scores = corrected(branches[0], branches[1], step.index + self.first, self.forgetting, self.gate)
        return scores, plausible(branches[0], self.beta)
