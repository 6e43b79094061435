"""VGA: visually guided attention, the values of salient image tokens added to the heads' outputs.

    z_h <- z_h + beta f gamma_h D_h,   D_h = sum_j G_j V_hj          j: image tokens;  before the output projection
    gamma_h = max(0, 2 - H s_h / sum_h s_h),   s_h = (1 + cos(z_h, D_h)) / 2
    f = share of the image tokens with G > 1e-8

    G of a caption     normalised  -sum over the top 10 of p log p / log 10
    G of named objects normalised  maximum over objects of the normalised p(first token of the name)
    p: the head's probabilities at each image token

No attention map is needed: z is what the model's own kernel computes, and V is in the cache.

Zhao et al. 2026, "Visually guided attention", CVPR, arXiv 2511.20032. The authors' code (beta-nlp/VGA) was not at hand:
what stands here is the formula on which two independent descriptions of paper and code agree, so no parity is claimed.
Where the descriptions do not agree, the part is left out: the update of G after each written token (whether its map is
normalised first), so G stays that of the prompt; an option that blends convexly, off by default there. The guidance
begins at the first token of the answer that is read, and several images share one G.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from halluguard.decoding.base import Combined, Cost, DecodingMethod, LogitsCombiner, Preset, Step
from halluguard.decoding.engine.layers import at_depth, decoder, depth, early_logits
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.engine.wrapped_attention import Attention, wrap_attention
from halluguard.decoding.negative_inputs import token_ids
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

TOP = 10
POSITIONS = 128
"""Image positions whose probabilities are held at a time."""


def normalised(grounding: Tensor) -> Tensor:
    """`grounding` divided by its sum over the last axis; zeros stay zeros."""
    return grounding / grounding.sum(-1, keepdim=True).clamp_min(1e-12)


def caption_grounding(probabilities: Tensor) -> Tensor:
    """Entropy of the top 10 probabilities, or of the fewer there are, as a share of its maximum: (m, V) -> (m,).

    The top probabilities are not normalised.

    >>> caption_grounding(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    tensor([1., 0.])
    """
    top = probabilities.topk(min(TOP, probabilities.shape[-1])).values
    return torch.special.entr(top).sum(-1) / math.log(top.shape[-1])


def object_grounding(probabilities: Tensor) -> Tensor:
    """(objects, m), the probability of each object's first token at each position -> G (m,).

    >>> object_grounding(torch.tensor([[0.2, 0.2], [0.01, 0.03]]))
    tensor([0.4000, 0.6000])
    """
    return normalised(normalised(probabilities).amax(0))


def guided(outputs: Tensor, evidence: Tensor, beta: float | Tensor) -> Tensor:
    """Outputs of heads (..., H, D) with their evidence (..., H, D) added; beta broadcasts to (..., 1, 1).

    >>> guided(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.2)
    tensor([[1.1333, 0.0000],
            [0.2667, 1.0000]])
    """
    d = evidence.float()
    return _guided(outputs, normalize(d, dim=-1), beta * d)


def _guided(outputs: Tensor, unit: Tensor, push: Tensor) -> Tensor:
    """`guided` with what is the same at every token: the evidence at length 1 and times beta."""
    z = outputs.float()
    agreement = 1 + torch.linalg.vecdot(z, unit) / torch.linalg.vector_norm(z, dim=-1).clamp_min(1e-8)
    share = agreement * (agreement.shape[-1] / agreement.sum(-1, keepdim=True).clamp_min(1e-12))
    return torch.addcmul(z, (2 - share).clamp_min(0)[..., None], push).to(outputs.dtype)


@dataclass(frozen=True)
class VGA(DecodingMethod):
    """Add the values of the image tokens that the model itself finds salient to the output of every head.

    Applies the head to each image position, once per call. The decoder keeps its attention kernel. Refused: models
    without image tokens in the prompt or without a linear head, layers that see only the end of the sequence.

    Args:
        beta: strength, >= 0; 0 is plain generation. Described: 0.2.
        layers: first guided layer, and the layer after the last one. None takes 2 to 16 of 32, scaled to the number of
            layers of this model.
        objects: names of the objects that each prompt asks about, for questions; a prompt without names is guided as a
            caption is. Names need a processor with a tokenizer.
    """

    PRESETS: ClassVar = {
        "off": Preset({"beta": 0.0}),
        "described llava": Preset({"beta": 0.2, "layers": (2, 16)}, "two descriptions of its code, LLaVA-1.5"),
        "described qwen": Preset({"beta": 0.2, "layers": (4, 16)}, "the same, Qwen2.5-VL"),
    }
    reference = "Zhao et al., CVPR 2026, arXiv 2511.20032. Code: beta-nlp/VGA, not seen"
    cost = Cost(requires="image tokens in the prompt; a linear head")
    law_settings: ClassVar = {"beta": 30.0, "layers": (0, 99)}

    beta: float = 0.2
    layers: Sequence[int] | None = None
    objects: Sequence[Sequence[str]] = ()

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 0, advice="use 0 for plain generation")
        object.__setattr__(self, "objects", tuple(tuple(names) for names in self.objects))
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]:
                raise SettingsError(
                    f"layers must be (first, end), such as (2, 16), got {self.layers}; None takes the default"
                )

    def bind(self, view: FoldedView) -> LogitsCombiner:
        return _BoundVGA(self, view)


class _BoundVGA(LogitsCombiner):
    """The grounding of one call's prompts, and the evidence of each layer, which the cache of the prompt fixes."""

    def __init__(self, method: VGA, view: FoldedView) -> None:
        self.method, self.view = method, view
        layers = depth(view)
        first = at_depth(2, layers)
        self.first, self.end = method.layers or (first, max(at_depth(16, layers), first + 1))  # at least one layer
        self.grounding: list[Tensor] = []  # (m,) for each sequence of the first forward
        self.evidence: dict[int, tuple[Tensor, Tensor]] = {}
        if view.session.answered:  # tokens of the answer are read together with the prompt, and need its grounding
            probe = shared_copy_of(view.call.model)
            decoder(probe).register_forward_hook(self._read)
            with torch.inference_mode():
                probe.generate(**view.call.inputs, max_new_tokens=1, num_beams=1, do_sample=False)
        else:
            decoder(view).register_forward_hook(self._read)
        wrap_attention(view, self._around)

    def _read(self, module: nn.Module, args: object, output: Any) -> None:
        """Compute the grounding from the decoder's last states, once."""
        if self.grounding:
            return
        states = output if torch.is_tensor(output) else output[0]
        ids = self.view.call.inputs.get("input_ids") if self.view.session.answered else None
        if ids is None:
            image = self.view.layout.image_tokens()[:, -states.shape[1] :]
        else:
            image = torch.isin(ids, torch.tensor(self.view.session.placeholders, device=ids.device))
        if not bool(image.any(-1).all()):
            raise UnsupportedModelError(
                "image tokens in every prompt are expected, got a prompt without; use a method that reads logits only, "
                "such as VCD"
            )
        each = len(states) // max(1, len(self.method.objects))
        for row, (own, at) in enumerate(zip(states, image, strict=True)):
            self.grounding.append(self._grounding(own[at], self._names(row // max(1, each), len(states))))

    def _names(self, prompt: int, sequences: int) -> list[int]:
        """First tokens of the names that a prompt asks about."""
        objects = self.method.objects
        if not objects:
            return []
        if sequences % len(objects):
            raise InputError(
                f"one list of objects for each prompt is expected, got {len(objects)} for {sequences}; give one each"
            )
        return [token_ids(name, self.view.call)[0] for name in objects[prompt]]

    def _grounding(self, states: Tensor, names: Sequence[int]) -> Tensor:
        """G (m,) of states (m, H) at the image positions of one prompt."""
        parts = []
        for chunk in states.split(POSITIONS):
            probabilities = early_logits(self.view, chunk, normed=False).softmax(-1)
            parts.append(probabilities[:, names] if names else caption_grounding(probabilities)[:, None])
        whole = torch.cat(parts).T
        return object_grounding(whole) if names else normalised(whole[0])

    def _around(self, attention: Attention) -> Tensor:
        outputs, layout = attention.plain(), self.view.layout
        queries = min(outputs.shape[1], layout.length - layout.prompt)
        if queries and self.first <= attention.layer < self.end:
            last = outputs[:, -queries:]
            unit, push = self._evidence(attention)
            if unit.shape[2:] != last.shape[2:]:
                raise UnsupportedModelError(
                    f"values as wide as the heads' outputs, {tuple(last.shape[2:])}, are expected, got "
                    f"{tuple(unit.shape[2:])}; use a method that reads logits only, such as VCD"
                )
            outputs[:, -queries:] = _guided(last, unit, push)
        return outputs

    def _evidence(self, attention: Attention) -> tuple[Tensor, Tensor]:
        """D of a layer at length 1, and beta f D, both (B, 1, heads, D) in fp32."""
        rows = len(attention.value)
        if attention.layer not in self.evidence:
            image = self.view.layout.image_tokens(attention.value.shape[2])
            each = rows // len(self.grounding)
            weights = torch.zeros(image.shape, device=image.device)
            for row, at in enumerate(image):
                weights[row, at] = self.grounding[row // each]
            values = torch.einsum("bk,bhkd->bhd", weights.to(attention.value.dtype), attention.value)
            groups = attention.query.shape[1] // values.shape[1]
            whole = values.repeat_interleave(groups, 1)[:, None].float()
            share = torch.stack([(one > 1e-8).float().mean() for one in self.grounding])
            strength = self.method.beta * share.repeat_interleave(rows // len(share))[:, None, None, None]
            self.evidence[attention.layer] = normalize(whole, dim=-1), strength * whole
        return self.evidence[attention.layer]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None
