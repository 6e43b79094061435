"""Position of the branches and of the image tokens in the batch of one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from halluguard.errors import UnsupportedModelError

_NO_TOKENS = "use a method that does not look for image tokens, such as VCD"


@dataclass(frozen=True)
class Layout:
    """The current forward: R branches of B sequences.

    Args:
        branches: R; branch 0 is the original, the negative ones follow in the method's order.
        batch: B, the number of sequences in a branch: prompts times beams (or returned sequences).
        prompt: length of the prompts in tokens, padding included.
        length: length of the sequences in tokens, those read in this forward included.
        prefill: whether this forward reads the prompt.
    """

    branches: int
    batch: int
    prompt: int
    length: int
    prefill: bool
    _image_tokens: Tensor = field(repr=False)  # (R * B, prompt) bool

    def of(self, branch: int) -> slice:
        """The sequences of one branch along the batch axis."""
        return slice(branch * self.batch, (branch + 1) * self.batch)

    def answering(self, queries: int) -> Tensor:
        """(queries,) bool: True for those of the last `queries` tokens that predict a token of the answer."""
        positions = torch.arange(self.length - queries, self.length, device=self._image_tokens.device)
        return positions >= self.prompt - 1

    def image_tokens(self, length: int | None = None) -> Tensor:
        """(R * B, length) bool: True at the image tokens of each sequence.

        Args:
            length: by default the length of the sequences; it may be larger, as in a static cache.

        Raises:
            UnsupportedModelError: no token of the original branch stands for an image (in cross-attention models, and
                in models that put the image in front of the ids), or the layer sees only the end of the sequence.
        """
        if not bool(self._image_tokens[self.of(0)].any()):
            raise UnsupportedModelError(
                "image tokens in the prompt are expected, but there are none: this family shows its decoder the image "
                f"in another way; {_NO_TOKENS}"
            )
        width = self.length if length is None else length
        if width < self.length:
            raise UnsupportedModelError(
                f"layers that see all {self.length} tokens are expected, got one that sees a window of {width}; "
                + _NO_TOKENS
            )
        return F.pad(self._image_tokens, [0, max(0, width - self._image_tokens.shape[1])])[:, :width]

    @classmethod
    def of_forward(
        cls, before: Self | None, ids: Tensor, branches: int, *, prompt: int, read: int, placeholders: Sequence[int]
    ) -> Self:
        """The layout of a forward over the last `read` tokens of `ids` (R * B, L), following the layout `before`."""
        batch, prefill = ids.shape[0] // branches, read > ids.shape[1] - prompt
        if before is not None and before.batch == batch:
            return replace(before, length=ids.shape[1], prefill=prefill)
        image_tokens = torch.isin(ids[:, :prompt], torch.tensor(list(placeholders), device=ids.device))
        return cls(branches, batch, prompt, ids.shape[1], prefill, image_tokens)
