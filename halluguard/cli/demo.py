"""`halluguard demo`: see a model hallucinate and each layer mitigate it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command


@app.command(cls=Command)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the page demo.html and the numbers demo.json.")] = Path("demo"),
    scenes: Annotated[int | None, typer.Option(help="Number of test scenes to use. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
) -> None:
    """See a model hallucinate and each layer mitigate it: offline, no arguments needed."""
    from halluguard.demo import run

    run(out, scenes, seed)
