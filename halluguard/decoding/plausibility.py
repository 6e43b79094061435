"""Which tokens a contrast may choose: the plausible ones of the original row.

    V(y<t) = { y : p(y | v, x, y<t) >= beta * max_w p(w | v, x, y<t) }

Adaptive plausibility constraint (Li et al. 2023, "Contrastive decoding", eq. 4; VCD, eq. 6). It is read from the
ORIGINAL row at temperature 1, before any penalty, temperature or truncation: after those it is another method.
It equals transformers' `min_p=beta` on the raw logits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from halluguard.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


def check_beta(beta: float) -> None:
    """Raise SettingsError unless beta is in [0, 1]."""
    if not 0 <= beta <= 1:
        raise SettingsError(f"beta must be in [0, 1], got {beta}; use 0 to allow every token")


def plausible(logits: Tensor, beta: float) -> Tensor | None:
    """Mask of the plausible tokens.

    Args:
        logits: (..., V), next-token logits of the original row.
        beta: in [0, 1]; 0 keeps every token, 1 only the most probable.

    Returns:
        (..., V) bool, True where the token may be chosen; None for beta = 0.

    >>> import torch
    >>> plausible(torch.tensor([0.0, -2.0, -3.0]), 0.1)
    tensor([ True,  True, False])
    """
    if beta == 0:
        return None
    return logits >= logits.amax(-1, keepdim=True) + math.log(beta)
