"""VDD: visual debias decoding (LLaVA-Align).

    s = (1 + alpha) l(v, x) - alpha l',   on { y : p(y | v, x) >= beta max p(. | v, x) }
    l' = l(x)  |  l(<unk>, x)  |  their mean                   "none" | "unk" | "both"

Zhang et al. 2024, "Debiasing multimodal large language models", arXiv 2403.05262. Original code:
yfzhang114/LLaVA-Align (no licence file found), `vcd_utils/vcd_sample.py`. There a picture is one placeholder until the
model expands it, so the "unk" row holds one unknown token for each picture; so does ours.

We differ: fp32, one folded forward instead of two or three, batches (the original drops placeholders by boolean
indexing, which flattens a batch), every mode of generation; alpha = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.negative_inputs import Call, NegativeInputs, NoImage, crossed, image_token_ids
from halluguard.errors import SettingsError


def debias(logits: Tensor, blind: list[Tensor], alpha: float) -> Tensor:
    """(1 + alpha) * logits - alpha * mean(blind), all (..., V)."""
    return (1 + alpha) * logits - alpha * sum(blind) / len(blind)


@dataclass(frozen=True)
class UnknownImage:
    """The prompt with one unknown token in the place of each picture, and nothing to encode.

    Args:
        token: its id; by default the tokenizer's unknown token, else 0 (LLaMA's unknown token, the original's).
    """

    token: int | None = None

    def __call__(self, call: Call) -> dict[str, Any]:
        ids = call.inputs["input_ids"]
        placeholders = torch.isin(ids, torch.tensor(image_token_ids(call.model), device=ids.device))
        first = placeholders & ~torch.nn.functional.pad(placeholders, [1, 0])[:, :-1]
        inputs = {**call.inputs, "input_ids": ids.masked_fill(first, self._unknown(call))}
        if crossed(call) or bool((placeholders & ~first).any()) or not bool(first.any()):
            return NoImage()(replace(call, inputs=inputs))
        kept = {name: value for name, value in inputs.items() if name in _TEXT}  # a picture was one placeholder
        return kept

    def _unknown(self, call: Call) -> int:
        if self.token is not None:
            return self.token
        found = getattr(getattr(call.processor, "tokenizer", None), "unk_token_id", None)
        return found if isinstance(found, int) else 0


_TEXT = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class VDD(DecodingMethod):
    """Contrast with the same question without its picture, or with an unknown token for it, or with both.

    Needs nothing beside the model. Cost: two rows a forward ("both": three), and no second vision pass. Refused:
    recurrent layers and other families that cannot run without the picture, by `negative_inputs.NoImage`.

    Args:
        alpha: strength, >= 0; 0 is plain generation. The code takes 0.5 when given none.
        beta: plausibility in [0, 1]. Code: 0.1.
        rows: "none", "unk" or "both"; the code's switches `use_dd`, `use_dd_unk`, and both.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "none": {"rows": "none"},
        "unk": {"rows": "unk"},
        "both": {"rows": "both"},
    }

    alpha: float = 0.5
    beta: float = 0.1
    rows: str = "both"

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the contrast off")
        check_beta(self.beta)
        if self.rows not in ("none", "unk", "both"):
            raise SettingsError(f"rows must be 'none', 'unk' or 'both', got {self.rows!r}; the cheapest is 'none'")

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        blind: tuple[NegativeInputs, ...] = (NoImage(), UnknownImage())
        return {"none": blind[:1], "unk": blind[1:], "both": blind}[self.rows]

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return debias(branches[0], branches[1:], self.alpha), plausible(branches[0], self.beta)
