"""`halluguard bake`: write a controller at one setting into a plain checkpoint or adapter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command
from halluguard.printing import show


@app.command(cls=Command)
def bake(
    model: Annotated[str, typer.Option(help="Model of the controller: a hub name, a folder, or 'sandbox'.")],
    controller: Annotated[Path, typer.Option(help="Controller file, as training or distillation wrote it.")],
    imagination: Annotated[float, typer.Option(help="Setting in [-1, 1] to fold in; below 0 is more grounded.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")],
    form: Annotated[
        Literal["model", "lora"],
        typer.Option("--as", help="'model' for a whole checkpoint, 'lora' for a PEFT adapter of the head alone."),
    ] = "model",
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: 'auto' (the checkpoint's), 'float32', 'bfloat16', 'float16'.")
    ] = "auto",
    device: Annotated[
        str | None, typer.Option(help="Device to compute on. Default: the first GPU, or the CPU.")
    ] = None,
) -> None:
    """Write a checkpoint that answers like the model with its controller at one setting; any server can load it."""
    from halluguard import baking, sandbox

    source = sandbox.MLLM if model == "sandbox" else model
    baked = baking.bake(source, controller, imagination, out, form=form, dtype=dtype, device=device)
    show(
        f"{baked.folder}: imagination {imagination:g} is folded in; logits of up to {baked.largest:.3g} differ by at "
        f"most {baked.difference:.1g} from those with the controller attached",
        file=sys.stderr,
    )
