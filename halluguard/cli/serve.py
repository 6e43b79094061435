"""`halluguard serve`: an OpenAI-compatible server whose answers are checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command, option
from halluguard.errors import SettingsError

_BEHIND, _CHECKS, _LIMITS = "What answers", "Checks", "Limits"


@app.command(cls=Command)
def serve(
    upstream: Annotated[
        str | None, option(_BEHIND, "Base address of the OpenAI-compatible server whose answers are checked.")
    ] = None,
    model: Annotated[
        str | None, option(_BEHIND, "Model to load in this process: a hub name, a folder, or 'sandbox'.")
    ] = None,
    detector: Annotated[str | None, option(_CHECKS, "Detector: a hub name, a folder, or 'sandbox'.")] = None,
    fail: Annotated[
        Literal["open", "closed"],
        option(_CHECKS, "Reaction to a failed check: open lets the answer pass, closed refuses it."),
    ] = "open",
    style: Annotated[
        Literal["delete", "drop"],
        option(_CHECKS, "A sentence that cannot be corrected without a loss: delete flags it, drop deletes it."),
    ] = "delete",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    device: Annotated[
        str | None, typer.Option(help="Device of the detector and the model. Default: the first GPU, or the CPU.")
    ] = None,
    key_variable: Annotated[
        str, option(_BEHIND, "Environment variable that holds the key of the upstream server.")
    ] = "OPENAI_API_KEY",
    images: Annotated[
        Path | None, typer.Option(help="Folder of images that requests may name by file:// URLs. Default: none.")
    ] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch images from public http(s) addresses.")] = False,
    timeout: Annotated[float, option(_LIMITS, "Most seconds for the model's answer.")] = 300.0,
    check_timeout: Annotated[float, option(_LIMITS, "Most seconds for the check of an answer.")] = 60.0,
    max_images: Annotated[int, option(_LIMITS, "Most images in one request.")] = 16,
    max_held_pixels: Annotated[
        int,
        option(
            _LIMITS, "Most pixels of the images of all requests together; further requests wait, then get status 503."
        ),
    ] = 50_000_000,
    running: Annotated[int, option(_LIMITS, "Number of requests that are processed at the same time.")] = 32,
    waiting: Annotated[int, option(_LIMITS, "Number of further requests that may wait; others get status 503.")] = 256,
) -> None:
    """Serve checked answers under OpenAI's API, in front of another server or with a model in this process.

    Example: halluguard serve --upstream http://localhost:8001/v1 --detector IDEA-Research/grounding-dino-tiny
    """
    if (upstream is None) == (model is None):
        raise SettingsError("expected either --upstream or --model, got both or neither; name one source of answers")
    if upstream is not None and detector is None:
        raise SettingsError("--upstream needs a detector to check the answers; name one with --detector")
    from halluguard import serving

    settings = serving.ServerSettings(
        on_failure=fail,
        style=style,
        timeout=timeout,
        check_timeout=check_timeout,
        max_images=max_images,
        max_held_pixels=max_held_pixels,
        running=running,
        waiting=waiting,
        fetch=fetch,
        images=images,
    )
    if upstream is not None:
        assert detector is not None
        application = serving.in_front_of(
            upstream, detector, settings, device=device, key=os.environ.get(key_variable) or None
        )
    else:
        assert model is not None
        application = serving.around(model, detector, settings, device=device)
    serving.run(application, host, port)
