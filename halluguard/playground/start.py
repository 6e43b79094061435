"""Serve the page to this machine alone, without connections to other hosts."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from typing import TYPE_CHECKING

from halluguard import rendering, sandbox
from halluguard.checkpoints import default_device
from halluguard.detectors.specs import from_spec
from halluguard.errors import SettingsError
from halluguard.listening import listen
from halluguard.playground.page import build, require_gradio
from halluguard.playground.session import Session

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = "64mb"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Content security policy of the page: it may load nothing from another host. Inline code is Gradio's."""


LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))


class Confined:
    """Add the policy to every response of an application, and refuse requests with an unexpected host name.

    Args:
        app: the application.
        names: host names that requests may use; None for any.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str] | None) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = ((b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"))
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        if scope["type"] == "http" and self.names is not None and _host_name(scope) not in self.names:
            await with_policy({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"This page is served to this machine alone."})
            return
        await self.app(scope, receive, with_policy)


def _host_name(scope: Scope) -> str:
    """The name in the Host header of a request, without its port."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def create_app(session: Session, host: str = "127.0.0.1") -> FastAPI:
    """The application.

    Args:
        session: the model, with the detector that checks its answers.
        host: address to listen on. On a loopback address, requests with another host name are refused, so that no web
            page can reach the playground by DNS rebinding.
    """
    require_gradio()
    import gradio as gr  # the extra play
    from fastapi import FastAPI  # installed with Gradio

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        build(session),
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=rendering.source("style.css") + rendering.source("playground.css"),
    )
    app.add_middleware(Confined, names=LOOPBACK if _is_loopback(host) else None)
    return app


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(
    model: str,
    detector: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str | None = None,
    max_new_tokens: int = 128,
) -> None:
    """Load a model and its detector, and serve the page until the process is told to stop.

    Args:
        model: hub name or folder, or "sandbox".
        detector: name as on the command line; default the sandbox's detector for the sandbox model, else no check.
        host, port: address to listen on.
        device: device of both; default the first GPU, else the CPU.
        max_new_tokens: longest answer, in tokens.

    Raises:
        MissingExtraError: the extra `play` is not installed.
        SettingsError: the detector does not look at images, or the address cannot be listened on.
    """
    require_gradio()
    name = detector or ("sandbox" if model == "sandbox" else None)
    expert = None if name is None else from_spec(name, device=device or str(default_device()))
    if expert is not None and not expert.needs_image:
        raise SettingsError(
            f"the playground needs a detector that looks at images, got {expert.name!r}; name a detector model"
        )
    source = sandbox.MLLM if model == "sandbox" else model
    session = Session.from_pretrained(source, expert, device=device, max_new_tokens=max_new_tokens)
    with tempfile.TemporaryDirectory(prefix="halluguard-play-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # dropped images are deleted when the page ends
        listen(create_app(session, host), host, port)
