"""VISTA: visual information steering with token-logit augmentation.

    d_k = residual_k(v, x) - residual_k(x)                       at the last token of the prompt, layer k
    h   <- |h| normalised( h / |h| + lam (1 + max(0, cos(h, -d_k))) d_k / |d_k| )       output of the MLP of k
    s   = (1 - gamma) l + gamma mean_j l_j                       l_j: the head applied to layer j, without final norm

Li et al. 2025, "The hidden life of tokens: reducing hallucination of large vision-language models via visual
information steering", ICML, arXiv 2502.03628. Original code: LzVv123456/VISTA (no licence file found),
`steering_vector.py`, `llm_layers.py`.

Differences from the original: one direction for each prompt of a batch (the code takes batches of one); transformers
reads the prompts with their own masks and positions; the type stays the model's (the code casts to half); no principal
component of a single example, which in the code is an arbitrary unit vector; every mode of generation; lam = gamma = 0
is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step
from halluguard.decoding.engine.layers import check_layer_range, decoder_layers, early_logits, layer_range
from halluguard.decoding.engine.steering import last_residuals, steer, steered
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import NoImage
from halluguard.decoding.setting_checks import check_range


def strength(hidden: Tensor, direction: Tensor, lam: float) -> Tensor:
    """(..., 1): lam (1 + max(0, cos(h, -d))), more where the hidden state points away from the image."""
    return lam * (1 + cosine_similarity(hidden.float(), -direction.float(), dim=-1).clamp(min=0))[..., None]


def augmented(logits: Tensor, early: Tensor, gamma: float) -> Tensor:
    """(1 - gamma) * logits + gamma * mean of early logits (layers, ..., V)."""
    return (1 - gamma) * logits + gamma * early.mean(0)


@dataclass(frozen=True)
class VISTA(DecodingMethod):
    """Steer every MLP along what the image changed in the prompt, and mix in the logits of late layers.

    Reads the prompt twice more before generation (with and without its image), and the head once for each mixed layer.
    Refused: models without named MLPs, hidden states or plain head, and the families that `negative_inputs.NoImage`
    refuses. Drafts of an assistant model are not steered.

    Args:
        lam: strength of the steering, >= 0. Paper, LLaVA-1.5: 0.17 for captions, 0.01 for POPE; argparse: 0.1.
        gamma: share of the late layers' logits, in [0, 1]. Code: 0.3 (`logits_alpha`).
        layers: first and last mixed layer. None takes the code's 25 to 30 of 32, scaled to the number of layers of this
            model (never the last layer itself).
    """

    PRESETS: ClassVar = {
        "off": Preset({"lam": 0.0, "gamma": 0.0}),
        "captions": Preset({"lam": 0.17, "gamma": 0.3}, "paper, LLaVA-1.5, one setting per benchmark; layers 25 to 30"),
        "pope": Preset({"lam": 0.01, "gamma": 0.3}, "the same"),
        "omitted arguments": Preset({"lam": 0.1, "gamma": 0.3}, "argparse of `chair_eval.py`"),
        "steering only": Preset({"lam": 0.17, "gamma": 0.0}, "without the late layers' logits"),
    }
    reference = "Li et al., ICML 2025, arXiv 2502.03628. Code: LzVv123456/VISTA"
    cost = Cost(encodings=1, requires="named MLPs, hidden states, a linear head; two more readings of the prompt")
    law_settings: ClassVar = {"lam": 0.5}

    lam: float = 0.17
    gamma: float = 0.3
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_range("lam", self.lam, 0, advice="use 0 to leave the hidden states alone")
        check_range("gamma", self.gamma, 0, 1, advice="use 0 to leave the logits alone")
        object.__setattr__(self, "layers", check_layer_range(self.layers))

    @property
    def needs(self) -> tuple[str, ...]:
        return ("hidden_states",) if self.gamma else ()

    def bind(self, view: FoldedView) -> LogitsCombiner:
        layers = layer_range(view, self.layers, 25, 30)
        if self.lam:
            self._steer(view)
        return _BoundVISTA(self, view, layers)

    def _steer(self, view: FoldedView) -> None:
        call = view.call
        directions = last_residuals(call.model, call.inputs) - last_residuals(call.model, NoImage()(call))

        def change(hidden: Tensor, layer: int) -> Tensor:
            direction = directions[layer].to(hidden.device)
            direction = direction.repeat_interleave(hidden.shape[0] // len(direction), 0)[:, None]  # over beams
            return steered(hidden, direction, strength(hidden, direction, self.lam))

        steer(decoder_layers(view), change)


@dataclass(frozen=True)
class _BoundVISTA(LogitsCombiner):
    """VISTA with the head of one call's model."""

    method: VISTA
    view: FoldedView
    layers: range

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if not self.method.gamma:
            return branches[0], None
        early = early_logits(self.view, step.hidden_layers(self.layers), normed=False)
        return augmented(branches[0], early, self.method.gamma), None
