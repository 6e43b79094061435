"""Pair each image of a row with a negative image, for which the chosen answer should be less likely.

The truth about the negative image is unknown and not needed: the preference is between images, not texts (mDPO, Wang et
al. 2024, arXiv 2406.11839). The original draws its crop inside the model's forward pass, so that policy and reference
score different crops; here the crop belongs to the row.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from halluguard.boxes import area, intersection
from halluguard.errors import SettingsError
from halluguard.records import XYXY
from halluguard.tuning.annotations import Annotated, names_in
from halluguard.tuning.images import Crop, Noised, Shuffled
from halluguard.tuning.rows import PreferenceRow, RowImage, row_seed

Change = Literal["crop", "shuffle", "noise", "other"]
CHANGES: tuple[Change, ...] = get_args(Change)
NOISE_AT = (300, 500, 700)
"""Diffusion steps of "noise", of 1000; one is drawn."""


def conditional_images(
    rows: Iterable[PreferenceRow],
    *,
    seed: int,
    changes: Sequence[Change] = ("crop", "shuffle", "noise"),
    items: Mapping[int | str, Annotated] | None = None,
) -> Iterator[PreferenceRow]:
    """The same rows with `negative_images`. The row's own seed draws the kind of change and the change.

    Args:
        rows: any preference rows. Rows without an image pass through unchanged, and so do rows whose chosen answer only
            denies something (`truth` with absent names alone): an absent dog is absent from a crop too.
        seed: seed of the choices; each row's own comes from it and the row's content.
        changes: "crop" (1 to 20 % of the area), "shuffle" (8 x 8 patches), "noise" (step 300, 500 or 700 of 1000),
            "other" (another image of `items`, without the objects that the answer names: natural, but easy).
        items: image id -> annotations. With them, crops that keep more than 30 % of the named objects are not used.

    Raises:
        SettingsError: an unknown change, or "other" without `items`.
    """
    unknown = [change for change in changes if change not in CHANGES]
    if unknown or not changes or isinstance(changes, str):
        raise SettingsError(
            f"changes must be some of {', '.join(CHANGES)}, got {unknown or changes!r}; choose among them"
        )
    if "other" in changes and not items:
        raise SettingsError('the change "other" draws from items, got none; pass items or leave it out')
    pool = list(items.values()) if items else []
    for row in rows:
        denies = row.truth is not None and bool(row.truth.absent) and not row.truth.present
        if not row.images or denies:
            yield row
            continue
        rng = random.Random(row_seed(seed, "conditional", row.image_id, row.prompt, row.chosen))
        item = items.get(row.image_id) if items else None
        named = names_in(row.chosen) | frozenset(row.truth.present if row.truth else ())
        negatives = tuple(_negative(image, rng, changes, item, named, pool) for image in row.images)
        yield replace(row, negative_images=negatives)


def _negative(
    image: RowImage,
    rng: random.Random,
    changes: Sequence[Change],
    item: Annotated | None,
    named: frozenset[str],
    pool: Sequence[Annotated],
) -> RowImage:
    change, own = rng.choice(changes), rng.getrandbits(63)
    negative: RowImage | None = None
    if change == "other":
        negative = _other(rng, item, named, pool)
    elif change == "crop":
        negative = _crop(image, own, item, named)
    elif change == "shuffle":
        negative = Shuffled(image, own)
    return Noised(image, own, rng.choice(NOISE_AT)) if negative is None else negative


def _other(
    rng: random.Random, item: Annotated | None, named: frozenset[str], pool: Sequence[Annotated]
) -> RowImage | None:
    """One of 20 images drawn from the pool that has none of the named objects, or None."""
    for _ in range(20):
        other = pool[rng.randrange(len(pool))]
        if other is not item and named and all(other.lacks(name) for name in named):
            return other.image
    return None


def _crop(image: RowImage, seed: int, item: Annotated | None, named: frozenset[str]) -> Crop | None:
    """A crop, or None where every window keeps too much of the named objects."""
    boxes: tuple[XYXY, ...] = ()
    if item is not None:
        boxes = tuple(box for name in sorted(named) for box in item.boxes_of(name))
    crop = Crop(image, seed, keep_out=boxes)
    if not boxes or item is None or item.size is None:
        return crop
    window = crop.window(*item.size)
    return crop if sum(intersection(window, b) for b in boxes) <= crop.keep * sum(area(b) for b in boxes) else None
