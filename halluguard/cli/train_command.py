"""`halluguard train`: rows from a file, one call of `fine_tune`, and what came of it in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

from halluguard.errors import InputError
from halluguard.tuning.annotations import coco_items
from halluguard.tuning.counterfactuals import erased_preferences, swapped_preferences
from halluguard.tuning.export import export
from halluguard.tuning.instructions import negative_preferences
from halluguard.tuning.loading import load
from halluguard.tuning.negative_image_pairs import Change, conditional_images
from halluguard.tuning.preferences import ReadingReport, read_preferences
from halluguard.tuning.rows import PreferenceRow, TrainingRow
from halluguard.tuning.splits import EvaluationImages, without_leaks
from halluguard.tuning.trainers import PreferenceLoss, fine_tune


def rows_from(
    data: Path,
    images: Path | None,
    *,
    coco: bool = False,
    negatives: Sequence[str] = (),
    plain: bool = False,
    seed: int = 0,
) -> tuple[list[TrainingRow], list[str]]:
    """(rows, what to tell the user) of a preference file in any known form, or of COCO's instances.

    Args:
        data: the file.
        images: folder of the pictures.
        coco: the file is COCO's instances: questions are built, with erased and swapped pictures.
        negatives: kinds of negative pictures to draw for preference rows.
        plain: learn the chosen answers of preference rows as written.
        seed: of every random choice.

    Raises:
        InputError: nothing could be read, or nothing is left.
    """
    found: list[TrainingRow]
    if coco:
        if images is None:
            raise InputError("COCO annotations need the folder of the pictures, got none; name it with --images")
        items = list(coco_items(data, images))
        built = [negative_preferences(items, seed=seed), erased_preferences(items, seed=seed)]
        found = [row for rows in (*built, swapped_preferences(items, seed=seed)) for row in rows]
        told = [f"{len(items)} annotated images: {len(found)} rows"]
    else:
        report = ReadingReport()
        found = list(read_preferences(data, images=images, report=report, seed=seed))
        told = [str(report)]
    found, leaked = without_leaks(found, EvaluationImages())
    if leaked:
        told.append(f"{len(leaked)} rows left out: their images belong to evaluations")
    if not found:
        raise InputError(f"no row is left of {str(data)!r}: {'; '.join(told)}")
    if isinstance(found[0], PreferenceRow):
        pairs = cast("list[PreferenceRow]", found)
        if plain:
            return [row.to_instruction() for row in pairs], told
        if negatives:
            pairs = list(conditional_images(pairs, seed=seed, changes=cast("Sequence[Change]", negatives)))
        return list(pairs), told
    return found, told


def train(
    rows: Sequence[TrainingRow],
    told: Sequence[str],
    *,
    model: str | Path,
    out: Path,
    merge: Path | None = None,
    four_bit: bool = False,
    preference: PreferenceLoss | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Fine-tune `model` on `rows`, write the adapter to `out`, `training.json` beside it, and merge it if wanted.

    Args:
        settings: keyword arguments of `fine_tune`.

    Returns:
        The facts of the run.
    """
    loaded, processor = load(model, four_bit=four_bit)
    with redirect_stdout(sys.stderr):  # the trainer's log; standard output is for the facts
        facts = fine_tune(loaded, processor, rows, out, preference=preference, **settings)
    processor.save_pretrained(out)
    licenses = sorted({row.license for row in rows if row.license})
    record = {**facts, "base": str(model), "data": list(told), "licenses": licenses}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if merge is not None:
        export(model, out, merge, facts=facts, data="\n".join(told), licenses=tuple(licenses))
    return record
