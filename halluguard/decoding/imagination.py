"""Imagination: one signed setting between grounded and imaginative answers, for any model.

    D(y)   = log p(y | v, x, y<t) - log p(y | x, y<t)          pointwise mutual information of token and image
    T(y)   = clip(D(y), min_S D - c, max_S D + c),             S = { y : p(y | v) >= beta max p(. | v) }
    p_e(y) ~ p(y | v, x, y<t) * exp(-lam T(y)),                lam = gain * w_t * imagination

A one-parameter exponential family whose statistic and support do not depend on the setting. So, at every step and
for any model: d E[T] / d lam = -Var(T) <= 0; E[D] falls with it, since T never decreases with D; log-odds of any
two tokens are affine in lam; the T of the greedy token never rises. imagination = 0 is plain generation.

Clipping replaces a plausibility mask, without the mask's jump at 0. A token outside S gains at most exp(gain c) more
than the best-placed token of S, so greedy search only chooses tokens with p >= beta exp(-gain c) max p; c is 0.5 nats
divided by the gain. The caller's own truncation (top-p, top-k, min-p ...) is read on the original branch for the same
reason: truncated after the tilt, the support would move with the setting and the law would fail.

With a trained `controller` the direction is read at the head's input instead of from a second branch: H W c in place of
-T, at the price of a plain forward. Log-odds are affine in the setting there too, and 0 is plain generation; but
nothing bounds the direction to plausible tokens, and transformers truncates after the tilt.

Our own form. It holds as special cases, on the support, VCD and VDD (lam = -alpha), classifier-free guidance
(lam = 1 - guidance_scale) and, with a trained direction in place of D, HallE-Control (Zhai et al. 2023, arXiv
2310.01779).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.controller import Controller
from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.engine.checks import opened
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.negative_inputs import NegativeInputs, NoImage
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import SettingsError

SLACK = 0.5
"""Nats by which a token outside the plausible set may gain on the best of it, at the strongest setting."""

STRONGEST = 4.0
"""Largest |lam| at imagination 1 when lam is matched to a divergence."""

VAST = 1e30
"""Beyond any difference of logits, also when multiplied by the smallest."""


def information(logits: Tensor, negative: Tensor, beta: float, slack: float = SLACK) -> Tensor:
    """T: log-ratio of the two branches, clipped to its range over the first one's plausible tokens; all (..., V)."""
    D = logits.log_softmax(-1) - negative.log_softmax(-1)
    if beta == 0:
        return D
    # 0 for the plausible tokens, vast for the others: sums are several times faster than masks here.
    outside = (logits.amax(-1, keepdim=True) + math.log(beta) - logits).clamp_min(0) * VAST
    low, high = (D + outside).amin(-1, keepdim=True), (D - outside).amax(-1, keepdim=True)
    return torch.minimum(torch.maximum(D, low - slack), high + slack)


def tilt(logits: Tensor, statistic: Tensor, lam: Tensor | float) -> Tensor:
    """Scores of p(y) exp(-lam T(y)); where lam is 0 they are the logits themselves, bit for bit."""
    return logits - lam * statistic


def matched(logits: Tensor, statistic: Tensor, setting: Tensor, nats: float) -> Tensor:
    """The lam at which KL(p_lam || p_0) = nats * setting**2, found by bisection; it has the sign of the setting.

    KL grows with |lam|. Where it cannot reach the value within |lam| <= STRONGEST * |setting| (a step at which the
    model is sure), that bound is taken.

    Args:
        logits: (B, S, V), of the original branch.
        statistic: (B, S, V), T.
        setting: in [-1, 1], broadcastable to (B, S, 1).
        nats: the divergence at setting 1, in nats.

    Returns:
        (B, S, 1).
    """
    start = logits.log_softmax(-1)
    setting = setting.expand(*logits.shape[:-1], 1)
    low, high = torch.zeros_like(setting), STRONGEST * setting.abs()
    for _ in range(24):
        middle = (low + high) / 2
        moved = tilt(logits, statistic, setting.sign() * middle).log_softmax(-1)
        reached = (moved.exp() * (moved - start)).nansum(-1, keepdim=True) >= nats * setting**2
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return setting.sign() * high


def ramp(start: float, end: float, tokens: int) -> Callable[[Tensor], Tensor]:
    """A schedule from `start` at the first token to `end` at token `tokens` and later: captions hallucinate late.

    >>> import torch
    >>> ramp(0.0, 1.0, 4)(torch.tensor([0, 2, 9])).tolist()
    [0.0, 0.5, 1.0]
    """

    def weight(index: Tensor) -> Tensor:
        return start + (end - start) * (index / tokens).clamp(0, 1)

    return weight


@dataclass(frozen=True)
class Imagination(DecodingMethod):
    """Negative settings keep closer to the image, positive ones invent more freely, 0 is exactly the plain model.

    Args:
        imagination: in [-1, 1]; one value, or one per prompt of the batch. At -1 the contrast has VCD's strength; at 1
            the image has no influence on the plausible tokens.
        gain: lam at imagination 1, > 0.
        beta: plausibility bound in [0, 1] for the statistic; 0 leaves it unbounded.
        negative: the branch without the image's evidence, by default the same prompt without the image.
        schedule: weight of each token, >= 0, from its index (S,), 0 being the first; see `ramp`.
        nats: when given, lam is chosen at every step so that KL(p_lam || p_0) = nats * (w_t * imagination)**2. One
            setting is then one divergence on any model, and `gain` is not used.
        controller: a `halluguard.controller.Controller`, trained or distilled (`distillation.distil`), or its file;
            imagination -1 and 1 are then the ends of the range it was made for. `gain`, `beta`, `negative` and `nats`
            belong to the second branch, which is not run.

    Example:
        >>> Imagination(-0.5).on(model, processor).generate(**inputs)  # doctest: +SKIP
        >>> Imagination(-0.5, controller="grounded.safetensors").on(model).generate(**inputs)  # doctest: +SKIP
    """

    PRESETS: ClassVar = {"off": Preset({"imagination": 0.0})}
    reference = "Ours; `halluguard/decoding/imagination.py`"
    cost = Cost(branches=2)
    law_settings: ClassVar = {"imagination": -1.0}
    keeps_sampling_support = True

    imagination: float | Sequence[float] = -0.5
    gain: float = 1.0
    beta: float = 0.1
    negative: NegativeInputs = field(default_factory=NoImage)
    schedule: Callable[[Tensor], Tensor] | None = None
    nats: float | None = None
    controller: Controller | str | Path | None = None

    def __post_init__(self) -> None:
        for value in self._values:
            if not (isinstance(value, int | float) and -1 <= value <= 1):
                raise SettingsError(
                    f"imagination must be in [-1, 1], got {value!r}; -1 is most grounded, 0 plain, 1 most imaginative"
                )
        if not (self.gain > 0 and math.isfinite(self.gain)):
            raise SettingsError(f"gain must be > 0, got {self.gain}; use imagination=0 for plain generation")
        check_range("beta", self.beta, 0, 1, advice="use 0 to leave the statistic unbounded")
        if self.nats is not None:
            check_range("nats", self.nats, 0, above=True, advice="use imagination=0 for plain generation")
        if self.controller is not None and self.nats is not None:
            raise SettingsError(
                f"nats must be None with a controller, got {self.nats}: it needs the second branch, which does not "
                "run; set the strength by imagination"
            )
        if isinstance(self.controller, str | Path):
            object.__setattr__(self, "controller", Controller.load(self.controller))

    @property
    def _values(self) -> list[float]:
        setting = self.imagination
        return [setting] if isinstance(setting, int | float | str) else list(setting)

    @property
    def is_identity(self) -> bool:
        return all(value == 0 for value in self._values)

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (self.negative,) if self.controller is None else ()

    @property
    def acts_inside(self) -> bool:
        return self.controller is not None

    def bind(self, view: FoldedView) -> Self:
        if isinstance(self.controller, Controller):
            controller = self.controller

            def epsilon(hidden: Tensor) -> Tensor:
                return controller.epsilon_at(self._setting(view.step_at(hidden), hidden.float())[..., 0])

            controller.hook(view, epsilon)
        return self

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        if self.controller is not None:
            return branches[0], None
        strongest = self.gain if self.nats is None else STRONGEST
        statistic = information(branches[0], branches[1], self.beta, SLACK / strongest)
        setting = self._setting(step, branches[0])
        lam = self.gain * setting if self.nats is None else matched(branches[0], statistic, setting, self.nats)
        return tilt(branches[0], statistic, lam), None

    def _setting(self, step: Step, like: Tensor) -> Tensor:
        """(B, S, 1): imagination times the schedule's weight."""
        weight = torch.ones(len(step.index)) if self.schedule is None else self.schedule(step.index)
        return step.per_sequence(self._values, like) * weight.to(like)[None, :, None]

    def on(self, model: PreTrainedModel, processor: ProcessorMixin | None = None) -> FoldedView:
        """A view of `model` that generates at this setting; see `engine.view.folded_view`.

        Raises:
            UnsupportedModelError: the controller was made for another model.
        """
        if isinstance(self.controller, Controller):
            self.controller.check(opened(model))
        return super().on(model, processor)
