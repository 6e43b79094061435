"""`halluguard train`: fine-tune a model on a file of rows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from halluguard import io
from halluguard.cli.app import app
from halluguard.cli.options import Command, option
from halluguard.errors import InputError, SettingsError
from halluguard.printing import printable

if TYPE_CHECKING:
    from halluguard.tuning.negative_image_pairs import Change
    from halluguard.tuning.rows import PreferenceRow, TrainingRow
    from halluguard.tuning.trainers import PreferenceLoss

_ROWS, _LOSS, _COURSE = "The rows", "The loss on preferences", "Training schedule"


@app.command(cls=Command)
def train(
    out: Annotated[Path, typer.Option(help="Folder for the adapter and its checkpoints.")],
    model: Annotated[str, typer.Option(help="Hub name or folder of the model, or 'sandbox'.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="File of preferences in any known form, or COCO's instances; 'sandbox' uses drawn scenes."),
    ] = None,
    merge: Annotated[
        Path | None, typer.Option(help="Folder to write the merged model to as well, with its model card.")
    ] = None,
    images: Annotated[Path | None, option(_ROWS, "Folder of the images.")] = None,
    coco: Annotated[bool, option(_ROWS, "Read DATA as COCO's instances file, and build questions from it.")] = False,
    keys: Annotated[
        str, option(_ROWS, "Keys of DATA, if its format is not known: prompt=question_text,chosen=good,image=pic.")
    ] = "",
    negatives: Annotated[
        str, option(_ROWS, "Kinds of negative images to draw, separated by commas: crop,shuffle,noise.")
    ] = "",
    plain: Annotated[bool, option(_ROWS, "Train on the chosen answers alone, without preferences.")] = False,
    beta: Annotated[
        float, option(_LOSS, "DPO's beta, above 0: a larger one keeps the model closer to the reference model.")
    ] = 0.1,
    visual_weight: Annotated[float, option(_LOSS, "Weight of the loss on negative images.")] = 1.0,
    anchor_weight: Annotated[float, option(_LOSS, "Weight of the anchor on the chosen answers.")] = 1.0,
    gamma: Annotated[float, option(_LOSS, "Weight of the tokens that differ between the two answers.")] = 1.0,
    losses: Annotated[str, option(_LOSS, "TRL's loss types, separated by commas.")] = "sigmoid",
    rank: Annotated[int, option(_COURSE, "LoRA rank.")] = 16,
    learning_rate: Annotated[
        float | None, option(_COURSE, "Learning rate. Default: 2e-4 for answers, 1e-5 for preferences.")
    ] = None,
    epochs: Annotated[float, option(_COURSE, "Passes over the rows.")] = 1.0,
    batch_size: Annotated[int, option(_COURSE, "Rows per batch and process.")] = 8,
    accumulate: Annotated[int, option(_COURSE, "Batches per optimizer step.")] = 1,
    four_bit: Annotated[bool, option(_COURSE, "Load the model in 4 bits (QLoRA); needs bitsandbytes.")] = False,
    bf16: Annotated[bool, option(_COURSE, "Compute in bfloat16.")] = False,
    checkpointing: Annotated[
        bool, option(_COURSE, "Recompute activations in the backward pass: less memory, more time.")
    ] = False,
    save_every: Annotated[
        int | None, option(_COURSE, "Optimizer steps between checkpoints. Default: no checkpoints.")
    ] = None,
    resume: Annotated[bool, option(_COURSE, "Continue from the last checkpoint.")] = False,
    report_to: Annotated[
        str, option(_COURSE, "Trackers that get the logged values, separated by commas: tensorboard,wandb,mlflow ...")
    ] = "",
    device: Annotated[str | None, option(_COURSE, "'cpu' trains on the CPU even if there is a GPU.")] = None,
    seed: Annotated[int, option(_COURSE, "Seed of every random choice.")] = 0,
) -> None:
    """Fine-tune a model on preferences, instructions or ratings, with negative images; writes a LoRA adapter."""
    from halluguard import sandbox
    from halluguard.tuning.trainers import PreferenceLoss, check_trackers

    if data is None:
        raise InputError("expected a file of rows, got none; name it, or 'sandbox'")
    _check_folders(out, merge, model)
    trackers = [name.strip() for name in report_to.split(",") if name.strip() not in ("", "none")]
    check_trackers(trackers)
    rows: Sequence[TrainingRow]
    if str(data) == "sandbox":
        from halluguard.sandbox.train.adapter import build_rows

        rows, notes = build_rows(300, seed), ["300 drawn scenes"]
    else:
        kinds = [kind for kind in negatives.split(",") if kind]
        rows, notes = rows_from(data, images, coco=coco, negatives=kinds, plain=plain, keys=_keys(keys), seed=seed)
    print("\n".join(printable(line) for note in notes for line in note.split("\n")), file=sys.stderr)
    facts = train_adapter(
        rows,
        notes,
        model=sandbox.MLLM if model == "sandbox" else model,
        out=out,
        merge=merge,
        four_bit=four_bit,
        preference=PreferenceLoss(
            beta=beta,
            visual_weight=visual_weight,
            anchor_weight=anchor_weight,
            gamma=gamma,
            losses=tuple(losses.split(",")),
        ),
        rank=rank,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        bf16=bf16,
        checkpointing=checkpointing,
        save_every=save_every,
        resume=resume,
        report_to=trackers,
        device=device,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    print(json.dumps(facts, indent=1))


def _check_folders(out: Path, merge: Path | None, model: str) -> None:
    """Refuse to write into the folder of the model, or to write both results into one folder."""
    base = os.path.realpath(model) if Path(model).is_dir() else None
    for name, folder in (("--out", out), ("--merge", merge)):
        if folder is not None and os.path.realpath(folder) == base:
            raise SettingsError(f"{name} {str(folder)!r} is the folder of the model; name another folder")
    if merge is not None and os.path.realpath(merge) == os.path.realpath(out):
        raise SettingsError(f"--out and --merge name the same folder {str(out)!r}; name two folders")


def _keys(text: str) -> dict[str, str]:
    """The pairs name -> key of a text `name=key,name=key`."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    wrong = [name for name, equals, key in pairs if not (name and equals and key)]
    if wrong:
        raise SettingsError(f"--keys must be name=key pairs separated by commas, got {text!r}; correct it")
    return {name.strip(): key.strip() for name, _, key in pairs}


def rows_from(
    data: Path,
    images: Path | None,
    *,
    coco: bool = False,
    negatives: Sequence[str] = (),
    plain: bool = False,
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
) -> tuple[list[TrainingRow], list[str]]:
    """Read training rows from a preference file in any known form, or build them from COCO's instances.

    Args:
        data: file of preferences or of COCO's instances.
        images: folder of the images.
        coco: True if the file holds COCO's instances; questions are then built, with erased and swapped images.
        negatives: kinds of negative images to draw for preference rows.
        plain: True to learn the chosen answers of preference rows as plain instructions.
        keys: field name in halluguard -> key in the file; see `read_preferences`.
        seed: seed of every random choice.

    Returns:
        (rows, notes for the user).

    Raises:
        InputError: the file cannot be read, or no row is left.
    """
    from halluguard.tuning.annotations import coco_items
    from halluguard.tuning.counterfactuals import erased_preferences, swapped_preferences
    from halluguard.tuning.instructions import negative_preferences
    from halluguard.tuning.negative_image_pairs import conditional_images
    from halluguard.tuning.preferences import ReadingReport, read_preferences
    from halluguard.tuning.rows import PreferenceRow
    from halluguard.tuning.splits import EvaluationImages, without_leaks

    rows: list[TrainingRow]
    if coco:
        if images is None:
            raise InputError("COCO annotations need the folder of the images, got none; name it with --images")
        items = list(coco_items(data, images))
        built = [negative_preferences(items, seed=seed), erased_preferences(items, seed=seed)]
        rows = [row for some in (*built, swapped_preferences(items, seed=seed)) for row in some]
        notes = [f"{len(items)} annotated images: {len(rows)} rows"]
    else:
        report = ReadingReport()
        rows = list(read_preferences(data, images=images, report=report, keys=keys, seed=seed))
        notes = [str(report)]
    rows, leaked = without_leaks(rows, EvaluationImages())
    if leaked:
        notes.append(f"{len(leaked)} rows left out: their images belong to evaluations")
    if not rows:
        raise InputError(f"no row is left of {str(data)!r}: {'; '.join(notes)}")
    if isinstance(rows[0], PreferenceRow):
        pairs = cast("list[PreferenceRow]", rows)
        if plain:
            return [row.to_instruction() for row in pairs], notes
        if negatives:
            pairs = list(conditional_images(pairs, seed=seed, changes=cast("Sequence[Change]", negatives)))
        return list(pairs), notes
    return rows, notes


def train_adapter(
    rows: Sequence[TrainingRow],
    notes: Sequence[str],
    *,
    model: str | Path,
    out: Path,
    merge: Path | None = None,
    four_bit: bool = False,
    preference: PreferenceLoss | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Fine-tune a model on rows; write the adapter, `training.json` beside it, and the merged model if wanted.

    Args:
        rows: the training rows.
        notes: notes on their sources, for `training.json`.
        model: hub name or folder.
        out: folder for the adapter.
        merge: folder for the merged model.
        four_bit: True loads the model in 4 bits.
        preference: settings of the loss on preferences.
        settings: keyword arguments of `tuning.trainers.fine_tune`.

    Returns:
        The facts of the run, as in `training.json`.
    """
    from contextlib import redirect_stdout

    from halluguard.tuning.export import export
    from halluguard.tuning.loading import load
    from halluguard.tuning.trainers import fine_tune

    loaded, processor = load(model, four_bit=four_bit)
    with redirect_stdout(sys.stderr):  # the trainer logs there; standard output is for the facts of the run
        facts = fine_tune(loaded, processor, rows, out, preference=preference, **settings)
    with io.writing_to(out):
        processor.save_pretrained(out)
    licenses = sorted({row.license for row in rows if row.license})
    record = {**facts, "base": str(model), "data": list(notes), "licenses": licenses}
    io.write_text(out / "training.json", json.dumps(record, indent=1) + "\n")
    if merge is not None:
        export(model, out, merge, facts=facts, data="\n".join(notes), licenses=tuple(licenses))
    return record
