"""Conditional rows: beside each picture, one for which the chosen answer should be less likely.

The truth about the negative picture is not known, and need not be: the preference is between pictures, not texts
(mDPO, Wang et al. 2024, arXiv 2406.11839). The original draws its crop inside the model's forward pass, so that policy
and reference score different crops; here the crop belongs to the row.
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
from halluguard.tuning.rows import Picture, PreferenceRow, row_seed

Change = Literal["crop", "shuffle", "noise", "other"]
CHANGES: tuple[Change, ...] = get_args(Change)
NOISE_AT = (300, 500, 700)


def conditional_images(
    rows: Iterable[PreferenceRow],
    *,
    seed: int,
    changes: Sequence[Change] = ("crop", "shuffle", "noise"),
    items: Mapping[int | str, Annotated] | None = None,
) -> Iterator[PreferenceRow]:
    """The same rows with `negative_images`, drawn by kind of change with the row's own seed.

    Args:
        rows: any preference rows. Without a picture, or where the chosen answer only denies something (`truth` holds
            nothing present but something absent), they pass through unchanged: an absent dog is absent from a crop too.
        seed: of the choices; a row's own comes from it and the row's content.
        changes: "crop" (1 to 20 % of the area), "shuffle" (8 x 8 patches), "noise" (step 300, 500 or 700 of 1000),
            "other" (another of `items`' pictures, which lacks what the answer names: natural, but easy).
        items: image id -> annotations. With them a crop that keeps more than 30 % of what the answer names is not used.

    Raises:
        SettingsError: an unknown change, or "other" without `items`.
    """
    unknown = [change for change in changes if change not in CHANGES]
    if unknown or not changes or isinstance(changes, str):
        raise SettingsError(f"changes must be some of {', '.join(CHANGES)}, got {unknown or changes!r}")
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
        named = _named(row)
        made = tuple(_change(picture, rng, changes, item, named, pool) for picture in row.images)
        yield replace(row, negative_images=made)


def _named(row: PreferenceRow) -> frozenset[str]:
    known = row.truth.present if row.truth else ()
    return names_in(row.chosen) | frozenset(known)


def _change(
    picture: Picture,
    rng: random.Random,
    changes: Sequence[Change],
    item: Annotated | None,
    named: frozenset[str],
    pool: Sequence[Annotated],
) -> Picture:
    change, own = rng.choice(changes), rng.getrandbits(63)
    if change == "other":
        found = _other(rng, item, named, pool)
        if found is not None:
            return found
    if change == "crop":
        crop = _crop(picture, own, item, named)
        if crop is not None:
            return crop
    if change == "shuffle":
        return Shuffled(picture, own)
    return Noised(picture, own, rng.choice(NOISE_AT))


def _other(
    rng: random.Random, item: Annotated | None, named: frozenset[str], pool: Sequence[Annotated]
) -> Picture | None:
    """A picture of the pool without anything named (of 20 tries)."""
    for _ in range(20):
        other = pool[rng.randrange(len(pool))]
        if other is not item and named and all(other.lacks(name) for name in named):
            return other.image
    return None


def _crop(picture: Picture, seed: int, item: Annotated | None, named: frozenset[str]) -> Crop | None:
    """A crop, or None where every window keeps too much of what is named."""
    boxes: tuple[XYXY, ...] = ()
    if item is not None:
        boxes = tuple(box for name in sorted(named) for box in item.boxes_of(name))
    crop = Crop(picture, seed, keep_out=boxes)
    if not boxes or item is None or item.size is None:
        return crop
    window = crop.window(*item.size)
    return crop if sum(intersection(window, b) for b in boxes) <= crop.keep * sum(area(b) for b in boxes) else None
