"""ONLY: one-layer intervention.

    l~ = head( norm(z) + 0.5 h_L ),   z: the last layer's MLP block on the attention output of layer 0 in which
         - weights above mean + std of their own kind (text, image) are dropped
         - heads whose ratio of text to image entropy is below the mean over heads are dropped
    d  = sum |p - p~|
    s  = l + a l~              where d < gamma      (the two agree: they complement each other)
       = (1 + b) l - b l~      otherwise            (a contrast)
    on { y : p(y | v, x) >= beta max p(. | v, x) }

Wan et al. 2025, "ONLY: one-layer intervention sufficiently mitigates hallucinations in large vision-language models",
ICCV, arXiv 2507.00898. Original code: zifuwan/ONLY (no licence file found), `transformers/src/transformers/models/
llama/modeling_llama.py`, `only_utils/only_sample.py`, `experiments/llava/model/language_model/llava_llama.py`. The
factors 0.2 (of the last layer's input, added to z) and 0.5 are in the code alone, and so is the norm of z on its way
in, the last layer's input norm.

Differences from the original: image and text are where the prompt has them (the code has columns 35 to 610 for
everything); heads and d belong to each sequence (the code takes sequence 0's heads and sums d over the batch); padding
takes no part in mean and std; fp32 at the head, every mode of generation; a = b = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step, plausible
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.layers import decoder_layers, early_logits, final_norm
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_beta, check_range
from halluguard.errors import UnsupportedModelError

RESIDUAL = 0.2
FINAL = 0.5


def trimmed(weights: Tensor, where: Tensor) -> Tensor:
    """Weights (..., K) with those of `where` (broadcastable) that lie above its mean + std set to zero.

    The std divides by n - 1, as torch's does.
    """
    count = where.sum(-1, keepdim=True)
    kept = weights.masked_fill(~where, 0)
    mean = kept.sum(-1, keepdim=True) / count
    spread = (((kept - mean) ** 2).masked_fill(~where, 0).sum(-1, keepdim=True) / (count - 1)).sqrt()
    return torch.where(where & (weights > mean + spread), 0.0, weights)


def entropy(weights: Tensor, where: Tensor) -> Tensor:
    """(...) entropy of weights (..., K) renormalised over `where`, with the code's 1e-6 inside the logarithm."""
    kept = weights.masked_fill(~where, 0)
    share = kept / kept.sum(-1, keepdim=True)
    return -(share * (share + 1e-6).log()).sum(-1)


def intervened(weights: Tensor, image: Tensor, text: Tensor) -> Tensor:
    """Layer 0's weights (B, heads, S, K) as the second reading has them.

    Args:
        weights: attention weights, after the softmax.
        image: (B, S, K) bool, image tokens.
        text: (B, S, K) bool, text tokens; tokens of neither kind keep their weights.
    """
    image, text = image[:, None], text[:, None]
    weights = trimmed(trimmed(weights.float(), text), image)
    of_text = entropy(weights, text).nan_to_num(nan=0.0)
    of_image = entropy(weights, image).nan_to_num(nan=float("inf"))
    ratio = of_text / of_image  # (B, heads, S)
    dropped = ratio < ratio.mean(1, keepdim=True)
    return weights.masked_fill(dropped[..., None], 0)


def adaptive(logits: Tensor, second: Tensor, gamma: float, a: float, b: float) -> Tensor:
    """Scores (..., V): an ensemble where the two readings agree within gamma, a contrast where they do not."""
    distance = (logits.softmax(-1) - second.softmax(-1)).abs().sum(-1, keepdim=True)
    return (logits + a * second).where(distance < gamma, (1 + b) * logits - b * second)


@dataclass(frozen=True)
class ONLY(DecodingMethod):
    """Contrast or ensemble with a reading in which layer 0's text-leaning heads go straight to the last layer.

    Needs Llama's layer (`input_layernorm`, `self_attn.o_proj`, `post_attention_layernorm`, `mlp`). The decoder runs an
    attention of our own, as exact as the family's eager one, without fused kernels, and one more MLP and head. Refused:
    other layers, cross-attention models.

    Args:
        a: weight of the ensemble, >= 0. Code: 3. With a = b = 0 the method is plain generation.
        b: weight of the contrast, >= 0. Code: 1.
        gamma: distance, in [0, 2], below which the readings agree. Scripts: 0.2; default of the code: 0.1.
        beta: plausibility bound in [0, 1]. Code: 0.1.
    """

    PRESETS: ClassVar = {
        "off": Preset({"a": 0.0, "b": 0.0}),
        "code": Preset({"a": 3.0, "b": 1.0, "gamma": 0.2, "beta": 0.1}, "argparse of its scripts"),
        "omitted arguments": Preset({"a": 3.0, "b": 1.0, "gamma": 0.1, "beta": 0.1}, "the loop of `only_sample.py`"),
    }
    reference = "Wan et al., ICCV 2025, arXiv 2507.00898. Code: zifuwan/ONLY"
    cost = Cost(requires="attention maps; image tokens in the prompt; Llama's layer")
    law_settings: ClassVar = {"b": 3.0}
    needs = ("hidden_states",)

    a: float = 3.0
    b: float = 1.0
    gamma: float = 0.2
    beta: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            check_range(name, value, 0, advice="use 0 for both a and b to switch the method off")
        check_range("gamma", self.gamma, 0, 2, advice="it is a sum of absolute differences")
        check_beta(self.beta)

    def bind(self, view: FoldedView) -> LogitsCombiner:
        return _BoundONLY(self, view)


class _BoundONLY(LogitsCombiner):
    """ONLY within one call: the changed attention output of layer 0, and the input of the last layer."""

    def __init__(self, method: ONLY, view: FoldedView) -> None:
        self.method, self.view = method, view
        layers: list[Any] = list(decoder_layers(view))
        self.first, self.last = layers[0], layers[-1]
        paths = ((self.first, "self_attn.o_proj"), *((self.last, name) for name in _LAYER))
        lacking = [path for layer, path in paths if _at(layer, path) is None]
        if lacking or hasattr(self.last, "pre_feedforward_layernorm"):  # Gemma has norms on both sides
            why = f"no {lacking[0]!r}" if lacking else "further norms"
            raise UnsupportedModelError(
                f"Llama's layer is expected, got {type(self.last).__name__} with {why}; use a method that reads logits "
                "only, such as VCD"
            )
        self.attention: Tensor | None = None
        edit_attention(view, watch=self._attended)
        self.last.register_forward_pre_hook(self._entering, with_kwargs=True)

    def _attended(self, weights: Tensor, values: Tensor, layer: int) -> None:
        if layer:
            return
        layout = self.view.layout
        queries, keys = weights.shape[-2:]
        image = layout.image_tokens(keys)[:, None].expand(-1, queries, -1)
        at = torch.arange(keys, device=weights.device)
        visible = at <= torch.arange(layout.length - queries, layout.length, device=weights.device)[:, None]
        real = torch.nn.functional.pad(self.view.call.inputs["attention_mask"].bool(), [0, keys], value=True)[:, :keys]
        real = real.repeat_interleave(len(weights) // len(real), 0)  # over beams
        first = real.long().argmax(-1)  # the code leaves the first token out of the text
        text = visible & real[:, None] & ~image & (at != first[:, None])[:, None]
        changed = intervened(weights, image & visible, text).to(values.dtype)
        output = (changed @ values).transpose(1, 2).flatten(2)
        self.attention = self.first.self_attn.o_proj(output)

    def _entering(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.residual = args[0] if args else kwargs["hidden_states"]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if self.attention is None:
            raise UnsupportedModelError(
                f"ONLY reads the attention of the first layer, and {type(self.view).__name__} has another kind of "
                "layer there; use a method that reads logits only, such as VCD"
            )
        logits, last, method = branches[0], self.last, self.method
        length = logits.shape[1]
        z = last.input_layernorm(self.attention[:, -length:]) + RESIDUAL * self.residual[:, -length:]
        z = z + last.mlp(last.post_attention_layernorm(z))
        hidden = final_norm(self.view)(z) + FINAL * step.hidden_layers([-1])[0]
        second = early_logits(self.view, hidden, normed=False)
        return adaptive(logits, second, method.gamma, method.a, method.b), plausible(logits, method.beta)


_LAYER = ("input_layernorm", "post_attention_layernorm", "mlp")


def _at(module: nn.Module | None, path: str) -> nn.Module | None:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module
