"""`halluguard eval`: benchmarks of hallucination, and comparisons of their scores."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.resources
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from halluguard.cli.app import app
from halluguard.cli.options import log_to_stderr, read_options, unknown_option
from halluguard.errors import InputError, SettingsError
from halluguard.printing import printable

BENCHMARKS = {
    "pope": "pope",
    "chair": "chair",
    "amber": "amber",
    "mme": "mme",
    "open": "open_vocabulary",
    "dash-b": "dash_b",
    "humblebench": "humblebench",
    "mcq-pope": "mcq_pope",
    "haloquest": "haloquest",
    "compare": "comparing",
}
"""Name on the command line -> module of `halluguard.evaluation`."""


@app.command(
    "eval",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def evaluate(context: typer.Context) -> None:
    """Score answers on a benchmark, or compare scores. All names: halluguard eval --help."""
    name, *arguments = context.args or ["--help"]
    if name in ("-h", "--help"):
        _print_names()
        return
    if name not in BENCHMARKS:
        raise SettingsError(f"expected one of {', '.join(BENCHMARKS)}, got {name!r}; see halluguard eval --help")
    module = importlib.import_module(f"halluguard.evaluation.{BENCHMARKS[name]}")
    parser = module.options_parser()
    parser.prog = f"halluguard eval {name}"
    _add_shared_options(parser)
    from halluguard.evaluation import running

    running.prepare()
    try:
        given = parser.parse_args(_with_file(parser, arguments))
        if given.verbose:
            log_to_stderr()
        _check_output(given)
        module.run(given)
    except SystemExit as ended:  # argparse has printed the help or the error
        raise typer.Exit(int(ended.code or 0)) from None
    finally:
        sys.stdout.flush()


def _print_names() -> None:
    """Print the name of every benchmark with the first line of its module, without importing the module."""
    print("usage: halluguard eval NAME ...\n")
    for name, module in BENCHMARKS.items():
        source = importlib.resources.files("halluguard.evaluation").joinpath(f"{module}.py").read_text("utf-8")
        summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        print(f"  {name:{max(map(len, BENCHMARKS))}}  {summary}")
    print("\nThe options of each: halluguard eval NAME --help")


def _add_shared_options(parser: argparse.ArgumentParser) -> None:
    shared = parser.add_argument_group("for every command")
    shared.add_argument("--config", type=Path, help="YAML or JSON file of options; those of the command line win")
    logged = "print the messages of the logger 'halluguard' on standard error"
    shared.add_argument("--verbose", "-v", action="store_true", help=logged)


def _check_output(given: argparse.Namespace) -> None:
    """Refuse to write the score over a file that is read. `compare` checks its own output.

    Raises:
        SettingsError: the output is also an input.
    """
    options = vars(given).copy()
    output: Path | None = options.pop("json", None)
    values = [value if isinstance(value, list) else [value] for value in options.values()]
    for path in (path for paths in values for path in paths if isinstance(path, Path)):
        if output is not None and output.exists() and path.exists() and output.samefile(path):
            raise SettingsError(f"the score would replace the input {str(path)!r}; name another file")


def _with_file(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, with those options of its `--config` file that it does not set itself.

    Raises:
        InputError: the file cannot be read, or has an unknown option or a value of another kind.
    """
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    files.add_argument("--config", type=Path)
    file = files.parse_known_args(list(arguments))[0].config
    if file is None:
        return list(arguments)
    actions = {
        word.lstrip("-"): action
        for action in parser._actions
        for word in action.option_strings
        if action.dest not in ("config", "verbose", "help")
    }
    on_line = {word.partition("=")[0] for word in arguments}
    options: list[str] = []
    for key, value in read_options(file).items():
        action = actions.get(key.replace("_", "-"))
        if action is None:
            raise InputError(unknown_option(key, file, actions))
        words = _words(key, value, action, file)
        if not on_line & set(action.option_strings):
            options += _option(action, words)
    return [*arguments, *options]


def _option(action: argparse.Action, words: Sequence[str]) -> list[str]:
    """An option of a file, in the form of command-line arguments."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        return [flag] if words else []
    if action.nargs is None:
        return [f"{flag}={word}" for word in words]
    return [flag, *words]


def _words(key: str, value: object, action: argparse.Action, file: Path) -> list[str]:
    """A value of a file as arguments; none for a flag that is false.

    Raises:
        InputError: its type does not fit the option.
    """
    if action.nargs == 0:
        if isinstance(value, bool):
            return ["true"] if value else []
        expected = "true or false"
    else:
        several = action.nargs is not None or isinstance(action, argparse._AppendAction)
        listed = value if several and isinstance(value, list) else [value]
        if listed and all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in listed):
            return [str(one) for one in listed]
        expected = "one value or a list of them" if several else "one value"
    raise InputError(f"expected {expected} for {key!r} in {str(file)!r}, got {printable(repr(value)[:80])}; correct it")
