"""`halluguard explain`: show why a row of an audit got its verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command


@app.command(cls=Command)
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    row: Annotated[str, typer.Argument(help="Id or image of a row, or its place in the input, such as '#12'.")],
) -> None:
    """Show why a row of an audit got its verdicts: each claim, what the detector found, each edit."""
    from halluguard.auditing.outputs.explain import explain_rows

    explain_rows(run, row)
