"""Define the options that every command takes: a file of options, and the level of logging."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from halluguard.errors import InputError
from halluguard.io import read_json, read_text
from halluguard.printing import printable

MAX_OPTIONS = 256 * 1024
"""Largest file of options in bytes; the YAML reader takes a second for a few tens of thousands of bytes."""
_SHARED = "For every command"


def option(panel: str, help: str) -> Any:
    """Make an option with its help text, in a panel of the help page."""
    return typer.Option(help=help, rich_help_panel=panel)


class _PrintableFormatter(logging.Formatter):
    """Format a log record on one line that is safe for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr(verbose: bool = True) -> None:
    """Print the messages of the logger `halluguard`; a second call in one process adds no second handler."""
    if not verbose:
        return
    logger = logging.getLogger("halluguard")
    for handler in [handler for handler in logger.handlers if isinstance(handler.formatter, _PrintableFormatter)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def _take_file(context: typer.Context, config: Path | None) -> None:
    """Take from a file the options that are not on the command line."""
    if config is None:
        return
    names = _names(context)
    defaults: dict[str, str | bool | list[str]] = {}
    for key, value in read_options(config).items():
        parameter = names.get(key.replace("_", "-"))
        if parameter is None:
            raise InputError(unknown_option(key, config, names))
        defaults[parameter.name] = _value(key, value, parameter, config)
    context.default_map = {**(context.default_map or {}), **defaults}


def _names(context: typer.Context) -> dict[str, TyperOption | TyperArgument]:
    """Long name -> option or argument of a command, without the options of this module and --help."""
    names: dict[str, TyperOption | TyperArgument] = {}
    for parameter in context.command.params:
        if parameter.name in ("config", "verbose", "help") or not isinstance(parameter, TyperOption | TyperArgument):
            continue
        for word in (parameter.name, *parameter.opts):
            names[word.lstrip("-").replace("_", "-")] = parameter
    return names


def read_options(file: Path) -> Mapping[str, object]:
    """A file of options, YAML or JSON, as an object.

    Raises:
        InputError: the file cannot be read, or does not hold an object of options.
    """
    settings = read_json(file) if file.suffix == ".json" else _read_yaml(file)
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise InputError(
            f"expected an object of settings by their long names in {str(file)!r}, such as 'out: audited'; correct it"
        )
    return settings


def _read_yaml(file: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(read_text(file, most=MAX_OPTIONS))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise InputError(
            f"the file of options {str(file)!r} is not valid YAML{line} "
            f"({getattr(error, 'problem', None) or error}); correct it"
        ) from error


def unknown_option(key: str, file: Path, known: Mapping[str, object]) -> str:
    """The error message for an unknown option, with the option that was probably meant."""
    near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"the file of options {str(file)!r} has an unknown option {key!r}; {advice}"


def _value(key: str, value: object, parameter: TyperOption | TyperArgument, file: Path) -> str | bool | list[str]:
    """A value in the form that the command line passes on; its type is checked later.

    Raises:
        InputError: it is not a single value or, for an option that may be repeated, not a list of values.
    """
    flag = getattr(parameter, "is_flag", False)
    several = getattr(parameter, "multiple", False) or parameter.nargs != 1
    if several and isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return [str(one) for one in value]
    if flag and isinstance(value, bool):
        return value
    if not flag and isinstance(value, str | int | float) and not isinstance(value, bool):
        return [str(value)] if several else str(value)
    expected = "true or false" if flag else "one value or a list of them" if several else "one value"
    raise InputError(f"expected {expected} for {key!r} in {str(file)!r}, got {printable(repr(value)[:80])}; correct it")


def _shared(
    config: Annotated[
        Path | None,
        typer.Option(
            callback=_take_file,
            is_eager=True,
            expose_value=False,
            rich_help_panel=_SHARED,
            help="YAML or JSON file of options by their long names. Options on the command line win.",
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=log_to_stderr,
            is_eager=True,
            expose_value=False,
            rich_help_panel=_SHARED,
            help="Print the messages of the logger 'halluguard' on standard error.",
        ),
    ] = False,
) -> None:
    """Hold the options that every command takes."""


def _shared_options() -> list[Any]:
    holder = typer.Typer(add_completion=False)
    holder.command()(_shared)
    return list(typer.main.get_command(holder).params)


class Command(TyperCommand):
    """A command with `--config` and `--verbose`."""

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(name, params=[*(params or []), *_shared_options()], **settings)
