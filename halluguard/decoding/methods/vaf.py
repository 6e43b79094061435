"""VAF: visual amplification fusion (ClearSight), attention scores towards the image multiplied in middle layers.

    w_ij <- enhance  w_ij        j: image tokens
    w_ij <- suppress w_ij        j: tokens before the image (the system prompt)
    i: tokens after the image, of the prompt and of the answer;  scores before the softmax

Yin et al. 2025, "ClearSight: visual signal enhancement for object hallucination mitigation in multimodal large language
models", CVPR, arXiv 2503.13107. Original code: ustc-hyin/ClearSight (no licence file), `AttnAdapter.py`.
The code multiplies signed scores: a negative score becomes more negative with `enhance` > 1 (PAI adds the magnitude).

Differences from the original: image tokens are where the prompt has them (the code has them at columns 35 to 610); with
several images, the tokens before the first are suppressed. Padding is masked and stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import at_depth, depth
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import SettingsError


def amplified(scores: Tensor, image: Tensor, system: Tensor, enhance: float, suppress: float) -> Tensor:
    """Multiply the scores (..., K) of image tokens by `enhance`, and of tokens before the image by `suppress`.

    The masks `image` and `system` broadcast to the scores.
    """
    factor = torch.ones_like(scores).masked_fill(image, enhance).masked_fill(system, suppress)
    return scores * factor


@dataclass(frozen=True)
class VAF(DecodingMethod):
    """Multiply the attention scores of image tokens, and those of the tokens before the image, in middle layers.

    The decoder runs an attention of our own, as exact as the family's eager one, without fused kernels. Refused:
    cross-attention models, attention with sinks or biases, layers that see only the end of the sequence.

    Args:
        enhance: factor of the scores of image tokens, > 0; 1 leaves them alone. Script: 1.15.
        suppress: factor of the scores of tokens before the image, > 0; 1 leaves them alone. Script: 0.95.
        layers: first edited layer, and the layer after the last edited one. None takes the code's 9 to 15 of 32, scaled
            to the number of layers of this model.
    """

    PRESETS: ClassVar = {
        "off": Preset({"enhance": 1.0, "suppress": 1.0}),
        "script": Preset({"enhance": 1.15, "suppress": 0.95}, "`infer_pope.py`'s script and README"),
    }
    reference = "Yin et al., CVPR 2025, arXiv 2503.13107. Code: ustc-hyin/ClearSight"
    cost = Cost(requires="attention scores; image tokens in the prompt")
    law_settings: ClassVar = {"enhance": 4.0, "suppress": 0.2, "layers": (0, 99)}

    enhance: float = 1.15
    suppress: float = 0.95
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name in ("enhance", "suppress"):
            check_range(name, getattr(self, name), 0, above=True, advice="use 1 to leave the scores alone")
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]:
                raise SettingsError(
                    f"layers must be (first, end), such as (9, 15), got {self.layers}; None takes the default"
                )

    def bind(self, view: FoldedView) -> Self:
        layer_count = depth(view)
        first = at_depth(9, layer_count)
        first, end = self.layers or (first, max(at_depth(15, layer_count), first + 1))  # at least one layer

        factors: dict[tuple[int, ...], Tensor] = {}

        def edit(scores: Tensor, layer: int) -> Tensor:
            if not first <= layer < end:
                return scores
            queries, keys = scores.shape[2:]
            step = (len(scores), view.layout.length, queries, keys)
            if step not in factors:  # one for all layers of a forward
                factors.clear()
                factors[step] = self._factor(view, queries, keys).to(scores.dtype)
            # masked places stay at the type's minimum
            return (scores * factors[step]).where(scores > torch.finfo(scores.dtype).min / 2, scores)

        edit_attention(view, edit)
        return self

    def _factor(self, view: FoldedView, queries: int, keys: int) -> Tensor:
        """(B, 1, queries, keys): what the scores of the newest `queries` tokens are multiplied by."""
        image = view.layout.image_tokens(keys)  # (B, K)
        begun = image.cumsum(-1) > 0
        last = keys - 1 - image.flip(-1).long().argmax(-1)  # (B,), the last image token
        newest = torch.arange(view.layout.length - queries, view.layout.length, device=image.device)
        after = (newest[None] > last[:, None])[:, None, :, None]
        ones = torch.ones(len(image), 1, 1, keys, device=image.device)
        edited = amplified(ones, image[:, None, None], ~begun[:, None, None], self.enhance, self.suppress)
        return edited.where(after, 1.0)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None
