"""Build the HTTP application: OpenAI's chat completions, a health check and counters."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from halluguard import __version__
from halluguard.errors import HalluguardError
from halluguard.io import JsonObject, parse_json
from halluguard.printing import printable
from halluguard.serving.backends import Backend
from halluguard.serving.chat_requests import reading
from halluguard.serving.errors import ApiError, busy, invalid
from halluguard.serving.held_memory import HeldBytes, HeldPixels
from halluguard.serving.metrics import Metrics
from halluguard.serving.settings import ServerSettings

Result = TypeVar("Result")

MAX_DEPTH = 64
"""Deepest nesting of a request's JSON."""
LEFT = 499
"""Status counted for a client that disconnected before its answer."""


class AsciiResponse(JSONResponse):
    """A response of JSON in ASCII: a lone surrogate, as in a truncated text, can only be sent as an escape."""

    def render(self, content: object) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Places:
    """Limit the numbers of running and waiting requests; further ones are refused."""

    def __init__(self, running: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(running)
        self._places = running + waiting
        self._taken = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for one request.

        Raises:
            ApiError: too many requests wait already.
        """
        if self._taken >= self._places:
            raise busy(f"{self._taken} requests are running or waiting; try again in a second")
        self._taken += 1
        try:
            async with self._free:
                yield
        finally:
            self._taken -= 1


def create_app(backend: Backend, settings: ServerSettings, metrics: Metrics) -> FastAPI:
    """The HTTP application of a backend.

    Args:
        backend: source of the answers: `Upstream` or `LocalModel`.
        settings: limits of the server.
        metrics: counters of the backend.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()

    app = FastAPI(title="halluguard", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    places = Places(settings.running, settings.waiting)
    bodies, images = HeldBytes(settings.max_held_body), HeldPixels(settings.max_held_pixels, settings.read_timeout)

    _answer_errors(app)

    @app.get("/health")
    async def health() -> JsonObject:
        return {"status": "ok", "version": __version__}

    @app.get("/metrics")
    async def counters() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        return AsciiResponse(await backend.models(dict(request.headers)))

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        metrics.running.inc()
        status = 200
        try:
            return await _completion(request)
        except ApiError as error:
            status = error.status
            raise
        except asyncio.CancelledError:
            status = LEFT
            raise
        except Exception:
            status = 500
            raise
        finally:
            metrics.running.dec()
            metrics.requests.labels(str(status)).inc()

    async def _completion(request: Request) -> Response:
        async with contextlib.AsyncExitStack() as stack:
            body = await _body(request, settings, stack.enter_context(bodies.body()))
            headers = dict(request.headers)
            await stack.enter_async_context(places.place())
            chat = await stack.enter_async_context(reading(body, settings, images))
            if chat.body.get("stream") is not True:
                return AsciiResponse(await _unless_left(request, backend.complete(chat, headers)))
            chunks = backend.stream(chat, headers)
            stack.push_async_callback(chunks.aclose)
            first = await _unless_left(request, anext(chunks))  # an error before it keeps its HTTP status
            return EventStream(_events(first, chunks), stack.pop_all())

    return app


def _answer_errors(app: FastAPI) -> None:
    """Answer every exception in the form of OpenAI's errors."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return AsciiResponse(error.body, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def unknown_path(request: Request, error: HTTPException) -> JSONResponse:
        asked = f"{request.method} {request.url.path}"
        message = f"expected POST /v1/chat/completions, GET /v1/models, /health or /metrics, got {asked}; correct it"
        return AsciiResponse(ApiError(error.status_code, message, code="unknown_url").body, error.status_code)

    @app.exception_handler(HalluguardError)
    async def other_error(_: Request, error: HalluguardError) -> JSONResponse:
        return AsciiResponse(invalid(str(error)).body, 400)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        message = f"an unexpected {type(error).__name__} ended this request"
        return JSONResponse(ApiError(500, message, kind="server_error").body, 500)


class EventStream(StreamingResponse):
    """A stream of server-sent events that frees its resources even if its client disconnects before it begins."""

    def __init__(self, events: AsyncIterator[bytes], held: contextlib.AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with self._held:
            await super().__call__(scope, receive, send)


async def _events(first: JsonObject, chunks: AsyncIterator[JsonObject]) -> AsyncIterator[bytes]:
    """Server-sent events of a stream; if it fails midway, the last event is the error."""
    try:
        yield _event(first)
        async for chunk in chunks:
            yield _event(chunk)
    except ApiError as error:
        yield _event(error.body)
    except Exception as error:
        message = f"the stream ended with {type(error).__name__}: {printable(error)[:200]}"
        yield _event(ApiError(500, message, kind="server_error").body)
    else:
        yield b"data: [DONE]\n\n"


def _event(chunk: JsonObject) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def _body(request: Request, settings: ServerSettings, holding: Callable[[int], None]) -> object:
    """The JSON of a request, within its limits of size, time and depth; `holding` gets the number of received bytes."""
    body = bytearray()
    try:
        async with asyncio.timeout(settings.read_timeout):
            async for piece in request.stream():
                holding(len(piece))
                body += piece
                if len(body) > settings.max_body:
                    raise ApiError(413, f"expected a request of at most {settings.max_body:,} bytes, got a longer one")
    except TimeoutError:
        raise ApiError(408, f"the request was not sent within {settings.read_timeout:g} seconds") from None
    try:
        value = parse_json(bytes(body), 8 * settings.max_body, finite=True)
    except ValueError:
        raise invalid("expected a request body of JSON, got something else; check its syntax") from None
    if _is_deeper(value, MAX_DEPTH):
        raise invalid(f"expected JSON of at most {MAX_DEPTH} levels, got more; send a request with fewer levels")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


async def _unless_left(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled if the client disconnects."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_left(request.is_disconnected))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(LEFT, "the client left")
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()


async def _left(is_disconnected: Callable[[], Awaitable[bool]]) -> None:
    while not await is_disconnected():
        await asyncio.sleep(0.2)
