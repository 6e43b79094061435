"""VDD: visual debias decoding (LLaVA-Align).

    s = (1 + alpha) l(v, x) - alpha l',   on { y : p(y | v, x) >= beta max p(. | v, x) }
    l' = l(x)  |  l(<unk>, x)  |  their mean                   "none" | "unk" | "both"

Zhang et al. 2024, "Debiasing multimodal large language models", arXiv 2403.05262. Original code:
yfzhang114/LLaVA-Align (no licence file found), `vcd_utils/vcd_sample.py`. There an image is one placeholder until the
model expands it, so the "unk" branch holds one unknown token for each image; so does ours.

Differences from the original: fp32, one folded forward instead of two or three, batches (the original drops
placeholders by boolean indexing, which flattens a batch), every mode of generation; alpha = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.negative_inputs import (
    Call,
    ModelInputs,
    NegativeInputs,
    NoImage,
    crossed,
    image_token_ids,
    visual_token_ids,
)
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError


def debias(logits: Tensor, negatives: list[Tensor], alpha: float) -> Tensor:
    """(1 + alpha) * logits - alpha * mean(negatives), all (..., V)."""
    return (1 + alpha) * logits - alpha * sum(negatives) / len(negatives)


@dataclass(frozen=True)
class UnknownImage:
    """The prompt with one unknown token in place of each image, and nothing to encode.

    Args:
        token: id of the unknown token; by default the tokenizer's, or 0 without one (LLaMA's unknown token, which the
            original uses).
    """

    token: int | None = None

    def __call__(self, call: Call) -> ModelInputs:
        ids = call.inputs["input_ids"]
        placeholders = torch.isin(ids, torch.tensor(image_token_ids(call.model), device=ids.device))
        first = placeholders & ~torch.nn.functional.pad(placeholders, [1, 0])[:, :-1]
        inputs = {**call.inputs, "input_ids": ids.masked_fill(first, self._unknown(call))}
        deleted = torch.isin(inputs["input_ids"], torch.tensor(visual_token_ids(call.model), device=ids.device))
        if crossed(call) or bool(deleted.any()) or not bool(first.any()):
            return NoImage()(replace(call, inputs=inputs))
        return {name: value for name, value in inputs.items() if name in _TEXT}  # an image was one placeholder

    def _unknown(self, call: Call) -> int:
        if self.token is not None:
            return self.token
        unknown = getattr(getattr(call.processor, "tokenizer", None), "unk_token_id", None)
        return unknown if isinstance(unknown, int) else 0


_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")

BRANCHES: dict[str, tuple[NegativeInputs, ...]] = {
    "none": (NoImage(),),
    "unk": (UnknownImage(),),
    "both": (NoImage(), UnknownImage()),
}


@dataclass(frozen=True)
class VDD(DecodingMethod):
    """Contrast with the same question without its image, with an unknown token for the image, or with both.

    No second encoding of the image. Refused: recurrent layers and other families that cannot run without the image; see
    `negative_inputs.NoImage`.

    Args:
        alpha: strength of the contrast, >= 0; 0 is plain generation. Default of the code: 0.5.
        beta: plausibility bound in [0, 1]. Code: 0.1.
        branches: "none", "unk" or "both"; the code's switches `use_dd`, `use_dd_unk`, and both.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "none": Preset({"branches": "none"}, "`vcd_sample.py`: switch `use_dd`, values taken when none are given"),
        "unk": Preset({"branches": "unk"}, "the same: switch `use_dd_unk`"),
        "both": Preset({"branches": "both"}, "the same: both switches"),
    }
    reference = "LLaVA-Align. Zhang et al. 2024, arXiv 2403.05262. Code: yfzhang114/LLaVA-Align"
    cost = Cost(branches=3, requires='nothing (2 branches with `branches="none"` or `"unk"`)')
    law_settings: ClassVar = {"alpha": 2.0}

    alpha: float = 0.5
    beta: float = 0.1
    branches: str = "both"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        if self.branches not in BRANCHES:
            raise SettingsError(
                f"branches must be 'none', 'unk' or 'both', got {self.branches!r}; the cheapest is 'none'"
            )

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return BRANCHES[self.branches]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return debias(branches[0], branches[1:], self.alpha), plausible(branches[0], self.beta)
