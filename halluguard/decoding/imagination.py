"""One signed number between grounded and imaginative, for any model.

    D(y)   = log p(y | v, x, y<t) - log p(y | x, y<t)          pointwise mutual information of token and picture
    T(y)   = clip(D(y), min_S D - c, max_S D + c),             S = { y : p(y | v) >= beta max p(. | v) }
    p_e(y) ~ p(y | v, x, y<t) * exp(-lam T(y)),                lam = gain * w_t * imagination

A one-parameter exponential family whose statistic and support do not depend on the setting. So, at every step and
for any model: d E[T] / d lam = -Var(T) <= 0; E[D] falls with it, since T never decreases with D; log-odds of any
two tokens are affine in lam; the greedy token's T never rises. imagination = 0 is plain generation.

Clipping does the work of a plausibility mask without its jump at 0. A token outside S gains at most exp(gain c) more
than the best-placed token of S, so greedy search only chooses tokens with p >= beta exp(-gain c) max p; c is set to
half a nat over the gain. The caller's own truncation (top-p, top-k, min-p ...) is read on the plain row for the same
reason: cut after the tilt, the support would move with the setting and the law would fail.

With a trained `controller` the direction is read at the head's input instead of from a second row: H W c in place of
-T, at the price of a plain forward. Log-odds are affine in the setting there too, and 0 is plain generation; but
nothing bounds the direction to plausible tokens, and truncation is the host's, after the tilt.

Our own form. It holds as special cases, on the support, VCD and VDD (lam = -alpha), classifier-free guidance
(lam = 1 - guidance_scale) and, with a trained direction in place of D, HallE-Control (Zhai et al. 2023, arXiv
2310.01779).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from halluguard.controller import Controller
from halluguard.decoding.base import Combined, DecodingMethod, Step
from halluguard.decoding.engine.checks import opened
from halluguard.decoding.negative_inputs import NegativeInputs, NoImage
from halluguard.errors import SettingsError

SLACK = 0.5
"""Nats by which a token outside the plausible set may gain on the best of it, at the strongest setting."""

STRONGEST = 4.0
"""Largest |lam| at imagination 1 when lam is matched to a divergence."""

VAST = 1e30
"""Beyond any difference of logits, also when multiplied by the smallest."""


def information(logits: Tensor, negative: Tensor, beta: float, slack: float = SLACK) -> Tensor:
    """T: log-ratio of the two rows, clipped to its range over the plausible tokens of the first; all (..., V)."""
    D = logits.log_softmax(-1) - negative.log_softmax(-1)
    if beta == 0:
        return D
    # 0 for the plausible tokens, vast for the others: sums are several times faster than masks here.
    away = (logits.amax(-1, keepdim=True) + math.log(beta) - logits).clamp_min(0) * VAST
    low, high = (D + away).amin(-1, keepdim=True), (D - away).amax(-1, keepdim=True)
    return torch.minimum(torch.maximum(D, low - slack), high + slack)


def tilt(logits: Tensor, statistic: Tensor, lam: Tensor | float) -> Tensor:
    """Scores of p(y) exp(-lam T(y)); where lam is 0 they are the logits themselves, bit for bit."""
    return logits - lam * statistic


def matched(logits: Tensor, statistic: Tensor, setting: Tensor, nats: float) -> Tensor:
    """The lam, of the sign of the setting, at which KL(p_lam || p_0) = nats * setting**2, by bisection.

    KL grows with |lam|. Where it cannot reach the value within |lam| <= STRONGEST * |setting| (a step at which the
    model is sure), that bound is taken.

    Args:
        logits, statistic: (B, S, V). setting: broadcastable to (B, S, 1), in [-1, 1].
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
    """A schedule from `start` at the first token to `end` at token `tokens` and after: captions hallucinate late.

    >>> import torch
    >>> ramp(0.0, 1.0, 4)(torch.tensor([0, 2, 9])).tolist()
    [0.0, 0.5, 1.0]
    """

    def weight(index: Tensor) -> Tensor:
        return start + (end - start) * (index / tokens).clamp(0, 1)

    return weight


@dataclass(frozen=True)
class Imagination(DecodingMethod):
    """The knob. Negative is more grounded in the picture, positive more imaginative, 0 exactly the plain model.

    Args:
        imagination: in [-1, 1]; one value, or one per prompt of the batch. At -1 the contrast has VCD's strength;
            at 1 the picture has no say on the plausible tokens.
        gain: lam at imagination 1, > 0.
        beta: plausibility in [0, 1] that bounds the statistic; 0 leaves it unbounded.
        negative: the row without the picture's evidence, by default the same prompt without the picture.
        schedule: weight of each token from its index (S,), 0 being the first; see `ramp`. Must be >= 0.
        nats: when given, lam is chosen at every step so that KL(p_lam || p_0) = nats * (w_t * imagination)**2: one
            setting then means one departure on any model. `gain` is not used.
        controller: a `halluguard.controller.Controller`, trained or distilled (`distilled.distil`), or its file;
            imagination -1 and 1 are then the ends of the range it was made for. `gain`, `beta`, `negative` and `nats`
            belong to the second row, which is not run.

    Example:
        >>> Imagination(-0.5).on(model, processor).generate(**inputs)  # doctest: +SKIP
        >>> Imagination(-0.5, controller="grounded.safetensors").on(model).generate(**inputs)  # doctest: +SKIP
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"off": {"imagination": 0.0}}

    imagination: float | Sequence[float] = -0.5
    gain: float = 1.0
    beta: float = 0.1
    negative: NegativeInputs = field(default_factory=NoImage)
    schedule: Callable[[Tensor], Tensor] | None = None
    nats: float | None = None
    controller: Controller | str | Path | None = None

    keeps_sampling_support = True

    def __post_init__(self) -> None:
        for value in self._values:
            if not -1 <= value <= 1:
                raise SettingsError(
                    f"imagination must be in [-1, 1], got {value}; -1 is most grounded, 0 plain, 1 most imaginative"
                )
        if not (self.gain > 0 and math.isfinite(self.gain)):
            raise SettingsError(f"gain must be > 0, got {self.gain}; use imagination=0 to switch the knob off")
        if not 0 <= self.beta <= 1:
            raise SettingsError(f"beta must be in [0, 1], got {self.beta}; use 0 to leave the statistic unbounded")
        if self.nats is not None and not self.nats > 0:
            raise SettingsError(f"nats must be > 0 or None, got {self.nats}; use imagination=0 to switch the knob off")
        if self.controller is not None and self.nats is not None:
            raise SettingsError(
                f"nats must be None with a controller, got {self.nats}: the divergence is of the second row's knob; "
                "set the strength by imagination"
            )
        if isinstance(self.controller, str | Path):
            object.__setattr__(self, "controller", Controller.load(self.controller))

    @property
    def _values(self) -> list[float]:
        values = self.imagination
        return [float(values)] if isinstance(values, int | float) else [float(v) for v in values]

    @property
    def is_identity(self) -> bool:
        return all(v == 0 for v in self._values)

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (self.negative,) if self.controller is None else ()

    @property
    def acts_inside(self) -> bool:
        return self.controller is not None

    def bind(self, twin: Any) -> Self:
        if self.controller is not None:
            controller: Any = self.controller
            low, high = controller.epsilon_range

            def epsilon(hidden: Tensor) -> Tensor:
                setting = self._setting(twin.step_at(hidden), hidden.float())[..., 0]
                return torch.where(setting < 0, -low * setting, high * setting)

            controller.hook(twin, epsilon)
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

    def on(self, model: Any, processor: Any = None) -> Any:
        """A view of `model` that generates at this setting; see `branches.folded_view`.

        Raises:
            UnsupportedModelError: the controller was made for another model.
        """
        if self.controller is not None:
            self.controller.check(opened(model))  # type: ignore[union-attr]  # a path was loaded
        return super().on(model, processor)
