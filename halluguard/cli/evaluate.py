"""`halluguard eval`: benchmarks of hallucination, and comparisons of their scores."""

from __future__ import annotations

import importlib
import sys

import typer

from halluguard.cli.app import app
from halluguard.errors import SettingsError

BENCHMARKS = {
    "pope": "pope",
    "chair": "chair",
    "amber": "amber",
    "mme": "mme",
    "open": "open_vocabulary",
    "dash-b": "dash_b",
    "humblebench": "humblebench",
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
        print(f"usage: halluguard eval {{{','.join(BENCHMARKS)}}} ...")
        print("\nThe options of each: halluguard eval NAME --help")
        return
    if name not in BENCHMARKS:
        raise SettingsError(f"expected one of {', '.join(BENCHMARKS)}, got {name!r}; see halluguard eval --help")
    module = importlib.import_module(f"halluguard.evaluation.{BENCHMARKS[name]}")
    parser = module.options_parser()
    parser.prog = f"halluguard eval {name}"
    from halluguard.evaluation import running

    running.prepare()
    try:
        module.run(parser.parse_args(arguments))
    except SystemExit as ended:  # argparse has printed help or what is wrong
        raise typer.Exit(int(ended.code or 0)) from None
    finally:
        sys.stdout.flush()
