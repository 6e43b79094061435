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
        str | None, option(_BEHIND, "Base address of an OpenAI-compatible server to stand in front of.")
    ] = None,
    model: Annotated[str | None, option(_BEHIND, "Model to load here: a hub name, a folder, or 'sandbox'.")] = None,
    detector: Annotated[str | None, option(_CHECKS, "Detector: a hub name, a folder, or 'sandbox'.")] = None,
    fail: Annotated[
        Literal["open", "closed"], option(_CHECKS, "What to do where a check fails: let the answer pass, or refuse.")
    ] = "open",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    device: Annotated[
        str | None, typer.Option(help="Device of the detector and the model. Default: the first GPU, or the CPU.")
    ] = None,
    key_variable: Annotated[str, option(_BEHIND, "Environment variable with the upstream's key.")] = "OPENAI_API_KEY",
    images: Annotated[
        Path | None, typer.Option(help="Folder whose files requests may name as file:// URLs. Default: none.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch images from http(s) addresses that are not private.")
    ] = False,
    timeout: Annotated[float, option(_LIMITS, "Seconds for the model's answer.")] = 300.0,
    check_timeout: Annotated[float, option(_LIMITS, "Seconds for the check of an answer.")] = 60.0,
    max_images: Annotated[int, option(_LIMITS, "Images in one request.")] = 16,
    running: Annotated[int, option(_LIMITS, "Requests that are worked on at the same time.")] = 32,
    waiting: Annotated[int, option(_LIMITS, "Further requests that wait; others get status 503.")] = 256,
) -> None:
    """Serve checked answers under OpenAI's API, in front of another server or around a model loaded here.

    Example: halluguard serve --upstream http://localhost:8001/v1 --detector IDEA-Research/grounding-dino-tiny
    """
    if (upstream is None) == (model is None):
        raise SettingsError("expected one of --upstream and --model; name what answers")
    if upstream is not None and detector is None:
        raise SettingsError("--upstream needs --detector, which checks the answers; name one")
    from halluguard import serving

    settings = serving.ServerSettings(
        on_failure=fail,
        timeout=timeout,
        check_timeout=check_timeout,
        max_images=max_images,
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
