"""Preference batches with negative pictures: TRL's own collator, called once on the rows and their negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from halluguard.errors import InputError, require
from halluguard.tuning.losses import segment_weights

_dpo = require("trl.trainer.dpo_trainer", extra="train", feature="preference training")

Draw = Callable[[Sequence[Any], int], list[Any]]
"""(the pictures of a row, its seed) -> as many negative pictures."""


@dataclass
class NegativeImageCollator(_dpo.DataCollatorForVisionPreference):  # type: ignore[name-defined]
    """Collate B preference rows into [chosen | I+, chosen | I-, rejected | I+, rejected | I-], B rows each.

    The layout of the pixels is the processor's own: one call of it serves tiled and packed architectures alike. Where
    no row of the batch has a negative, the two I- parts are left out and the batch is TRL's.

    Args:
        processor: the model's.
        negatives: False leaves every I- out: plain preference training.
        draw: makes the negative of a row that brings none. It gets the row's `seed` and nothing random besides, so
            that resuming or another number of workers draws the same picture again.
        gamma: weight of the tokens in which the two answers differ; see `losses.segment_weights`. Rows that say
            `minimal_edit` is false keep the weight 1: their answers differ everywhere.

    Rows have `images`, `prompt`, `chosen`, `rejected`; and, if wanted, `negative_images` and `seed`. A row without
    pictures, or without a negative, takes no part in the visual term.

    Adds to TRL's batch `visual_mask` (B,), 1 where the row has a negative, when the I- parts are there, and
    `token_weights`, of the shape of `input_ids`, when gamma is not 1.

    Raises:
        InputError: a negative is to be drawn for a row without `seed`, or a row has not as many negatives as pictures.
    """

    negatives: bool = True
    draw: Draw | None = None
    gamma: float = 1.0

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        rows = [{**row, "images": _pictures(row)} for row in examples]
        drawn = [self._negatives_of(row) if self.negatives else [] for row in rows]
        for row in rows:
            row.pop("negative_images", None)
        copies = 2 if any(drawn) else 1
        if copies == 2:
            rows += [{**row, "images": images or row["images"]} for row, images in zip(rows, drawn, strict=True)]
        batch = super().torch_call([dict(row) for row in rows])
        if copies == 2:
            batch["visual_mask"] = torch.tensor([float(bool(images)) for images in drawn])
        if self.gamma != 1.0:
            edited = [row.get("minimal_edit", True) for row in rows] * 2
            batch["token_weights"] = self._weights(batch["input_ids"], batch["completion_mask"], edited)
        return batch

    def _negatives_of(self, row: dict[str, Any]) -> list[Any]:
        given = row.get("negative_images")
        if row["images"] and not given and self.draw is not None:
            if row.get("seed") is None:
                raise InputError("expected a seed in every row whose negative is drawn, got none; add the column seed")
            given = self.draw(row["images"], int(row["seed"]))
        given = list(given or [])
        if given and len(given) != len(row["images"]):
            raise InputError(
                f"expected as many negative pictures as pictures in a row, got {len(given)} and {len(row['images'])}"
            )
        return given

    def _weights(self, ids: Any, mask: Any, edited: Sequence[bool]) -> Any:
        """DDPO's weight of every token, (rows, L), 0 outside the answers; the halves of `ids` are pairs."""
        weights = mask.float()
        half = len(ids) // 2
        for chosen, rejected in zip(range(half), range(half, 2 * half), strict=True):
            if not edited[chosen]:
                continue
            at = mask[chosen].bool(), mask[rejected].bool()
            found = segment_weights(ids[chosen][at[0]].tolist(), ids[rejected][at[1]].tolist(), self.gamma)
            for row, where, values in zip((chosen, rejected), at, found, strict=True):
                weights[row, where] = weights.new_tensor(values)
        return weights


def _pictures(row: dict[str, Any]) -> list[Any]:
    if "image" in row:
        return [row.pop("image")] if row.get("image") is not None else []
    return list(row["images"] or [])
