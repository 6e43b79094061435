"""SID: self-introspective decoding.

    s = (1 + alpha) l(v, x) - alpha l(v-, x),   on { y : p(y | v, x) >= beta max p(. | v, x) }
    v-: from layer K on, only the image tokens least attended by the answering token in layer K - 1 stay visible

Huo et al. 2025, "Self-introspective decoding: alleviating hallucinations for large vision-language models", ICLR, arXiv
2408.02032. Original code: huofushuo/SID (no licence file found), `transformers/src/transformers/models/llama/
modeling_llama.py`, `vcd_sample.py`. K = 2, 100 of 576 tokens; chosen again at every step, from the mean over heads of
the last token's attention, and applied to every query of that forward.

Differences from the original: tokens are chosen for each sequence (the code takes those of sequence 0 for all); greedy
search keeps the mask and the processors (the code's greedy branch takes the argmax of the bare difference: preset "code
greedy"); fp32, one folded forward, every mode of generation; alpha = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import depth
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.methods.vcd import contrast
from halluguard.decoding.negative_inputs import Call, ModelInputs, NegativeInputs
from halluguard.decoding.setting_checks import check_alpha, check_beta, check_range, check_whole
from halluguard.errors import UnsupportedModelError


def least_attended(weights: Tensor, image: Tensor, keep: float) -> Tensor:
    """(B, S, K) bool: the image tokens that stay visible to each query.

    Args:
        weights: (B, heads, S, K), after the softmax.
        image: (B, K) bool, True at image tokens.
        keep: share of a sequence's image tokens that stays, at least one of them.
    """
    attention = weights.float().mean(1).masked_fill(~image[:, None], torch.inf)
    rank = attention.argsort(dim=-1, stable=True).argsort(dim=-1)
    count = (image.sum(-1) * keep).round().clamp(min=1)
    return (rank < count[:, None, None]) & image[:, None]


def same_inputs(call: Call) -> ModelInputs:
    """A branch with the original's own inputs."""
    return dict(call.inputs)


@dataclass(frozen=True)
class SID(DecodingMethod):
    """Contrast with the same image seen through its least attended tokens alone.

    The decoder runs an attention of our own, as exact as the family's eager one, without fused kernels. Refused:
    cross-attention models, attention with sinks or biases, decoders of one layer.

    Args:
        alpha: strength of the contrast, >= 0; 0 is plain generation. The code runs with 0.5 (its option is commented
            out).
        beta: plausibility bound in [0, 1]. Code under sampling: 0.1.
        keep: share of the image tokens that stay visible, in (0, 1]. Code: 100 of LLaVA-1.5's 576.
        layer: K, >= 1. Code: 2, of 32. A decoder of at most K layers takes its last one.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset(
            {"alpha": 0.5, "beta": 0.1}, "the value that its loop falls back to (the option is commented out)"
        ),
        "code greedy": Preset({"alpha": 0.5, "beta": 0.0}, "its greedy branch takes the argmax of the bare difference"),
        "paper": Preset({"alpha": 1.0, "beta": 0.1}, "the paper"),
    }
    reference = "Huo et al., ICLR 2025, arXiv 2408.02032. Code: huofushuo/SID"
    cost = Cost(branches=2, encodings=1, requires="attention maps; image tokens in the prompt")

    alpha: float = 0.5
    beta: float = 0.1
    keep: float = 100 / 576
    layer: int = 2

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        check_range("keep", self.keep, 0, 1, above=True, advice="1 keeps every image token")
        check_whole("layer", self.layer, 1, advice="the code has 2")

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (same_inputs,)

    def bind(self, view: FoldedView) -> Self:
        family, layer_count = type(view).__name__, depth(view)
        if layer_count < 2:
            raise UnsupportedModelError(
                f"SID reads one layer's attention to cut the next one's, and {family} has {layer_count} layer; use VCD"
            )
        from_layer = min(self.layer, layer_count - 1)
        visible: dict[str, Tensor] = {}

        def watch(weights: Tensor, values: Tensor, layer: int) -> None:
            if layer != from_layer - 1:
                return
            layout = view.layout
            negative = weights[layout.of(1)]
            image = layout.image_tokens(negative.shape[-1])[layout.of(1)]
            kept = least_attended(negative, image, self.keep)
            # The prompt's tokens are read with the cut of the first token that answers.
            first = int(layout.answering(kept.shape[1]).long().argmax())
            kept = kept[:, [max(first, i) for i in range(kept.shape[1])]]
            visible["mask"] = kept | ~image[:, None]

        def edit(scores: Tensor, layer: int) -> Tensor:
            if layer < from_layer:
                return scores
            if "mask" not in visible:
                raise UnsupportedModelError(
                    f"SID reads the attention of layer {from_layer - 1}, and {family} has another kind of layer there; "
                    "name a layer after one that attends, as SID(layer=...)"
                )
            if visible["mask"].shape[-1] != scores.shape[-1]:
                raise UnsupportedModelError(
                    f"layers that see the whole sequence are expected, and some of {family} see a window of it; use a "
                    "method that reads logits only, such as VCD"
                )
            edited = scores.clone()
            negative = view.layout.of(1)
            hidden = ~visible["mask"][:, None]
            edited[negative] = scores[negative].masked_fill(hidden, torch.finfo(scores.dtype).min)
            return edited

        edit_attention(view, edit, watch)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return contrast(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)
