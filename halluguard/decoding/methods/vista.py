"""VISTA: visual information steering with token-logit augmentation.

    d_k = residual_k(v, x) - residual_k(x)                       at the last token of the prompt, layer k
    h   <- |h| normalised( h / |h| + lam (1 + max(0, cos(h, -d_k))) d_k / |d_k| )       what the MLP of k returns
    s   = (1 - gamma) l + gamma mean_j l_j                       l_j: the head read on layer j, without the final norm

Li et al. 2025, "The hidden life of tokens: reducing hallucination of large vision-language models via visual
information steering", ICML, arXiv 2502.03628. Original code: LzVv123456/VISTA (no licence file found),
`steering_vector.py`, `llm_layers.py`.

We differ: one direction for each prompt of a batch (the code takes batches of one); prompts are read by the host with
their own masks and positions; the type stays the model's (the code casts to half); no principal component of a single
example, which in the code is an arbitrary unit vector; every mode of generation; lam = gamma = 0 is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from halluguard.decoding.base import Combined, DecodingMethod, LogitsCombiner, Step
from halluguard.decoding.engine.layers import at_depth, decoder_layers, depth, early_logits
from halluguard.decoding.engine.steering import last_residuals, steer, steered
from halluguard.decoding.negative_inputs import NoImage
from halluguard.errors import SettingsError


def strength(hidden: Tensor, direction: Tensor, lam: float) -> Tensor:
    """(..., 1): lam (1 + max(0, cos(h, -d))), more where the hidden state points away from the picture."""
    return lam * (1 + cosine_similarity(hidden.float(), -direction.float(), dim=-1).clamp(min=0))[..., None]


def augmented(logits: Tensor, early: Tensor, gamma: float) -> Tensor:
    """(1 - gamma) * logits + gamma * mean of early logits (layers, ..., V)."""
    return (1 - gamma) * logits + gamma * early.mean(0)


@dataclass(frozen=True)
class VISTA(DecodingMethod):
    """Steer every MLP along what the picture changed in the prompt, and mix in the logits of late layers.

    Needs the decoder's MLPs, hidden states and a linear head. Cost: one row a forward, two more readings of the
    prompt before it (with and without its picture), and the head once for each mixed layer. Refused: models without
    named MLPs, hidden states or plain head, and whatever `negative_inputs.NoImage` refuses. Assisted drafts are not
    steered.

    Args:
        lam: strength of the steering, >= 0. Paper, LLaVA-1.5: 0.17 for captions, 0.01 for POPE; argparse: 0.1.
        gamma: share of the late layers' logits, in [0, 1]. Code: 0.3 (`logits_alpha`).
        layers: first and last mixed layer, or None for the code's 25 to 30 of 32, at the same share of this model's
            depth (never the last layer itself).
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"lam": 0.0, "gamma": 0.0},
        "captions": {"lam": 0.17, "gamma": 0.3},
        "pope": {"lam": 0.01, "gamma": 0.3},
        "omitted arguments": {"lam": 0.1, "gamma": 0.3},
        "steering only": {"lam": 0.17, "gamma": 0.0},
    }

    lam: float = 0.17
    gamma: float = 0.3
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not self.lam >= 0:
            raise SettingsError(f"lam must be >= 0, got {self.lam}; use 0 to leave the hidden states alone")
        if not 0 <= self.gamma <= 1:
            raise SettingsError(f"gamma must be in [0, 1], got {self.gamma}; use 0 to leave the logits alone")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 1 <= self.layers[0] <= self.layers[1]:
                raise SettingsError(f"layers must be the first and the last, from 1, got {self.layers}; or None")

    @property
    def is_identity(self) -> bool:
        return self.lam == 0 and self.gamma == 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("hidden_states",) if self.gamma else ()

    def bind(self, twin: Any) -> _Call:
        deep = depth(twin)
        first, last = self.layers or (at_depth(25, deep), at_depth(30, deep))
        if self.layers is not None and last >= deep:
            raise SettingsError(f"layers must be in 1..{deep - 1} for this model, got {self.layers}; or None")
        last = max(1, min(last, deep - 1))
        if self.lam:
            self._steer(twin)
        return _Call(self, twin, range(max(1, min(first, last)), last + 1))

    def _steer(self, twin: Any) -> None:
        call = twin.call
        directions = last_residuals(call.model, call.inputs) - last_residuals(call.model, NoImage()(call))

        def change(hidden: Tensor, layer: int) -> Tensor:
            direction = directions[layer].to(hidden.device)
            direction = direction.repeat_interleave(hidden.shape[0] // len(direction), 0)[:, None]  # over beams
            return steered(hidden, direction, strength(hidden, direction, self.lam))

        steer(decoder_layers(twin), change)


@dataclass(frozen=True)
class _Call(LogitsCombiner):
    """VISTA with the head of one call's model."""

    method: VISTA
    twin: Any
    layers: range

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if not self.method.gamma:
            return branches[0], None
        assert step.hidden_states is not None
        hidden = torch.stack([step.hidden_states[layer] for layer in self.layers])
        return augmented(branches[0], early_logits(self.twin, hidden, normed=False), self.method.gamma), None
