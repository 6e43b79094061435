"""SID: self-introspective decoding.

    s = (1 + alpha) l(v, x) - alpha l(v-, x),   on { y : p(y | v, x) >= beta max p(. | v, x) }
    v-: from layer K on, only the picture tokens least attended by the answering token in layer K - 1 stay visible

Huo et al. 2025, "Self-introspective decoding: alleviating hallucinations for large vision-language models", ICLR, arXiv
2408.02032. Original code: huofushuo/SID (no licence file found), `transformers/src/transformers/models/llama/
modeling_llama.py`, `vcd_sample.py`. K = 2, 100 of 576 tokens; chosen anew at every step, from the mean over heads of
the last token's attention, and applied to every query of that forward.

We differ: tokens are chosen for each sequence (the code takes those of sequence 0 for all); greedy search keeps the
support and the processors (the code's greedy branch takes the argmax of the bare difference: preset "code greedy");
fp32, one folded forward, every mode of generation; alpha = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import depth
from halluguard.decoding.negative_inputs import Call, NegativeInputs
from halluguard.errors import SettingsError, UnsupportedModelError


def contrast(logits: Tensor, introspected: Tensor, alpha: float) -> Tensor:
    """(1 + alpha) * logits - alpha * introspected, all (..., V)."""
    return (1 + alpha) * logits - alpha * introspected


def least_attended(weights: Tensor, picture: Tensor, keep: float) -> Tensor:
    """(B, S, K) bool: the picture tokens that stay visible to each query.

    Args:
        weights: (B, heads, S, K), after the softmax. picture: (B, K) bool.
        keep: share of a sequence's picture tokens that stays, at least one of them.
    """
    attention = weights.float().mean(1).masked_fill(~picture[:, None], torch.inf)
    rank = attention.argsort(dim=-1, stable=True).argsort(dim=-1)
    count = (picture.sum(-1) * keep).round().clamp(min=1)
    return (rank < count[:, None, None]) & picture[:, None]


def same(call: Call) -> dict[str, Any]:
    """A row with the original's own inputs."""
    return dict(call.inputs)


@dataclass(frozen=True)
class SID(DecodingMethod):
    """Contrast with the same picture seen through its least attended tokens alone.

    Needs attention maps (the decoder runs an attention of our own, as exact as the family's eager one) and picture
    tokens in the prompt. Cost: two rows a forward, a second vision pass, and attention without fused kernels.
    Refused: cross-attention models, attention with sinks or biases, decoders of one layer.

    Args:
        alpha: strength, >= 0; 0 is plain generation. The code runs with 0.5 (its option is commented out).
        beta: plausibility in [0, 1]. Code under sampling: 0.1.
        keep: share of the picture tokens that stay visible, in (0, 1]. Code: 100 of LLaVA-1.5's 576.
        layer: K, >= 1. Code: 2, of 32. A decoder of at most K layers takes its last one.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "code": {"alpha": 0.5, "beta": 0.1},
        "code greedy": {"alpha": 0.5, "beta": 0.0},
        "paper": {"alpha": 1.0, "beta": 0.1},
    }

    alpha: float = 0.5
    beta: float = 0.1
    keep: float = 100 / 576
    layer: int = 2

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the contrast off")
        check_beta(self.beta)
        if not 0 < self.keep <= 1:
            raise SettingsError(f"keep must be in (0, 1], got {self.keep}; 1 keeps every picture token")
        if not (isinstance(self.layer, int) and self.layer >= 1):
            raise SettingsError(f"layer must be a whole number >= 1, got {self.layer}; the code has 2")

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (same,)

    def bind(self, twin: Any) -> Self:
        deep = depth(twin)
        if deep < 2:
            raise UnsupportedModelError(
                f"SID reads one layer's attention to cut the next one's, and {type(twin).__name__} has {deep} layer; "
                "use VCD"
            )
        from_layer = min(self.layer, deep - 1)
        visible: dict[str, Tensor] = {}

        def watch(weights: Tensor, layer: int) -> None:
            if layer != from_layer - 1:
                return
            layout = twin.layout
            mine = weights[layout.of(1)]
            picture = layout.picture(mine.shape[-1])[layout.of(1)]
            kept = least_attended(mine, picture, self.keep)
            # The prompt's tokens are read with the cut of the first token that answers.
            first = int(layout.answering(kept.shape[1]).long().argmax())
            kept = kept[:, [max(first, i) for i in range(kept.shape[1])]]
            visible["mask"] = kept | ~picture[:, None]

        def edit(scores: Tensor, layer: int) -> Tensor:
            if layer < from_layer:
                return scores
            if "mask" not in visible:
                raise UnsupportedModelError(
                    f"SID reads the attention of layer {from_layer - 1}, and {type(twin).__name__} has another kind of "
                    "layer there; name a layer after one that attends, as SID(layer=...)"
                )
            if visible["mask"].shape[-1] != scores.shape[-1]:
                raise UnsupportedModelError(
                    f"layers that see the whole sequence are expected, and some of {type(twin).__name__} see a window "
                    "of it; use a method that reads logits only, such as VCD"
                )
            edited = scores.clone()
            mine = twin.layout.of(1)
            edited[mine] = scores[mine].masked_fill(~visible["mask"][:, None], torch.finfo(scores.dtype).min)
            return edited

        edit_attention(twin, edit, watch)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return contrast(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)
