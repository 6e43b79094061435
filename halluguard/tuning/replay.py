"""Build rows of true captions, which keep earlier abilities of a model. Mix them in with `splits.mix`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from halluguard.tuning.annotations import Annotated
from halluguard.tuning.captions import PROMPTS
from halluguard.tuning.rows import InstructionRow, Truth, row_seed


def retention_rows(
    items: Iterable[Annotated],
    *,
    seed: int,
    prompts: Sequence[str] = PROMPTS,
    captions: Callable[[Annotated], Sequence[str]] | None = None,
) -> Iterator[InstructionRow]:
    """One row of kind "retention" per image with captions: a prompt and one of the captions, both drawn.

    Other general data (VQA, text only) are `InstructionRow`s of your own, or read by `read_preferences`.

    Args:
        items: images with captions.
        seed: the same seed gives the same rows.
        prompts: the user's messages; one is drawn for each row.
        captions: function that gives the true captions of an image, in place of `item.captions`.
    """
    for item in items:
        own = row_seed(seed, "retention", item.image_id)
        rng = random.Random(own)
        texts = [t for t in (item.captions if captions is None else captions(item)) if t.strip()]
        if texts:
            prompt, text = rng.choice(prompts), rng.choice(texts)
            yield item.instruction(prompt, text, kind="retention", seed=own, truth=Truth(item.names))
