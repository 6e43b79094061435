"""ICD: instruction contrastive decoding.

    code     s = (1 + alpha) l(v, x) - alpha l(v, d + x)
    paper    s = l(v, x) - alpha l(v, d + x)                (its lambda)
    on { y : p(y | v, x) >= beta max p(. | v, x) };   d: a disturbing role, such as "a confused objects detector"

Wang et al. 2024, "Mitigating hallucinations in large vision-language models with instruction contrastive decoding",
Findings of ACL, arXiv 2403.18715. Original code: p1k0pan/ICD (no licence file found), `icd_utils/icd_sample_llava.py`.
The two formulas differ by a whole l. At alpha = 1 the paper's formula is a bare difference, in which agreeing branches
cancel; the code is what its scripts run.

Differences from the original: the role goes in front of the question, after the image, where every chat template has
room (the original puts it in place of LLaVA's system prompt, or into the Q-Former of InstructBLIP); fp32, one folded
forward, every mode of generation; alpha = 0 is plain generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.engine.batch import BOXES, IMAGE_MASKS, PER_TOKEN
from halluguard.decoding.negative_inputs import Call, ModelInputs, NegativeInputs, token_ids, visual_token_ids
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError, UnsupportedModelError

CONFUSED = "You are a confused objects detector to provide a fuzzy overview or impression of the image."
AVOIDING = "I want you avoid any specific identification or categorization of the objects depicted."
"""The two disturbing roles of the original's five prefixes, word for word."""


def contrast(logits: Tensor, disturbed: Tensor, alpha: float, formula: str = "code") -> Tensor:
    """`(1 + alpha) * logits - alpha * disturbed` of the code, or `logits - alpha * disturbed` of the paper."""
    return (1 + alpha if formula == "code" else 1) * logits - alpha * disturbed


@dataclass(frozen=True)
class PrefixedPrompt:
    """The same image and prompt with a text in front of the question; the branch is longer by that text.

    Args:
        text: words, or token ids; words need the processor's tokenizer.
    """

    text: str | Sequence[int]

    def __call__(self, call: Call) -> ModelInputs:
        if "input_ids" not in call.inputs:
            raise UnsupportedModelError(
                f"a prompt with text is expected, and {type(call.model).__name__} takes an image alone: no text can "
                "be put in front of its question; contrast with another image (VCD)"
            )
        ids, mask = call.inputs["input_ids"], call.inputs["attention_mask"].bool()
        prefixes = [torch.tensor(text, dtype=ids.dtype, device=ids.device) for text in self.prefixes(call, len(ids))]
        prompts = [
            self._prefixed(prompt[kept], prefix, call) for prompt, kept, prefix in zip(ids, mask, prefixes, strict=True)
        ]
        length = max(len(prompt) for prompt, _ in prompts)
        new_ids = ids.new_full((len(prompts), length), call.pad_id)
        new_mask = torch.zeros_like(new_ids)
        origin = torch.zeros_like(new_ids)  # token of the old prompt that a token's other inputs are copied from
        for i, (prompt, at) in enumerate(prompts):
            old = mask[i].nonzero()[:, 0]
            near = old[at : at + 1].expand(len(prompt) - len(old))
            new_ids[i, length - len(prompt) :], new_mask[i, length - len(prompt) :] = prompt, 1
            origin[i, length - len(prompt) :] = torch.cat([old[:at], near, old[at:]])
        inputs = {**call.inputs, "input_ids": new_ids, "attention_mask": new_mask}
        inputs.pop("position_ids", None)  # counted again by the model, from the mask
        for name in PER_TOKEN[2:]:
            value = inputs.get(name)
            if value is not None:
                index = origin[(...,) + (None,) * (value.ndim - 2)].expand(-1, -1, *value.shape[2:])
                copied = value.gather(1, index)
                inputs[name] = copied if name in (*IMAGE_MASKS, *BOXES) else copied * new_mask
        return inputs

    def prefixes(self, call: Call, prompts: int) -> list[list[int]]:
        """Token ids that are put in front of the question of each prompt."""
        return [token_ids(self.text, call)] * prompts

    def _prefixed(self, ids: Tensor, prefix: Tensor, call: Call) -> tuple[Tensor, int]:
        """A prompt with the text in it, and its place: after the last image, or at the start of the text."""
        placeholders = torch.isin(ids, torch.tensor(visual_token_ids(call.model), device=ids.device)).nonzero()
        at = int(placeholders[-1]) + 1 if len(placeholders) else 1
        # Tokens that close the image belong to it.
        special = set(getattr(getattr(call.processor, "tokenizer", None), "all_special_ids", ()))
        while at < len(ids) - 1 and int(ids[at]) in special:
            at += 1
        return torch.cat([ids[:at], prefix, ids[at:]]), at


@dataclass(frozen=True)
class ICD(DecodingMethod):
    """Contrast with the same image and question under a disturbing role.

    Words need a processor with a tokenizer. The second branch is longer by the role.

    Args:
        alpha: strength of the contrast, >= 0; 0 is plain generation. Paper and scripts: 1.
        beta: plausibility bound in [0, 1]. Paper and scripts: 0.1.
        instruction: the disturbing role, words or token ids; see `CONFUSED`, `AVOIDING`.
        formula: "code" or "paper".
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset({"alpha": 1.0, "beta": 0.1, "formula": "code"}, "`icd_sample_llava.py` and its scripts"),
        "paper": Preset({"alpha": 1.0, "beta": 0.1, "formula": "paper"}, "the paper's formula"),
    }
    reference = "Wang et al., Findings of ACL 2024, arXiv 2403.18715. Code: p1k0pan/ICD"
    cost = Cost(branches=2, encodings=1, requires="the processor's tokenizer, or an instruction in token ids")
    law_settings: ClassVar = {"alpha": 4.0, "instruction": [20, 21, 22, 23]}

    alpha: float = 1.0
    beta: float = 0.1
    instruction: str | Sequence[int] = CONFUSED
    formula: str = "code"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        if self.formula not in ("code", "paper"):
            raise SettingsError(f"formula must be 'code' or 'paper', got {self.formula!r}; the tables used 'code'")
        if not self.instruction:
            raise SettingsError("the instruction must have words, got none; see icd.CONFUSED")
        if not isinstance(self.instruction, str):
            object.__setattr__(self, "instruction", tuple(self.instruction))

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (PrefixedPrompt(self.instruction),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return contrast(branches[0], branches[1], self.alpha, self.formula), plausible(branches[0], self.beta)
