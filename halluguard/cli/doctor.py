"""`halluguard doctor`: find plumbing faults that look like hallucination."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command, option
from halluguard.printing import show

if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from halluguard.doctor import Prepare

_WAY = "Your way of calling the model"


@app.command(cls=Command)
def doctor(
    model: Annotated[str, typer.Argument(help="Hub name or folder of an image-text-to-text model, or 'sandbox'.")],
    processor: Annotated[
        str | None, option(_WAY, "Hub name or folder of your processor. Default: the model's own.")
    ] = None,
    chat_template: Annotated[Path | None, option(_WAY, "File of the chat template that you use.")] = None,
    max_length: Annotated[int | None, option(_WAY, "Length in tokens at which you truncate prompts.")] = None,
    max_pixels: Annotated[int | None, option(_WAY, "Largest number of pixels per image that you set.")] = None,
    adapter: Annotated[str | None, option(_WAY, "Hub name or folder of the adapter that you load.")] = None,
    stop: Annotated[list[int] | None, option(_WAY, "Id of a stop token that you set; may be repeated.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Type of the weights, such as bfloat16. Default: the checkpoint's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, such as cuda. Default: a GPU if there is one.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the findings as JSON; '-' prints them.")] = None,
) -> None:
    """Find plumbing faults that look like hallucination: a lost image, a wrong template, a cache of another image.

    Fifteen probes, none of which needs labels. The exit code is 1 when a fault was found.
    """
    from halluguard import checkpoints, sandbox
    from halluguard.doctor import examine
    from halluguard.io import write_text

    folder = str(sandbox.MLLM) if model == "sandbox" else model
    target = checkpoints.default_device(device)
    loaded, reference = checkpoints.load_mllm(folder, dtype=dtype or ("float32" if target.type == "cpu" else "auto"))
    if adapter is not None:
        checkpoints.load_adapter(loaded, adapter)
    checkpoints.place(loaded, target)
    prepare = None
    if any(option is not None for option in (processor, chat_template, max_length, max_pixels)):
        prepare = _way(processor or folder, chat_template, max_length, max_pixels)
    report = examine(loaded, reference, prepare=prepare, stop=stop, adapter=adapter)
    if json is None or str(json) != "-":
        show(report)
    if json is not None and str(json) == "-":
        print(report.to_json())
    elif json is not None:
        write_text(json, report.to_json() + "\n")
    raise typer.Exit(0 if report.healthy else 1)


def _way(name: str, chat_template: Path | None, max_length: int | None, max_pixels: int | None) -> Prepare:
    """The user's way to prepare inputs: their processor, with their template and limits."""
    from transformers import AutoProcessor

    from halluguard import checkpoints
    from halluguard.doctor import by_processor
    from halluguard.io import read_text

    limits = {} if max_pixels is None else {"max_pixels": max_pixels}
    own: ProcessorMixin = checkpoints.load_processor(AutoProcessor, name, **limits)
    if chat_template is not None:
        own.chat_template = read_text(chat_template)
    own.tokenizer.padding_side = "left"
    usual = by_processor(own)
    if max_length is None:
        return usual

    def prepare(images: Any, texts: Any) -> Any:
        inputs = usual(images, texts)
        shape = inputs["input_ids"].shape
        return {key: value[:, :max_length] if value.shape[:2] == shape else value for key, value in inputs.items()}

    return prepare
