"""TRL's trainers, stopped at a loss that is not finite, and silent about their use.

TRL reports every trainer to a server of its makers. No command here talks to a host that was not named.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from halluguard.errors import TrainingError, require

require("trl", extra="train", feature="fine-tuning")
from trl import KTOTrainer, SFTTrainer  # noqa: E402

ADVICE = "lower learning_rate, train in bfloat16 or float32, or look for odd rows; checkpoints before it are kept"


class Checked:
    """Mixin of TRL's trainers; stands before them among the base classes.

    Raises:
        TrainingError: the loss of a step is not finite.
    """

    state: Any

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def training_step(self, *args: Any, **settings: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **settings)  # type: ignore[misc]
        if not torch.isfinite(loss).all():
            raise TrainingError(f"the loss of step {self.state.global_step + 1} is {float(loss)}; {ADVICE}")
        return loss


class CheckedSFTTrainer(Checked, SFTTrainer):
    """TRL's `SFTTrainer`, checked."""


class CheckedKTOTrainer(Checked, KTOTrainer):
    """TRL's `KTOTrainer`, checked."""


def require_finite(model: torch.nn.Module) -> None:
    """Check the trained weights.

    Raises:
        TrainingError: some are not finite.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise TrainingError(f"the trained weights of {name!r} are not finite; {ADVICE}")
