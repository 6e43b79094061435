"""Run the application of the command line, and turn errors into exit codes.

Exit codes: 0 done; 1 a limit was exceeded or a promise refused; 2 wrong use; 3 the input cannot be read; 4 too many
rows were skipped; 5 the detector or model is not available; 6 the results cannot be written; 70 a bug; 130 interrupted,
141 broken pipe, 143 ended by SIGTERM.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from halluguard import __version__
from halluguard.cli.completion import OPTIONS, complete_for_shell
from halluguard.errors import (
    ExpertError,
    HalluguardError,
    InputError,
    MissingExtraError,
    PromiseError,
    UnsupportedModelError,
)
from halluguard.lean_imports import leave_out_unused
from halluguard.printing import printable


class _Commands(TyperGroup):
    """The commands in the order of their names, with completion for any shell that is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # typer's own options complete for the shell that runs the command alone, and ignore the name of another
        if args and args[0] in OPTIONS:
            complete_for_shell(args[0], args[1:])
            raise typer.Exit
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Mitigate hallucination in multimodal large language models: before, during and after generation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

MAX_MESSAGE = 4000
"""Most characters of an error that are printed."""
_UsageError = typer.BadParameter.__base__ or typer.BadParameter
"""Class of the error for wrong arguments."""


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


def main() -> NoReturn:
    """Run the command line and exit.

    An error that halluguard raises on purpose ends it with one sentence and its exit code. Any other exception is a
    bug: it ends with one sentence too, and its traceback goes to a file.
    """
    leave_out_unused()
    try:
        code = app(standalone_mode=False)
    except HalluguardError as error:
        _end(_brief(printable(error)), exit_code(error))
    except KeyboardInterrupt:
        _end("interrupted; the same command continues", 130)
    except SystemExit as ending:  # typer exits with 1 on a broken pipe, but 1 means a failed gate here
        sys.exit(141 if ending.code == 1 and isinstance(ending.__context__, BrokenPipeError) else ending.code)
    except Exception as error:
        if isinstance(error, _UsageError):
            _print_usage_error(error)
            sys.exit(2)
        if isinstance(error, OSError) and error.filename is not None:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            _end(printable(f"cannot use {error.filename!r}: {error.strerror}; check the path"), 6 if full else 3)
        if _is_out_of_memory(error):
            _end("the memory does not suffice; use shorter texts, smaller images or smaller batches", 6)
        cause = error.__cause__ if isinstance(error, typer.Abort) and error.__cause__ else error
        _end(_bug(cause), 70)
    if code == 130:
        _end("interrupted; the same command continues", 130)
    sys.exit(code or 0)


def _end(message: str, code: int) -> NoReturn:
    print(f"halluguard: {message}", file=sys.stderr)
    sys.exit(code)


def _brief(message: str) -> str:
    """The message, without its middle if it is very long, as with a name of a megabyte. Its advice is at the end."""
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 400]} ... {message[-400:]}"


def exit_code(error: HalluguardError) -> int:
    """The exit code of an error that ended a command."""
    if isinstance(error, InputError):
        return 3
    if isinstance(error, ExpertError | MissingExtraError | UnsupportedModelError):
        return 5
    if isinstance(error, PromiseError):
        return 1
    return 6 if isinstance(error, OSError) else 2


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch could not allocate memory; torch says so in a plain RuntimeError on a CPU."""
    said = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or said


def _print_usage_error(error: Exception) -> None:
    from typer.rich_utils import rich_format_error

    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, printable(value))
    rich_format_error(error)  # type: ignore[arg-type]  # a usage error, as was checked


def _bug(error: BaseException) -> str:
    """Write the facts for a bug report to a file, and return the sentence that names the file."""
    import platform
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="halluguard-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(f"halluguard {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
        file.write(f"arguments: {[printable(word) for word in sys.argv[1:]]}\n\n")
        file.write("".join(traceback.format_exception(error)))
    summary = printable(f"{type(error).__name__}: {error}")[:200]
    return f"this is a bug ({summary}); please report it with the file {file.name}"
