"""What is where in the batch of one forward: rows first, then sequences; pictures by the tokens they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from halluguard.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The forward of R rows of B sequences under way.

    Args:
        rows: R; the original is row 0, then the negatives in the method's order.
        batch: B, sequences of one row: prompts times beams (or returned sequences).
        prompt: tokens of the prompts, padding included.
        length: tokens of the sequences, those fed now included.
        prefill: whether the prompt is read in this forward.
    """

    rows: int
    batch: int
    prompt: int
    length: int
    prefill: bool
    _pictures: Tensor = field(repr=False)

    def of(self, row: int) -> slice:
        """The sequences of one row along the batch axis."""
        return slice(row * self.batch, (row + 1) * self.batch)

    def answering(self, queries: int) -> Tensor:
        """(queries,) bool: which of the last `queries` tokens predict a token of the answer."""
        import torch

        at = torch.arange(self.length - queries, self.length, device=self._pictures.device)
        return at >= self.prompt - 1

    def picture(self, length: int | None = None) -> Tensor:
        """(R * B, length) bool: which tokens of each sequence are a picture's. `length` may exceed the sequence's.

        Raises:
            UnsupportedModelError: the original row has no tokens that stand for a picture (cross-attention models,
                models that put their picture in front of the ids), or the layer sees only the end of the sequence.
        """
        import torch.nn.functional as F

        if not bool(self._pictures[self.of(0)].any()):
            raise UnsupportedModelError(
                "picture tokens in the prompt are expected, found none: this family shows its decoder the picture in "
                "another way; use a method that does not look for picture tokens, such as VCD"
            )
        width = self.length if length is None else length
        if width < self.length:
            raise UnsupportedModelError(
                f"layers that see all of the {self.length} tokens are expected, got one that sees a window of {width}; "
                "use a method that does not look for picture tokens, such as VCD"
            )
        return F.pad(self._pictures, [0, max(0, width - self._pictures.shape[1])])[:, :width]

    @classmethod
    def of_forward(
        cls, before: Self | None, ids: Tensor, rows: int, *, prompt: int, fed: int, placeholders: Sequence[int]
    ) -> Self:
        """The layout of a forward over `ids` (R * B, L), the whole sequences, of which the last `fed` are read."""
        import torch

        batch, prefill = ids.shape[0] // rows, fed > ids.shape[1] - prompt
        if before is not None and before.batch == batch:
            return replace(before, length=ids.shape[1], prefill=prefill)
        pictures = torch.isin(ids[:, :prompt], torch.tensor(list(placeholders), device=ids.device))
        return cls(rows, batch, prompt, ids.shape[1], prefill, pictures)
