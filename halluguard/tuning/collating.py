"""Preference batches with negative images: TRL's own collator, called once on the rows and their negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from PIL.Image import Image
from torch import Tensor

from halluguard.errors import InputError, require
from halluguard.tuning.losses import segment_weights
from halluguard.tuning.rows import Conversation

require("trl", extra="train", feature="preference training")
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference  # noqa: E402

Draw: TypeAlias = Callable[[Sequence[Image], int], Sequence[Image]]
"""(the images of a row, its seed) -> as many negative images."""


@dataclass
class NegativeImageCollator(DataCollatorForVisionPreference):
    """Collate B preference rows into [chosen | I+, chosen | I-, rejected | I+, rejected | I-], B rows each.

    The layout of the pixels is the processor's own: one call of it serves tiled and packed architectures alike. Where
    no row of the batch has a negative, the two I- parts are left out and the batch is TRL's.

    Args:
        processor: processor of the model.
        negatives: whether to use negative images; without them this is plain preference training.
        draw: function that makes the negatives of rows without any. It gets the row's `seed` and nothing random
            besides, so that resuming or another number of workers draws the same image again.
        gamma: weight of the tokens in which the two answers differ; see `losses.segment_weights`. Rows whose
            `minimal_edit` is false keep the weight 1: their answers differ everywhere.

    Rows have `images`, `prompt`, `chosen`, `rejected`; `negative_images` and `seed` are optional. A row without images,
    or without a negative, takes no part in the visual term.

    Adds two tensors to TRL's batch: `visual_mask` (B,), 1 where the row has a negative, if the batch has I- parts, and
    `token_weights`, of the shape of `input_ids`, if gamma is not 1.

    Raises:
        InputError: a negative is to be drawn for a row without `seed`, or a row has not as many negatives as images.
    """

    negatives: bool = True
    draw: Draw | None = None
    gamma: float = 1.0

    def torch_call(self, examples: list[Conversation]) -> dict[str, Tensor]:
        rows = [{**row, "images": images_of(row)} for row in examples]
        for row in rows:
            row.pop("image", None)
        negatives = [self._negatives_of(row) if self.negatives else [] for row in rows]
        for row in rows:
            row.pop("negative_images", None)
        paired = any(negatives)
        if paired:
            rows += [{**row, "images": images or row["images"]} for row, images in zip(rows, negatives, strict=True)]
        batch = super().torch_call([dict(row) for row in rows])
        if paired:
            batch["visual_mask"] = torch.tensor([float(bool(images)) for images in negatives])
        if self.gamma != 1.0:
            edited = [row.get("minimal_edit", True) for row in rows] * 2
            batch["token_weights"] = self._weights(batch["input_ids"], batch["completion_mask"], edited)
        return batch

    def _negatives_of(self, row: Conversation) -> list[Image]:
        negatives = list(row.get("negative_images") or [])
        if row["images"] and not negatives and self.draw is not None:
            if row.get("seed") is None:
                raise InputError("expected a seed in every row whose negative is drawn, got none; add the column seed")
            negatives = list(self.draw(row["images"], int(row["seed"])))
        if negatives and len(negatives) != len(row["images"]):
            raise InputError(
                f"expected as many negative images as images in a row, got {len(negatives)} and {len(row['images'])}; "
                "give one for each"
            )
        return negatives

    def _weights(self, ids: Tensor, mask: Tensor, edited: Sequence[bool]) -> Tensor:
        """DDPO's weight of every token, (rows, L), 0 outside the answers; the halves of `ids` are pairs."""
        weights = mask.float()
        half = len(ids) // 2
        for chosen, rejected in zip(range(half), range(half, 2 * half), strict=True):
            if not edited[chosen]:
                continue
            answers = mask[chosen].bool(), mask[rejected].bool()
            pair = segment_weights(ids[chosen][answers[0]].tolist(), ids[rejected][answers[1]].tolist(), self.gamma)
            for row, answer, values in zip((chosen, rejected), answers, pair, strict=True):
                weights[row, answer] = weights.new_tensor(values)
        return weights


def images_of(row: Conversation) -> list[Image]:
    """The images of a row, which TRL takes as `images` or, a single one, as `image`."""
    if "image" in row:
        return [row["image"]] if row["image"] is not None else []
    return list(row.get("images") or [])
