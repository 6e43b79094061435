"""Pass requests on to another OpenAI-compatible server, and check its answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from halluguard.errors import HalluguardError, SettingsError, first_line
from halluguard.io import JsonObject, parse_json
from halluguard.prompting.checking import Checker
from halluguard.prompting.drafting import Draft
from halluguard.records import Answer
from halluguard.serving.backends import Review, SentenceCheck
from halluguard.serving.chat_requests import ChatRequest
from halluguard.serving.errors import ApiError, bad_gateway, invalid
from halluguard.serving.metrics import Metrics
from halluguard.serving.settings import ServerSettings

MAX_REPLY = 16 * 1024 * 1024
"""Longest reply or stream of the upstream server, in bytes."""
PASSED_ON = ("authorization", "openai-organization", "openai-project", "x-request-id")
"""Headers of a client that are passed on to the upstream server."""


def upstream_address(url: str) -> httpx.URL:
    """The base address of an upstream server, which people also write whole, with "/chat/completions".

    Raises:
        SettingsError: it is not an http or https address.
    """
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise SettingsError(
            "the upstream server is an http or https address, such as http://host:8001/v1; check --upstream"
        )
    return address.copy_with(path=address.path.rstrip("/").removesuffix("/chat/completions"))


class Upstream:
    """Answer requests with an upstream server, and check its answers.

    Args:
        url: base address of the upstream server, such as "http://localhost:8001/v1".
        checker: the correction, with its detector.
        settings: limits of the server.
        metrics: counters.
        key: bearer token for the upstream server, for clients that send none.
        transport: HTTP transport; default the network.
    """

    def __init__(
        self,
        url: str,
        checker: Checker,
        settings: ServerSettings,
        metrics: Metrics,
        *,
        key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address = upstream_address(url)
        self.checker, self.settings, self.metrics = checker, settings, metrics
        self.review = Review(settings, metrics)
        self.key = key
        self.threads = ThreadPoolExecutor(settings.running, "halluguard-check")
        self.client = httpx.AsyncClient(
            base_url=str(address).rstrip("/") + "/",
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=settings.running + 4),
            transport=transport,
            trust_env=False,
        )

    async def complete(self, request: ChatRequest, headers: dict[str, str]) -> JsonObject:
        started = time.perf_counter()
        reply = await self._json("POST", "chat/completions", headers, request.body)
        self.metrics.model.observe(time.perf_counter() - started)
        choices = reply.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise bad_gateway("expected a list of choices from the upstream server, got something else")
        await asyncio.gather(*(self._check_choice(choice, request) for choice in choices))
        return reply

    async def _check_choice(self, choice: JsonObject, request: ChatRequest) -> None:
        message = choice.get("message")
        draft = message.get("content") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(draft, str) or not draft:
            choice["halluguard"] = {"checked": False, "draft": None, "reason": "the answer has no text"}
            return
        message["content"], choice["halluguard"] = await self._checked(draft, request)
        if message["content"] != draft:
            choice["logprobs"] = None  # they belong to the draft

    async def _checked(self, draft: str, request: ChatRequest) -> tuple[str, JsonObject]:
        conversation = request.conversation
        if conversation is None:
            return draft, self.review.unchecked(draft, request.unread)
        if not conversation.subjects:
            return draft, self.review.unchecked(draft, "the conversation has no image", failed=False)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.settings.check_timeout):
                (answer,) = await asyncio.get_running_loop().run_in_executor(
                    self.threads, self.checker.answers, [Draft(draft)], [conversation]
                )
        except TimeoutError:
            limit = self.settings.check_timeout
            return draft, self.review.unchecked(draft, f"the check took longer than {limit:g} seconds")
        except Exception as error:  # an error of a detector must not end the server
            return draft, self.review.unchecked(draft, _failure(error))
        self.metrics.check.observe(time.perf_counter() - started)
        return self.review.passed(answer, request.evidence)

    async def stream(self, request: ChatRequest, headers: dict[str, str]) -> AsyncGenerator[JsonObject]:
        """Yield the chunks of the upstream server: text when its sentence is checked, everything else at once."""
        chunks: asyncio.Queue[JsonObject | Exception | None] = asyncio.Queue()
        work = asyncio.create_task(self._relay(request, headers, chunks))
        try:
            while (item := await chunks.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work

    async def _relay(
        self, request: ChatRequest, headers: dict[str, str], out: asyncio.Queue[JsonObject | Exception | None]
    ) -> None:
        choices: dict[int, _Choice] = {}
        usage: JsonObject | None = None
        try:
            async for chunk in self._events(request, headers):
                if not chunk.get("choices"):
                    usage = chunk
                    continue
                for part in chunk["choices"]:
                    index = int(part.get("index", 0))
                    if index not in choices:
                        check = self._sentences(request)
                        choices[index] = _Choice(index, {**chunk, "choices": []}, request, check, self.review, out)
                    choices[index].take(part)
            for choice in choices.values():
                choice.end()
            await asyncio.gather(*(choice.emitted for choice in choices.values()))
            if usage is not None:
                out.put_nowait(usage)
            out.put_nowait(None)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            out.put_nowait(error)
        finally:
            for choice in choices.values():
                choice.end()
                choice.emitted.cancel()

    def _sentences(self, request: ChatRequest) -> SentenceCheck | str:
        """The check of one choice, or the reason why there is none."""
        if request.conversation is None:
            self.review.unchecked("", request.unread)
            return request.unread
        if not request.conversation.subjects:
            return "the conversation has no image"
        return SentenceCheck(self.checker, request.conversation)

    async def _events(self, request: ChatRequest, headers: dict[str, str]) -> AsyncIterator[JsonObject]:
        try:
            async with (
                asyncio.timeout(self.settings.timeout),
                self.client.stream(
                    *("POST", "chat/completions"),
                    content=_encoded(request.body),
                    headers=self._headers(headers),
                ) as response,
            ):
                if response.status_code != 200:
                    raise _refusal(response.status_code, await _read(response))
                async for line in _lines(response):
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        return
                    chunk = _parsed(data.encode())
                    if "error" in chunk:
                        raise bad_gateway("the upstream server ended the stream with an error")
                    yield chunk
        except (TimeoutError, httpx.TimeoutException):
            raise self._too_slow() from None
        except httpx.HTTPError as error:
            raise bad_gateway(f"the upstream server cannot be reached ({type(error).__name__})") from None

    async def models(self, headers: dict[str, str]) -> JsonObject:
        return await self._json("GET", "models", headers)

    async def close(self) -> None:
        await self.client.aclose()
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def _json(
        self, method: str, path: str, headers: dict[str, str], body: JsonObject | None = None
    ) -> JsonObject:
        try:
            async with (
                asyncio.timeout(self.settings.timeout),
                self.client.stream(
                    *(method, path),
                    content=None if body is None else _encoded(body),
                    headers=self._headers(headers),
                ) as response,
            ):
                reply = await _read(response)
        except (TimeoutError, httpx.TimeoutException):
            raise self._too_slow() from None
        except httpx.HTTPError as error:
            raise bad_gateway(f"the upstream server cannot be reached ({type(error).__name__})") from None
        if response.status_code != 200:
            raise _refusal(response.status_code, reply)
        return _parsed(reply)

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in headers.items() if name.lower() in PASSED_ON}
        kept["content-type"] = "application/json"
        if self.key and not any(name.lower() == "authorization" for name in kept):
            kept["authorization"] = f"Bearer {self.key}"
        return {**kept, "accept-encoding": "identity"}

    def _too_slow(self) -> ApiError:
        return bad_gateway(f"the upstream server gave no complete answer in {self.settings.timeout:g} seconds", 504)


@dataclass
class _Choice:
    """One choice of a stream: text is checked first, everything else is passed on at once."""

    index: int
    head: JsonObject
    request: ChatRequest
    check: SentenceCheck | str
    review: Review
    out: asyncio.Queue[JsonObject | Exception | None]
    draft: str = ""
    finish: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    emitted: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.emitted = asyncio.create_task(self._emit())

    def take(self, part: JsonObject) -> None:
        """Take the part of an upstream chunk that belongs to this choice."""
        delta = dict(part.get("delta") or {})
        text = delta.pop("content", None)
        self.finish = part.get("finish_reason") or self.finish
        if isinstance(text, str) and text:
            self.draft += text
            if isinstance(self.check, SentenceCheck):
                self.check.feed(self.draft)
            else:
                delta["content"] = text
        if delta:
            self._send(delta)

    def end(self) -> None:
        """Finish the choice after the last chunk of the upstream server."""
        if isinstance(self.check, SentenceCheck) and not self.ended.is_set():
            self.check.feed(None)
        self.ended.set()

    def _send(self, delta: JsonObject, finish: str | None = None, **fields: object) -> None:
        choice = {"index": self.index, "delta": delta, "finish_reason": finish, "logprobs": None, **fields}
        self.out.put_nowait({**self.head, "choices": [choice]})

    async def _emit(self) -> None:
        if not isinstance(self.check, SentenceCheck):
            await self.ended.wait()
            self._send({}, self.finish, halluguard={"checked": False, "draft": self.draft, "reason": self.check})
            return
        answer = Answer("", "")
        while (item := await self.check.pieces.get()) is not None:
            if isinstance(item, Exception):
                reason = self.review.unchecked(self.draft, _failure(item))
                await self._rest(len(answer.draft))
                self._send({}, self.finish, halluguard={**reason, "draft": self.draft})
                return
            piece, answer = item
            if any(verdict.error for verdict in answer.verdicts):
                self.review.passed(answer, evidence=False)  # raises if `on_failure` is "closed"
            if piece:
                self._send({"content": piece})
        _, evidence = self.review.passed(answer, self.request.evidence)
        self._send({}, self.finish, halluguard=evidence)

    async def _rest(self, start: int) -> None:
        """Send the rest of the draft unchecked, once it is complete."""
        await self.ended.wait()
        if self.draft[start:]:
            self._send({"content": self.draft[start:]})


def _failure(error: Exception) -> str:
    reason = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {first_line(error)}"
    return f"the check failed: {reason}"


def _encoded(body: JsonObject) -> bytes:
    """A body of JSON in ASCII: a lone surrogate, as in a truncated text, can only be sent as an escape."""
    return json.dumps(body).encode("ascii")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_REPLY:
            raise bad_gateway(f"the upstream server sent more than {MAX_REPLY:,} bytes")
    return bytes(body)


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """The lines of a stream, up to `MAX_REPLY` bytes."""
    rest, total = b"", 0
    async for piece in response.aiter_raw():
        total += len(piece)
        if total > MAX_REPLY:
            raise bad_gateway(f"the upstream server sent more than {MAX_REPLY:,} bytes")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace")


def _parsed(data: bytes) -> JsonObject:
    try:
        value = parse_json(data, 8 * MAX_REPLY, finite=True)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise bad_gateway("expected a JSON object from the upstream server, got something else")
    return value


def _refusal(status: int, reply: bytes) -> ApiError:
    """The error for a refusal of the upstream server, with its message if it has OpenAI's form."""
    try:
        content = parse_json(reply, 8 * MAX_REPLY)["error"]
        message = str(content["message"] if isinstance(content, dict) else content)[:500]
    except (ValueError, LookupError, TypeError):
        message = f"the upstream server answered with status {status}"
    if status in (408, 429) or status >= 500:
        return bad_gateway(message, status if status in (408, 429, 503) else 502)
    return ApiError(status, message) if 400 <= status < 500 else invalid(message)
