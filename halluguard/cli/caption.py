"""`halluguard caption`: caption a folder of images."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command, option
from halluguard.errors import SettingsError, first_line
from halluguard.io import parse_json
from halluguard.printing import printable, reason_lines

if TYPE_CHECKING:
    from halluguard.auditing.captioning import Captioner

_LOCAL, _SERVER = "With a model loaded here", "With --endpoint"


_NAMED = 10
"""Most skipped files that are named on the screen."""


@app.command(cls=Command)
def caption(
    images: Annotated[Path, typer.Argument(help="Folder of images; folders below it are searched too.")],
    out: Annotated[
        Path,
        typer.Option(help="File for the captions, as JSON Lines that `audit` reads. An existing one is continued."),
    ],
    model: Annotated[
        str,
        typer.Option(help="The model's name at the endpoint. Without an endpoint: a hub name, a folder, or 'sandbox'."),
    ],
    endpoint: Annotated[
        str | None, typer.Option(help="Base address of an OpenAI-compatible server, such as http://host:8000/v1.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Prompt for every image.")] = "Please describe this image in detail.",
    max_tokens: Annotated[int, typer.Option(help="Longest caption, in tokens.")] = 512,
    limit: Annotated[
        int | None, typer.Option(help="Largest number of images to caption, in order of name. Default: all.")
    ] = None,
    max_errors: Annotated[
        int, typer.Option(help="Number of images that may fail; if more fail, the exit code is 4.")
    ] = 0,
    workers: Annotated[
        int, typer.Option(help="Number of simultaneous requests to an endpoint, or images per batch of a model.")
    ] = 8,
    device: Annotated[str | None, option(_LOCAL, "Device: cpu, cuda, cuda:1 ... Default: the first GPU.")] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"] | None,
        option(_LOCAL, "Type of the weights. Default: auto on a GPU, float32 on a CPU."),
    ] = None,
    imagination: Annotated[
        float | None, option(_LOCAL, "Imagination setting in [-1, 1]; below 0 is more grounded.")
    ] = None,
    temperature: Annotated[float, option(_SERVER, "Sampling temperature, at least 0; 0 is greedy.")] = 0.0,
    top_p: Annotated[
        float | None, option(_SERVER, "Share of the probability to sample from, in (0, 1]. Default: the server's.")
    ] = None,
    system: Annotated[str, option(_SERVER, "System prompt. Default: none.")] = "",
    extra_body: Annotated[
        str, option(_SERVER, "JSON object of further fields of each request; a field that is null is left out.")
    ] = "",
    header: Annotated[
        list[str] | None, option(_SERVER, "Header of each request, as 'Name: value'. May be repeated.")
    ] = None,
    seed: Annotated[int, option(_SERVER, "Seed sent with each request; some servers ignore it.")] = 0,
    key_variable: Annotated[
        str, option(_SERVER, "Environment variable that holds the server's key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Caption a folder of images with a model, or with an OpenAI-compatible endpoint."""
    from rich.progress import MofNCompleteColumn, Progress

    from halluguard.auditing.captioning import caption_folder, find_images
    from halluguard.auditing.endpoint import Endpoint

    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise SettingsError("expected a prompt that UTF-8 can encode, got half of a surrogate pair; correct --prompt")
    find_images(images)  # refuses a wrong folder before a model is loaded
    if out.is_dir():
        raise SettingsError(f"--out is a file for the captions, got the folder {str(out)!r}; name a file")
    ask: Captioner
    if endpoint is None:
        ask = _local_captioner(model, prompt, imagination, max_tokens, device=device, dtype=dtype)
        settings = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "imagination": imagination}
    else:
        extra, headers = _extra_body(extra_body), _headers(header or ())
        local = {"--imagination": imagination, "--device": device, "--dtype": dtype}
        if misplaced := [name for name, value in local.items() if value is not None]:
            raise SettingsError(f"{misplaced[0]} needs a model in this process, got --endpoint; leave one of them out")
        ask = server = Endpoint(
            endpoint,
            model,
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            system=system,
            top_p=top_p,
            extra=extra,
            headers=headers,
            key=os.environ.get(key_variable) or None,
            workers=workers,
        )
        settings = server.settings
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task("captioning", total=None)
        result = caption_folder(
            images,
            out,
            ask,
            settings=settings,
            limit=limit,
            batch_size=4 * workers if endpoint else workers,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    print(f"{result.captioned} captioned, {result.already} already there, {result.failed} failed", file=sys.stderr)
    for line in reason_lines(result.reasons):
        print(line, file=sys.stderr)
    if result.failures is not None:
        print(printable(f"every failed image with its reason: {result.failures}"), file=sys.stderr)
    for reason in result.skipped[:_NAMED]:
        print(printable(f"skipped {reason}"), file=sys.stderr)
    if len(result.skipped) > _NAMED:
        print(f"{len(result.skipped)} files that look like images were skipped", file=sys.stderr)
    raise typer.Exit(4 if result.failed > max_errors else 0)


def _extra_body(text: str) -> dict[str, object]:
    try:
        extra = parse_json(text, finite=True) if text else {}
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"--extra-body is a JSON object ({first_line(error)}); correct it") from error
    if not isinstance(extra, dict):
        raise SettingsError(f"--extra-body is a JSON object, got {type(extra).__name__}; write one in braces")
    return extra


def _headers(lines: Sequence[str]) -> dict[str, str]:
    parts = [line.partition(":") for line in lines]
    if not all(name.strip() and colon and value.strip() for name, colon, value in parts):
        raise SettingsError("a header is written as 'Name: value', got another form; correct --header")
    return {name.strip(): value.strip() for name, _, value in parts}


def _local_captioner(
    model: str, prompt: str, imagination: float | None, max_tokens: int, *, device: str | None, dtype: str | None
) -> Captioner:
    """A captioner with a model that is loaded in this process."""
    from halluguard import sandbox
    from halluguard.detectors.specs import check_device
    from halluguard.guard import Guard

    check_device(device)
    guard = Guard.from_pretrained(sandbox.MLLM if model == "sandbox" else model, device=device, dtype=dtype)
    return lambda images: [
        answer.text for answer in guard.batch(images, prompt, imagination=imagination, max_new_tokens=max_tokens)
    ]
