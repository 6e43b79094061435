"""The command line: arguments in, calls out. Heavy packages are imported by the command that needs them.

Exit codes: 0 done; 1 a gate failed; 2 wrong use; 3 the input cannot be read; 4 too many rows were set aside;
5 the expert is not available; 6 the results cannot be written; 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from halluguard import __version__
from halluguard.errors import ExpertError, HalluguardError, InputError, MissingExtraError, UnsupportedModelError

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
