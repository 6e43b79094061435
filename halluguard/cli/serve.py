"""`halluguard serve`: an OpenAI-compatible server whose answers are checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command
from halluguard.errors import SettingsError

_BEHIND, _CHECKS, _LIMITS = "What answers", "Checks", "Limits"


@app.command(cls=Command)
def serve(
    upstream: Annotated[
        str | None,
        typer.Option(help="Base address of an OpenAI-compatible server to stand in front of.", rich_help_panel=_BEHIND),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model to load here: a hub name, a folder, or 'sandbox'.", rich_help_panel=_BEHIND),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="Detector: a hub name, a folder, or 'sandbox'.", rich_help_panel=_CHECKS),
    ] = None,
    fail: Annotated[
        Literal["open", "closed"],
        typer.Option(help="What to do where a check fails: let the answer pass, or refuse.", rich_help_panel=_CHECKS),
    ] = "open",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    device: Annotated[
        str | None, typer.Option(help="Device of the detector and the model. Default: the first GPU, or the CPU.")
    ] = None,
    key_variable: Annotated[
        str,
        typer.Option(help="Environment variable with the upstream's key.", rich_help_panel=_BEHIND),
    ] = "OPENAI_API_KEY",
    images: Annotated[
        Path | None, typer.Option(help="Folder whose files requests may name as file:// URLs. Default: none.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch images from http(s) addresses that are not private.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for the model's answer.", rich_help_panel=_LIMITS)] = 300.0,
    check_timeout: Annotated[
        float, typer.Option(help="Seconds for the check of an answer.", rich_help_panel=_LIMITS)
    ] = 60.0,
    max_images: Annotated[int, typer.Option(help="Images in one request.", rich_help_panel=_LIMITS)] = 16,
    running: Annotated[
        int, typer.Option(help="Requests that are worked on at the same time.", rich_help_panel=_LIMITS)
    ] = 32,
    waiting: Annotated[
        int, typer.Option(help="Further requests that wait; others get status 503.", rich_help_panel=_LIMITS)
    ] = 256,
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
