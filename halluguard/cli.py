"""The command line: arguments in, calls out. Heavy packages are imported by the command that needs them.

Exit codes: 0 done; 1 a gate failed; 2 wrong use; 3 the input cannot be read; 4 too many rows were set aside;
5 the expert is not available; 6 the results cannot be written; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

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


@app.command()
def audit(
    captions: Annotated[Path, typer.Argument(help="The captions to check.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; a run found there is continued.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Expert: hub name or folder of a zero-shot detector, or 'sandbox' for drawn scenes."),
    ] = None,
    objects: Annotated[Path | None, typer.Option(help="JSON: image id -> names of the objects in it.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the input anew, with corrected captions.")] = None,
    force_new: Annotated[bool, typer.Option(help="Throw away a run with other settings.")] = False,
) -> None:
    """Check the claims of a file of captions against their images, and correct them."""
    from halluguard import sandbox
    from halluguard.auditing import command

    if detector is None and objects is None and images is not None and sandbox.looks_drawn(images):
        print("no expert named, and the pictures are sandbox scenes: using --detector sandbox", file=sys.stderr)
        detector = "sandbox"
    code = command.audit(
        captions,
        out=out,
        images=images,
        detector=str(sandbox.DETECTOR) if detector == "sandbox" else detector,
        objects=objects,
        export=export,
        force_new=force_new,
    )
    raise typer.Exit(code)


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
    max_errors: Annotated[int, typer.Option(help="Pictures that may fail before the exit code is 4.")] = 0,
) -> None:
    """Caption a folder of pictures with a model, or with an OpenAI-compatible endpoint."""
    from halluguard.auditing.captioning import Captioner, Endpoint, caption_folder

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
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    row: Annotated[str, typer.Argument(help="Id or image of a row, or its place in the input as '#12'.")],
) -> None:
    """Show why a row of an audit got its verdicts: each claim, what the expert found, each edit."""
    from halluguard.auditing.explain import explain as show

    show(run, row)


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
