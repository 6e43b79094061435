"""Baselines without a contrast, which a contrastive method must beat to show that its contrast helps.

    Greedy               the most probable token, whatever the mode
    PlausibilityOnly     s = l on { y : p(y) >= beta max p }: the mask of the methods, without their contrast
    TemperatureMatched   s = l / T_t on the method's mask, T_t such that the entropy is the method's at that step
    YesBias              s = l + b [y is a yes] on the first token: POPE's gain by leaning one way, and nothing else

Yin et al. 2025, "The mirage of performance gains: why contrastive decoding fails to mitigate object hallucinations in
MLLMs", arXiv 2504.10020 (code: ustc-hyin/cd_rethink), finds that most of the published gain on POPE is the second and
the fourth: under sampling the mask makes decoding near-greedy, and the contrast shifts answers towards yes. The
temperature of the third is matched by entropy, step by step; that is our own definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.decoding.setting_checks import check_beta
from halluguard.errors import SettingsError


def entropy(logits: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(..., 1) entropy in nats of softmax(logits) over the allowed tokens (all when None)."""
    masked = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    lp = masked.log_softmax(-1)
    return -(lp.exp() * lp.masked_fill(lp == -torch.inf, 0)).sum(-1, keepdim=True)


def matched_temperature(logits: Tensor, allowed: Tensor | None, target: Tensor) -> Tensor:
    """(..., 1) T in [1/64, 64] at which softmax(logits / T) has the target entropy, by bisection: it grows with T."""
    low = torch.full_like(target, math.log(1 / 64))
    high = -low
    for _ in range(40):
        middle = (low + high) / 2
        below = entropy(logits / middle.exp(), allowed) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).exp()


@dataclass(frozen=True)
class Greedy(DecodingMethod):
    """The model's most probable token at every step, whatever the mode of generation: under sampling too."""

    reference = "Greedy search"
    is_baseline = True
    is_identity = False

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], plausible(branches[0], 1.0)


@dataclass(frozen=True)
class PlausibilityOnly(DecodingMethod):
    """The plausibility mask of the contrastive methods, with nothing contrasted. It equals transformers' `min_p`.

    Args:
        beta: plausibility bound in [0, 1]: that of the method it is compared with; 0 is plain generation, 1 is greedy.
    """

    PRESETS: ClassVar = {"off": Preset({"beta": 0.0})}
    reference = "The mask alone"
    law_settings: ClassVar = {"beta": 0.95}
    is_baseline = True

    beta: float = 0.1

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], plausible(branches[0], self.beta)


@dataclass(frozen=True)
class TemperatureMatched(DecodingMethod):
    """Plain sampling at the entropy of a method, on its mask: the method's sharpening without its contrast.

    Needs and costs what the method does, since its branches are run to know how sharp it is. Under greedy search it is
    the plain model on the mask. It scales the margin of each question by a temperature of its own, so it has no AUC to
    compare.

    Args:
        method: the method, or its name as in `get_method`.
    """

    PRESETS: ClassVar = {"off": Preset({"method": "VCD:off"})}
    reference = "The plain model at a method's entropy, on its mask"
    cost = Cost(branches=2, encodings=1, requires="the needs of its method (here VCD)")
    law_settings: ClassVar = {"method": "AGLA"}
    is_baseline = True

    method: DecodingMethod | str = "VCD"

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            from halluguard.decoding import get_method  # it knows all methods, this one among them

            object.__setattr__(self, "method", get_method(self.method))
        if self._matched.acts_inside:
            raise SettingsError(
                f"a method that contrasts branches is expected, got {type(self.method).__name__}, which works inside "
                "the model and leaves no plain branch to sharpen; use PlausibilityOnly"
            )

    @property
    def _matched(self) -> DecodingMethod:
        assert isinstance(self.method, DecodingMethod)  # a name was looked up
        return self.method

    @property
    def is_identity(self) -> bool:
        return self._matched.is_identity

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return self._matched.negative_branches

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        scores, allowed = self._matched.combine_logits(branches, step)
        return branches[0] / matched_temperature(branches[0], allowed, entropy(scores, allowed)), allowed


@dataclass(frozen=True)
class YesBias(DecodingMethod):
    """A constant added to the tokens that say yes, on the first token of an answer.

    It moves the yes-ratio and nothing else: the ranking of the answers, and so the AUC, stays that of the plain model.
    On yes-or-no questions, a method does more than lean towards one answer only if it beats this at its yes-ratio.

    Args:
        bias: in nats; 0 is plain generation. `YesBias.matching` computes it.
        yes: ids of the tokens that say yes; by default every way the tokenizer begins a yes, as in `Guard.margins`.
    """

    PRESETS: ClassVar = {"off": Preset({"bias": 0.0})}
    reference = "A constant on the tokens that say yes"
    cost = Cost(requires="a tokenizer, or the ids that say yes")
    law_settings: ClassVar = {"bias": 9.0, "yes": [7]}
    is_baseline = True

    bias: float = 1.0
    yes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise SettingsError(f"bias must be a finite number, got {self.bias}; use 0 to switch the baseline off")
        if self.yes is not None:
            object.__setattr__(self, "yes", tuple(self.yes))
            if not self.yes:
                raise SettingsError("yes must name at least one token, got none; leave it out to use the tokenizer's")

    @classmethod
    def matching(cls, plain: Sequence[float], method: Sequence[float], yes: Sequence[int] | None = None) -> Self:
        """The bias that gives the plain model the yes-ratio of a method.

        Args:
            plain: margins logit(yes) - logit(no) of the plain model, one per question, as `Guard.margins` gives them.
            method: the method's margins, for the same questions in the same order.
            yes: as in the class.

        >>> YesBias.matching([-3.0, -1.0, 1.0, 2.0], [-1.0, 0.5, 2.0, 3.0]).bias
        2.0
        """
        if not len(plain) or len(plain) != len(method):
            raise SettingsError(
                f"margins of the same questions are expected, got {len(plain)} and {len(method)}; give both in order"
            )
        ranked = sorted(plain, reverse=True)
        yes_count = sum(margin > 0 for margin in method)
        above = ranked[yes_count - 1] if yes_count else ranked[0] + 2
        below = ranked[yes_count] if yes_count < len(ranked) else ranked[-1] - 2
        return cls(-(above + below) / 2, None if yes is None else tuple(yes))

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if self.yes is None:
            raise SettingsError("YesBias knows no tokens that say yes; give the processor to .on(model, processor)")
        first = (step.index == 0)[:, None]
        scores = branches[0].clone()
        scores[..., list(self.yes)] += self.bias * first.to(scores)
        return scores, None

    def on(self, model: PreTrainedModel, processor: ProcessorMixin | None = None) -> FoldedView:
        """A view of `model` that generates with this bias; the processor's tokenizer names the tokens that say yes."""
        if self.yes is None:
            return YesBias(self.bias, _tokens_that_say_yes(processor)).on(model, processor)
        return super().on(model, processor)


def _tokens_that_say_yes(processor: ProcessorMixin | None) -> tuple[int, ...]:
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise SettingsError(
            f"YesBias needs a tokenizer to know which tokens say yes, got {type(processor).__name__}; give the "
            "processor, or the ids as yes=(...)"
        )
    first = [tokenizer(form, add_special_tokens=False)["input_ids"][:1] for form in _YES]
    ids = sorted({ids[0] for ids in first if ids and tokenizer.decode(ids).strip().lower() == "yes"})
    if not ids:
        raise SettingsError("YesBias found no token for yes in the tokenizer; give the ids as yes=(...)")
    return tuple(ids)


_YES = ("yes", "Yes", "YES", " yes", " Yes")
