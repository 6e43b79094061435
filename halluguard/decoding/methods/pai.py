"""PAI: paying more attention to the image.

    w_ij <- w_ij + alpha |w_ij|           scores before the softmax, i: tokens that answer, j: image tokens
    s    = gamma lp(v, x) + (1 - gamma) lp(x),   on { y : p(y | v, x) >= beta max p(. | v, x) }

Liu et al. 2024, "Paying more attention to image: a training-free method for alleviating hallucination in LVLMs", ECCV,
arXiv 2407.21771. Original code: LALBJ/PAI (MIT), `attention.py`, `CFG.py`. The edit acts on the original branch alone.

Differences from the original: image tokens are where the prompt has them, in every prompt of a batch and in several
pieces (the code has one span for all); the branch without the image has masks and positions of its own, and its cache
follows the beams (in the code it does not, so that its beams are wrong); scores are normalised; gamma = 1 with
alpha = 0 is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import at_depth, depth
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import NegativeInputs, NoImage
from halluguard.decoding.setting_checks import check_alpha, check_beta, check_range
from halluguard.errors import SettingsError


def attended(scores: Tensor, alpha: float) -> Tensor:
    """scores + alpha * |scores|, before the softmax."""
    return scores + alpha * scores.abs()


def guided(logits: Tensor, blind: Tensor, gamma: float) -> Tensor:
    """gamma * lp(v, x) + (1 - gamma) * lp(x), all (..., V)."""
    logits, blind = logits.log_softmax(-1), blind.log_softmax(-1)
    return gamma * (logits - blind) + blind


@dataclass(frozen=True)
class PAI(DecodingMethod):
    """Raise attention to the image while answering, and contrast with the prompt without it.

    The decoder runs an attention of our own, as exact as the family's eager one, without fused kernels. No second
    encoding of the image; a single branch at gamma = 1. Refused: cross-attention models, attention with sinks or
    biases, and the families that `negative_inputs.NoImage` refuses.

    Args:
        alpha: strength of the attention edit, >= 0. README: 0.5 for LLaVA-1.5, 0.6 Shikra, 0.2 MiniGPT-4; argparse:
            0.2.
        gamma: strength of the contrast, >= 1; 1 leaves it out. README: 1.1; argparse: 2.
        beta: plausibility bound in [0, 1], used with the contrast only. Code: 0.1, fixed.
        layers: first edited layer, and the layer after the last edited one. None takes the code's 2 to 32 of 32, scaled
            to the number of layers of this model.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0, "gamma": 1.0}),
        "llava": Preset({"alpha": 0.5, "gamma": 1.1}, "paper and README; `CFG.py` fixes beta at 0.1"),
        "shikra": Preset({"alpha": 0.6, "gamma": 1.1}, "the same"),
        "minigpt4": Preset({"alpha": 0.2, "gamma": 1.1}, "the same"),
        "omitted arguments": Preset({"alpha": 0.2, "gamma": 2.0}, "argparse"),
        "attention only": Preset({"alpha": 0.5, "gamma": 1.0}, "the edit without the contrast"),
    }
    reference = "Liu et al., ECCV 2024, arXiv 2407.21771. Code: LALBJ/PAI"
    cost = Cost(branches=2, requires="attention scores; image tokens in the prompt (1 branch with `gamma=1`)")

    alpha: float = 0.5
    gamma: float = 1.1
    beta: float = 0.1
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to leave the attention alone")
        check_range("gamma", self.gamma, 1, advice="use 1 to leave the contrast out")
        check_beta(self.beta)
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]:
                raise SettingsError(
                    f"layers must be (first, end), such as (2, 32), got {self.layers}; None takes the default"
                )

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return () if self.gamma == 1 else (NoImage(),)

    @property
    def reads_branches_apart(self) -> bool:
        return True  # the edit is off in the branch without the image

    def bind(self, view: FoldedView) -> Self:
        if not self.alpha:
            return self
        layer_count = depth(view)
        first, end = self.layers or (at_depth(2, layer_count), layer_count)

        def edit(scores: Tensor, layer: int) -> Tensor:
            if not first <= layer < end:
                return scores
            layout = view.layout
            answering = layout.answering(scores.shape[2])  # (S,)
            image = layout.image_tokens(scores.shape[-1])[layout.of(0)]  # (B, K)
            where = answering[None, None, :, None] & image[:, None, None, :]
            edited = scores.clone()
            original = scores[layout.of(0)]
            edited[layout.of(0)] = attended(original, self.alpha).where(where, original)
            return edited

        edit_attention(view, edit, original_only=True)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if self.gamma == 1:
            return branches[0], None
        return guided(branches[0], branches[1], self.gamma), plausible(branches[0], self.beta)
