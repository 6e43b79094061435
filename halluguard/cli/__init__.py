"""The command line: arguments in, calls out. Heavy packages are imported by the command that needs them.

Exit codes: 0 done; 1 a gate failed; 2 wrong use; 3 the input cannot be read; 4 too many rows were skipped;
5 the expert is not available; 6 the results cannot be written; 130 interrupted, 143 ended by SIGTERM.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from halluguard import __version__
from halluguard.errors import (
    ExpertError,
    HalluguardError,
    InputError,
    MissingExtraError,
    SettingsError,
    UnsupportedModelError,
)

app = typer.Typer(
    help="Mitigate hallucination in multimodal large language models: before, during and after generation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"halluguard {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page and the numbers.")] = Path("demo"),
    scenes: Annotated[int | None, typer.Option(help="Scenes to use; all shipped ones by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
) -> None:
    """See a model hallucinate and each layer mitigate it: offline, no arguments needed."""
    from halluguard.demo import run

    run(out, scenes, seed)


class _Audit(TyperGroup):
    """`audit FILE ...` checks a file; `audit merge ...` puts shards together. A file named merge is ./merge."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["file", *args]
        return super().parse_args(ctx, args)


_audit = typer.Typer(cls=_Audit, help="Check the claims of a file of captions against their images, and correct them.")
app.add_typer(_audit, name="audit")

_RUN, _ROWS, _GATES, _OUT = "What is checked", "Rows and columns", "Limits: exit code 1 or 4", "Outputs"


@_audit.command("file", epilog="Shards are put together with: halluguard audit merge SHARD... --out FOLDER")
def audit(
    captions: Annotated[Path, typer.Argument(help="The captions to check; - reads standard input.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; a run found there is continued.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images.", rich_help_panel=_RUN)] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Expert: hub name or folder of a zero-shot detector, 'sandbox' for drawn scenes, 'objects:FILE', "
            "'precomputed:FILE' or 'groundingdino:CONFIG,CHECKPOINT'.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    objects: Annotated[
        Path | None, typer.Option(help="JSON: image id -> names of the objects in it.", rich_help_panel=_RUN)
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="File from `halluguard calibrate`.", rich_help_panel=_RUN)
    ] = None,
    caption_key: Annotated[str | None, typer.Option(help="Default: guessed.", rich_help_panel=_ROWS)] = None,
    image_key: Annotated[str | None, typer.Option(help="Default: guessed.", rich_help_panel=_ROWS)] = None,
    id_key: Annotated[str | None, typer.Option(help="Default: guessed.", rich_help_panel=_ROWS)] = None,
    question_key: Annotated[str | None, typer.Option(help="Default: guessed.", rich_help_panel=_ROWS)] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files.", rich_help_panel=_ROWS)] = None,
    image_pattern: Annotated[
        str | None, typer.Option(help="As in 'COCO_val2014_{id:012d}.jpg'.", rich_help_panel=_ROWS)
    ] = None,
    image_names: Annotated[
        Path | None, typer.Option(help="JSON, CSV or TSV: image id -> path.", rich_help_panel=_ROWS)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.", rich_help_panel=_ROWS)] = None,
    seed: Annotated[int | None, typer.Option(help="Draw them at random.", rich_help_panel=_ROWS)] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: the i-th of n shares.", rich_help_panel=_ROWS)] = None,
    engine: Annotated[str, typer.Option(help="local or ray.", rich_help_panel=_RUN)] = "local",
    workers: Annotated[int, typer.Option(help="Of the engine ray.", rich_help_panel=_RUN)] = 1,
    ray_address: Annotated[str | None, typer.Option(help="Of a cluster.", rich_help_panel=_RUN)] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...", rich_help_panel=_RUN)] = None,
    batch_size: Annotated[int, typer.Option(help="Images per detector call.", rich_help_panel=_RUN)] = 8,
    part_rows: Annotated[int, typer.Option(help="Rows a finished part.", rich_help_panel=_RUN)] = 1000,
    cache: Annotated[
        Path | None, typer.Option(help="File of what the expert found; default in --out.", rich_help_panel=_RUN)
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the input anew, with corrected captions.", rich_help_panel=_OUT)
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            help="Which captions --export keeps: 'contradicted == 0 and supported >= 2'.", rich_help_panel=_OUT
        ),
    ] = None,
    coco_detections: Annotated[
        Path | None, typer.Option(help="Write the boxes as a COCO file.", rich_help_panel=_OUT)
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html.", rich_help_panel=_OUT)] = True,
    report_samples: Annotated[int, typer.Option(help="Captions it shows.", rich_help_panel=_OUT)] = 200,
    max_hallucination_rate: Annotated[float | None, typer.Option(rich_help_panel=_GATES)] = None,
    max_per_label: Annotated[
        list[str] | None, typer.Option(help="A share for all labels, or LABEL=SHARE; repeat.", rich_help_panel=_GATES)
    ] = None,
    min_verifiable: Annotated[float | None, typer.Option(rich_help_panel=_GATES)] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Earlier summary.json: fail if significantly worse.", rich_help_panel=_GATES)
    ] = None,
    max_errors: Annotated[
        float | None, typer.Option(help="Rows that may be skipped; below 1 a share.", rich_help_panel=_GATES)
    ] = None,
    force_new: Annotated[bool, typer.Option(help="Throw away a run with other settings.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be checked, and the cost.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print errors and failed gates only.")] = False,
    progress: Annotated[str, typer.Option(help="auto, bar, json (a line a second on stderr) or off.")] = "auto",
) -> None:
    """Check the claims of a file of captions against their images, and correct them.

    Exit codes: 0 done; 1 a gate failed; 2 wrong use; 3 the input cannot be read; 4 too many rows, or all, were set
    aside; 5 the expert is not available; 6 the results cannot be written; 130 interrupted (143 by SIGTERM).
    """
    given = {**locals(), "max_per_label": tuple(max_per_label or ())}
    from halluguard import sandbox
    from halluguard.cli import audit_command

    if detector is None and objects is None and images is not None and sandbox.looks_drawn(images):
        print("no expert named, and the pictures are sandbox scenes: using --detector sandbox", file=sys.stderr)
        given["detector"] = "sandbox"
    raise typer.Exit(audit_command.audit(given.pop("captions"), audit_command.Options(**given)))


@_audit.command("merge")
def audit_merge(
    shards: Annotated[list[Path], typer.Argument(help="Folders of all shards, in any order.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged run.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, for the report.")] = None,
    max_errors: Annotated[float | None, typer.Option(help="Rows that may be skipped; below 1 a share.")] = None,
    force_new: Annotated[bool, typer.Option(help="Throw away a run with other settings.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print errors only.")] = False,
) -> None:
    """Put finished shards together into the run that one machine would have made, byte for byte."""
    from halluguard.cli import audit_command

    raise typer.Exit(
        audit_command.merge(shards, out, images=images, force_new=force_new, quiet=quiet, max_errors=max_errors)
    )


@app.command()
def caption(
    images: Annotated[Path, typer.Argument(help="Folder of pictures; those in folders below it too.")],
    out: Annotated[Path, typer.Option(help="Captions, as JSON lines that `audit` reads; continued where it ends.")],
    model: Annotated[str, typer.Option(help="Name at the endpoint; without one, hub name, folder, or 'sandbox'.")],
    endpoint: Annotated[
        str | None, typer.Option(help="Base address of an OpenAI-compatible server, such as http://host:8000/v1.")
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="What is asked of every picture.")
    ] = "Please describe this image in detail.",
    imagination: Annotated[
        float | None, typer.Option(help="Without an endpoint: decoding knob in [-1, 1], negative is more grounded.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 512,
    temperature: Annotated[float, typer.Option(help="At an endpoint; 0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="At an endpoint, where it honours one.")] = 0,
    key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    workers: Annotated[int, typer.Option(help="Requests under way at once, or pictures a batch.")] = 8,
    limit: Annotated[int | None, typer.Option(help="Only the first so many pictures.")] = None,
    max_errors: Annotated[int, typer.Option(help="Images that may fail before the exit code is 4.")] = 0,
) -> None:
    """Caption a folder of pictures with a model, or with an OpenAI-compatible endpoint."""
    from halluguard.auditing.captioning import Captioner, caption_folder
    from halluguard.auditing.endpoint import Endpoint

    ask: Captioner
    if endpoint is None:
        from halluguard import sandbox
        from halluguard.guard import Guard

        guard = Guard.from_pretrained(sandbox.MLLM if model == "sandbox" else model)
        settings = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "imagination": imagination}

        def ask(pictures: Any) -> list[str]:
            said = guard.batch(pictures, prompt, imagination=imagination, max_new_tokens=max_tokens)
            return [answer.text for answer in said]
    else:
        if imagination is not None:
            raise SettingsError("--imagination needs the model here, got --endpoint; leave one of them out")
        key = os.environ.get(key_variable) or None
        ask = server = Endpoint(
            *(endpoint, model, prompt),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            key=key,
            workers=workers,
        )
        settings = server.settings
    from rich.progress import MofNCompleteColumn, Progress

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task("captioning", total=None)
        went = caption_folder(
            *(images, out, ask),
            settings=settings,
            limit=limit,
            batch_size=4 * workers if endpoint else workers,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    print(f"{went.captioned} captioned, {went.already} already there, {went.failed} failed", file=sys.stderr)
    raise typer.Exit(4 if went.failed > max_errors else 0)


@app.command()
def calibrate(
    rows: Annotated[
        Path, typer.Argument(help="CSV or JSON lines with image, phrase, present; or a COCO annotations file.")
    ],
    detector: Annotated[str, typer.Option(help="Expert, named as for `audit`.")],
    out: Annotated[Path, typer.Option(help="File for `audit --thresholds`.")] = Path("thresholds.json"),
    images: Annotated[Path | None, typer.Option(help="Folder of the images, for an expert that looks.")] = None,
    alpha: Annotated[float, typer.Option(help="Most of the true claims that may be contradicted.")] = 0.05,
    beta: Annotated[float, typer.Option(help="Most of the false claims that may be supported.")] = 0.05,
    min_rows: Annotated[int, typer.Option(help="Rows of either kind for thresholds of a label's own.")] = 50,
    method: Annotated[str, typer.Option(help="Of the confidences: isotonic, or platt for few rows.")] = "isotonic",
    holdout: Annotated[float, typer.Option(help="Share of the images kept for the figures printed.")] = 0.5,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
) -> None:
    """Fit an expert's thresholds and confidences on rows that say what is there, and print what they do."""
    from halluguard.cli.calibrate_command import calibrate as run
    from halluguard.detectors.specs import load_expert

    run(
        rows,
        load_expert(detector, device=device),
        images=images,
        out=out,
        options={"alpha": alpha, "beta": beta, "min_rows": min_rows, "method": method, "holdout": holdout},
    )


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    row: Annotated[str, typer.Argument(help="Id or image of a row, or its place in the input as '#12'.")],
) -> None:
    """Show why a row of an audit got its verdicts: each claim, what the expert found, each edit."""
    from halluguard.auditing.outputs.explain import explain_rows as show

    show(run, row)


_DATA, _LOSS, _COURSE = "The rows", "The loss on preferences", "The course of the training"


def _read_config(context: typer.Context, config: Path | None) -> Path | None:
    """Settings of a JSON file stand in for options that are not given."""
    if config is None:
        return None
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file of settings, cannot read {str(config)!r} ({error})") from error
    known = {parameter.name for parameter in context.command.params}
    unknown = sorted(set(found) - known) if isinstance(found, dict) else ["a list"]
    if unknown:
        raise InputError(f"{config} has unknown settings {unknown}; known are {sorted(known - {'config', 'help'})}")
    context.default_map = {**(context.default_map or {}), **found}
    return config


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the adapter; checkpoints go there too.")],
    model: Annotated[str, typer.Option(help="Hub name or folder of the model, or 'sandbox'.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Preference file in any known form, or COCO's instances; 'sandbox' draws scenes."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(callback=_read_config, is_eager=True, help="JSON: option (with _ for -) -> value; flags win."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures.", rich_help_panel=_DATA)] = None,
    coco: Annotated[
        bool, typer.Option(help="DATA is COCO's instances: build questions on them.", rich_help_panel=_DATA)
    ] = False,
    negatives: Annotated[
        str, typer.Option(help="Negative pictures to draw: crop,shuffle,noise.", rich_help_panel=_DATA)
    ] = "",
    plain: Annotated[
        bool, typer.Option(help="Learn the chosen answers as written, without preference.", rich_help_panel=_DATA)
    ] = False,
    beta: Annotated[float, typer.Option(help="Tie to the reference.", rich_help_panel=_LOSS)] = 0.1,
    visual_weight: Annotated[float, typer.Option(help="Of the pictures' term.", rich_help_panel=_LOSS)] = 1.0,
    anchor_weight: Annotated[float, typer.Option(help="Of the anchor.", rich_help_panel=_LOSS)] = 1.0,
    gamma: Annotated[float, typer.Option(help="Of changed words.", rich_help_panel=_LOSS)] = 1.0,
    losses: Annotated[str, typer.Option(help="TRL's loss types, comma between.", rich_help_panel=_LOSS)] = "sigmoid",
    rank: Annotated[int, typer.Option(help="Of LoRA.", rich_help_panel=_COURSE)] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Default: 2e-4 for answers, 1e-5 for preferences.", rich_help_panel=_COURSE)
    ] = None,
    epochs: Annotated[float, typer.Option(rich_help_panel=_COURSE)] = 1.0,
    batch_size: Annotated[int, typer.Option(help="Of one process.", rich_help_panel=_COURSE)] = 8,
    accumulate: Annotated[int, typer.Option(help="Batches summed to one step.", rich_help_panel=_COURSE)] = 1,
    four_bit: Annotated[bool, typer.Option(help="QLoRA; needs bitsandbytes.", rich_help_panel=_COURSE)] = False,
    bf16: Annotated[bool, typer.Option(help="bfloat16 arithmetic.", rich_help_panel=_COURSE)] = False,
    checkpointing: Annotated[
        bool, typer.Option(help="Recompute activations: less memory, more time.", rich_help_panel=_COURSE)
    ] = False,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.", rich_help_panel=_COURSE)] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.", rich_help_panel=_COURSE)] = False,
    device: Annotated[str | None, typer.Option(help="cpu keeps off a GPU.", rich_help_panel=_COURSE)] = None,
    seed: Annotated[int, typer.Option(help="Of every draw.", rich_help_panel=_COURSE)] = 0,
    merge: Annotated[Path | None, typer.Option(help="Also write the merged model there, with its card.")] = None,
) -> None:
    """Fine-tune a model on preferences, instructions or ratings, with negative pictures; writes a LoRA adapter."""
    from halluguard import sandbox
    from halluguard.cli import train_command
    from halluguard.tuning.trainers import PreferenceLoss

    if data is None:
        raise InputError("expected a file of rows, got none; name it, or 'sandbox'")
    if str(data) == "sandbox":
        from halluguard.sandbox.train.adapter import build_rows

        rows, told = list[Any](build_rows(300, seed)), ["300 drawn scenes"]
    else:
        kinds = [kind for kind in negatives.split(",") if kind]
        rows, told = train_command.rows_from(data, images, coco=coco, negatives=kinds, plain=plain, seed=seed)
    print("\n".join(told), file=sys.stderr)
    facts = train_command.train(
        rows,
        told,
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
        device=device,
        seed=seed,
        progress=sys.stderr.isatty(),
    )
    print(json.dumps(facts, indent=1))


def main() -> None:
    """Run the command line; what halluguard raises on purpose ends it with one sentence and its exit code."""
    try:
        app()
    except HalluguardError as error:
        print(f"halluguard: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        print("halluguard: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


def exit_code(error: HalluguardError) -> int:
    """The exit code of an error that ended a command."""
    if isinstance(error, InputError):
        return 3
    if isinstance(error, ExpertError | MissingExtraError | UnsupportedModelError):
        return 5
    return 6 if isinstance(error, OSError) else 2


if __name__ == "__main__":
    main()
