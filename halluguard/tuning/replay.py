"""Rows that keep what a model could do before: true captions. Mix them in with `splits.mix`."""

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
    """One row of kind "retention" per picture that has a caption: a prompt, and a caption drawn from those it has.

    Other general data (VQA, text only) are `InstructionRow`s of your own, or read by `read_preferences`.
    """
    for item in items:
        own = row_seed(seed, "retention", item.image_id)
        rng = random.Random(own)
        texts = [t for t in (item.captions if captions is None else captions(item)) if t.strip()]
        if texts:
            yield InstructionRow(
                (item.image,),
                rng.choice(prompts),
                rng.choice(texts),
                image_id=item.image_id,
                kind="retention",
                source=item.source,
                seed=own,
                truth=Truth(item.names, ()),
                license=item.license,
            )
