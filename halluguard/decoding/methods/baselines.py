"""Controls: what a contrastive method must beat before its contrast can be credited.

    Greedy               the most probable token, whatever the mode
    PlausibilityOnly     s = l on { y : p(y) >= beta max p }: the support of the methods, without their contrast
    TemperatureMatched   s = l / T_t on the method's support, T_t such that the entropy is the method's at that step
    YesBias              s = l + b [y is a yes] on the first token: POPE's gain by leaning one way, and nothing else

Yin et al. 2025, "The mirage of performance gains: why contrastive decoding fails to mitigate object hallucinations in
MLLMs", arXiv 2504.10020 (code: ustc-hyin/cd_rethink), finds that most of the published gain on POPE is the second and
the fourth: under sampling the support makes decoding near-greedy, and the contrast shifts answers towards yes. The
temperature of the third is matched by entropy, step by step; that is our own definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, plausible
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.errors import SettingsError


def entropy(logits: Tensor, keep: Tensor | None = None) -> Tensor:
    """(..., 1) entropy in nats of softmax(logits) over the kept tokens (all when None)."""
    masked = logits if keep is None else logits.masked_fill(~keep, -torch.inf)
    lp = masked.log_softmax(-1)
    return -(lp.exp() * lp.masked_fill(lp == -torch.inf, 0)).sum(-1, keepdim=True)


def matched_temperature(logits: Tensor, keep: Tensor | None, wanted: Tensor) -> Tensor:
    """(..., 1) T in [1/64, 64] at which softmax(logits / T) has the wanted entropy, by bisection: it grows with T."""
    low = torch.full_like(wanted, math.log(1 / 64))
    high = -low
    for _ in range(40):
        middle = (low + high) / 2
        below = entropy(logits / middle.exp(), keep) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).exp()


@dataclass(frozen=True)
class Greedy(DecodingMethod):
    """The model's most probable token at every step, whatever the mode of generation: under sampling too.

    Needs nothing. Cost: one row a forward.
    """

    is_identity = False

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], plausible(branches[0], 1.0)


@dataclass(frozen=True)
class PlausibilityOnly(DecodingMethod):
    """The plausibility mask of the contrastive methods, with nothing contrasted. It equals transformers' `min_p`.

    Needs nothing. Cost: one row a forward.

    Args:
        beta: plausibility in [0, 1], that of the method it is the control of; 0 is plain generation.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"off": {"beta": 0.0}}

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise SettingsError(f"beta must be in [0, 1], got {self.beta}; 0 allows every token, 1 is greedy")

    @property
    def is_identity(self) -> bool:
        return self.beta == 0

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], plausible(branches[0], self.beta)


@dataclass(frozen=True)
class TemperatureMatched(DecodingMethod):
    """Plain sampling as sharp as a method, on its support: what is left of the method without its direction.

    Needs and costs what the method does, since its rows are run to know how sharp it is. Under greedy search it is
    the plain model on the support. It scales the margin of each question by a temperature of its own, so it has no
    AUC to compare.

    Args:
        method: the method, or its name as in `decoding.get_method`.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"off": {"method": "VCD:off"}}

    method: DecodingMethod | str = "VCD"

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            from halluguard.decoding import get_method

            object.__setattr__(self, "method", get_method(self.method))
        if self._made.acts_inside:
            raise SettingsError(
                f"a method that contrasts rows is expected, got {type(self.method).__name__}, which works inside the "
                "model; there is no plain row beside it to sharpen"
            )

    @property
    def _made(self) -> DecodingMethod:
        assert isinstance(self.method, DecodingMethod)  # a name was looked up
        return self.method

    @property
    def is_identity(self) -> bool:
        return self._made.is_identity

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return self._made.negative_branches

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        scores, keep = self._made.combine_logits(branches, step)
        return branches[0] / matched_temperature(branches[0], keep, entropy(scores, keep)), keep


@dataclass(frozen=True)
class YesBias(DecodingMethod):
    """A constant added to the tokens that say yes, on the first token of an answer.

    It moves the yes-ratio and nothing else: the ranking of the answers, and so the AUC, stays that of the plain
    model. A method on yes-or-no questions is better than leaning only where it beats this at its own yes-ratio.

    Needs a tokenizer, unless `yes` is given. Cost: one row a forward.

    Args:
        bias: in nats; 0 is plain generation. `YesBias.matching` finds it.
        yes: ids of the tokens that say yes; by default every way the tokenizer begins a yes, as in `Guard.margins`.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"off": {"bias": 0.0}}

    bias: float = 1.0
    yes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise SettingsError(f"bias must be a finite number, got {self.bias}; use 0 to switch the control off")
        if self.yes is not None:
            object.__setattr__(self, "yes", tuple(self.yes))
            if not self.yes:
                raise SettingsError("yes must name at least one token, got none; leave it out to use the tokenizer's")

    @classmethod
    def matching(cls, plain: Sequence[float], method: Sequence[float], yes: Sequence[int] | None = None) -> Self:
        """The bias that gives the plain model the yes-ratio of a method.

        Args:
            plain: margins logit(yes) - logit(no) of the plain model, one a question, as `Guard.margins` gives.
            method: the method's margins, for the same questions.
            yes: as in the class.

        >>> YesBias.matching([-3.0, -1.0, 1.0, 2.0], [-1.0, 0.5, 2.0, 3.0]).bias
        2.0
        """
        if not len(plain) or len(plain) != len(method):
            raise SettingsError(
                f"margins of the same questions are expected, got {len(plain)} and {len(method)}; give both in order"
            )
        ranked = sorted(plain, reverse=True)
        wanted = sum(margin > 0 for margin in method)
        above = ranked[wanted - 1] if wanted else ranked[0] + 2
        below = ranked[wanted] if wanted < len(ranked) else ranked[-1] - 2
        return cls(-(above + below) / 2, None if yes is None else tuple(yes))

    @property
    def is_identity(self) -> bool:
        return self.bias == 0

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if self.yes is None:
            raise SettingsError("YesBias knows no tokens that say yes; give the processor to .on(model, processor)")
        first = (step.index == 0)[:, None]
        scores = branches[0].clone()
        scores[..., list(self.yes)] += self.bias * first.to(scores)
        return scores, None

    def on(self, model: Any, processor: Any = None) -> Any:
        """A view of `model` that generates with this control; see `branches.folded_view`."""
        if self.yes is None:
            return YesBias(self.bias, _tokens_that_say_yes(processor)).on(model, processor)
        return super().on(model, processor)


def _tokens_that_say_yes(processor: Any) -> tuple[int, ...]:
    tokenizer: Any = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise SettingsError(
            f"YesBias needs a tokenizer to know what says yes, got {type(processor).__name__}; give the processor, or "
            "the ids as yes=(...)"
        )
    first = [tokenizer(form, add_special_tokens=False)["input_ids"][:1] for form in _YES]
    ids = sorted({ids[0] for ids in first if ids and tokenizer.decode(ids).strip().lower() == "yes"})
    if not ids:
        raise SettingsError("YesBias found no token for yes in the tokenizer; give the ids as yes=(...)")
    return tuple(ids)


_YES = ("yes", "Yes", "YES", " yes", " Yes")
