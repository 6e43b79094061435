"""`halluguard play`: show a page on which the imagination setting is moved by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command


@app.command(cls=Command)
def play(
    model: Annotated[
        str, typer.Option(help="Model: a hub name, a folder, or 'sandbox', which needs no download.")
    ] = "sandbox",
    detector: Annotated[
        str | None,
        typer.Option(help="Detector that checks the answers. Default: the sandbox's for the sandbox, else none."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 7860,
    device: Annotated[
        str | None, typer.Option(help="Device of the model and the detector. Default: the first GPU, or the CPU.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1)] = 128,
) -> None:
    """Ask a model about an image in the browser, move the imagination setting, and click claims to see their evidence.

    Needs the extra play. No data leave this machine.
    """
    from halluguard.playground import start

    start.run(model, detector, host=host, port=port, device=device, max_new_tokens=max_new_tokens)
