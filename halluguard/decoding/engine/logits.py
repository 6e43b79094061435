"""Where a method's support meets the caller's own processors.

The method's mask is read on the original row, before any penalty. Penalties, constraints and the caller's
processors come next, then truncation (top-k, top-p, ...), as in plain generation. Two cases need care:

- constraints that leave none of the plausible tokens (`min_new_tokens` when only the end is plausible, a grammar):
  among what they leave, the plain scores decide. Masking first would leave nothing at all;
- a knob whose support must not depend on its setting: truncation is read on the plain row and laid over the
  tilted one, so that at every setting the same tokens may be sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from transformers import LogitsProcessor, LogitsProcessorList, generation

if TYPE_CHECKING:
    from torch import Tensor

# A column of the last fold: the plain row, the method's scores, its mask; None where the scores are not the method's.
Column = Callable[["Tensor"], "tuple[Tensor, Tensor, Tensor | None] | None"]

_TRUNCATING = tuple(
    getattr(generation, f"{name}LogitsWarper")
    for name in ("TopK", "TopP", "TopH", "MinP", "Typical", "Epsilon", "Eta")
    if hasattr(generation, f"{name}LogitsWarper")
)


class WithSupport(LogitsProcessor):
    """The host's list of processors, with the method's support laid between constraints and truncation.

    Args:
        prepared: what the host made, in its order.
        column: looks up the fold behind the scores of `ids`.
        callers: the caller's own processors, which may keep state and are called once a step.
        truncate_plain: read truncation on the plain row.
        log_probs: the host hands over log-probabilities (beam search).
    """

    def __init__(
        self,
        prepared: LogitsProcessorList,
        column: Column,
        callers: Collection[Any] = (),
        truncate_plain: bool = False,
        log_probs: bool = False,
    ) -> None:
        first = next((i for i, p in enumerate(prepared) if isinstance(p, _TRUNCATING)), len(prepared))
        self.before = LogitsProcessorList(prepared[:first])
        self.after = LogitsProcessorList(prepared[first:])
        mine = {id(p) for p in callers}
        self.plain_before = LogitsProcessorList([p for p in self.before if id(p) not in mine])
        self.truncating = LogitsProcessorList([p for p in self.after if isinstance(p, _TRUNCATING)])
        self.rest = LogitsProcessorList([p for p in self.after if not isinstance(p, _TRUNCATING)])
        self.column, self.truncate_plain, self.log_probs = column, truncate_plain, log_probs

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        folded = self.column(input_ids)
        if folded is None:
            return self.after(input_ids, self.before(input_ids, scores))
        plain, tilted, keep = folded
        if self.log_probs:
            plain = plain.log_softmax(-1)
        if keep is None:
            scores = self.before(input_ids, scores)
        else:
            best = scores.argmax(-1, keepdim=True)
            shift = scores.gather(-1, best) - tilted.gather(-1, best)  # log-probabilities: of the kept tokens
            free = self.before(input_ids, torch.where(keep, scores, tilted + shift))
            lost = ~(keep & (free > -torch.inf)).any(-1, keepdim=True)
            plain_left = plain.masked_fill(free == -torch.inf, -torch.inf)
            scores = torch.where(lost, plain_left, free.masked_fill(~keep, -torch.inf))
        if self.truncate_plain and len(self.truncating):
            left = self.truncating(input_ids, self.plain_before(input_ids, plain.clone())) > -torch.inf
            left &= scores > -torch.inf
            left |= ~left.any(-1, keepdim=True)
            return self.rest(input_ids, scores.masked_fill(~left, -torch.inf))
        return self.after(input_ids, scores)
