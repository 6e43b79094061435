"""The command line's application, its exit codes, and how errors end it.

Exit codes: 0 done; 1 a limit was exceeded; 2 wrong use; 3 the input cannot be read; 4 too many rows were skipped;
5 the detector or model is not available; 6 the results cannot be written; 130 interrupted, 143 ended by SIGTERM.
"""

from __future__ import annotations

import sys
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. An error that halluguard raises on purpose ends it with one sentence and its exit code."""
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
