"""Pack several turns about one image into one row, so that the image is encoded once.

A row is the prompt's opening with the image tokens, then the turns one after another. Every turn attends to the opening
and to itself, never to another turn, and its positions continue from the opening: the loss equals that of the turns in
rows of their own. A *blind* turn does not attend to the image tokens, and its positions close the gap, as if the prompt
had no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from halluguard.sandbox.models import PATCHES


@dataclass(frozen=True)
class Turn:
    """A question and its answer; `weight` multiplies the loss of the answer's first token."""

    question: str
    answer: str
    blind: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class Packed:
    """ids, positions: (B, T); mask: (B, 1, T, T), True where a token may look; targets: (B, T), the next token
    or -100; weights: (B, T), each target's share in the loss."""

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


class Packer:
    """Tokenise and pack rows of turns."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_token: int) -> None:
        self.tokenizer = tokenizer
        opening = tokenizer("USER:", add_special_tokens=False).input_ids
        self.before_image = len(opening)
        self.opening = opening + [image_token] * PATCHES
        self.eos = tokenizer.eos_token_id

    def __call__(self, rows: Sequence[Sequence[Turn]]) -> Packed:
        encoded = [self._encode(turns) for turns in rows]
        start = len(self.opening)
        length = start + max(sum(len(q) + len(a) for q, a, _ in row) for row in encoded)
        shape = (len(rows), length)
        ids = np.full(shape, self.tokenizer.pad_token_id, np.int64)
        positions, block = np.zeros(shape, np.int64), np.full(shape, -1)
        targets, weights = np.full(shape, -100), np.zeros(shape, np.float32)
        blind = np.zeros(shape, bool)
        ids[:, :start], positions[:, :start], block[:, :start] = self.opening, np.arange(start), 0
        for b, row in enumerate(encoded):
            at = start
            for number, (question, answer, turn) in enumerate(row, start=1):
                size, first = len(question) + len(answer), at + len(question) - 1
                here = slice(at, at + size)
                ids[b, here], block[b, here], blind[b, here] = question + answer, number, turn.blind
                positions[b, here] = np.arange(size) + (self.before_image if turn.blind else start)
                targets[b, first : at + size - 1] = answer
                weights[b, first : at + size - 1] = 1.0 if turn.weight == 1.0 else 0.1
                weights[b, first] = turn.weight
                at += size
        return Packed(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            self._mask(torch.from_numpy(block), torch.from_numpy(blind)),
            torch.from_numpy(targets),
            torch.from_numpy(weights),
        )

    def _encode(self, turns: Sequence[Turn]) -> list[tuple[list[int], list[int], Turn]]:
        questions = self.tokenizer([f"{turn.question} ASSISTANT:" for turn in turns], add_special_tokens=False)
        answers = self.tokenizer([turn.answer for turn in turns], add_special_tokens=False)
        pairs = zip(questions.input_ids, answers.input_ids, turns, strict=True)
        return [(question, [*answer, self.eos], turn) for question, answer, turn in pairs]

    def _mask(self, block: torch.Tensor, blind: torch.Tensor) -> torch.Tensor:
        where = torch.arange(block.shape[1])
        is_image = (where >= self.before_image) & (where < len(self.opening))
        sees = (where[:, None] >= where[None, :]) & (
            (block[:, :, None] == block[:, None, :]) | (block[:, None, :] == 0)
        )
        sees &= ~(blind[:, :, None] & is_image)
        sees |= torch.eye(block.shape[1], dtype=torch.bool)
        return sees[:, None]
