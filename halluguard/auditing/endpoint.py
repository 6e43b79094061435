"""Ask an OpenAI-compatible chat endpoint for captions.

The server's replies are limited in bytes and in time. Errors repeat them without control characters and the key.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
import zlib
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import tenacity
from PIL.Image import Image

from halluguard.auditing.captioning import CaptionerRefusedError
from halluguard.errors import ExpertError, HalluguardError, SettingsError
from halluguard.io import JsonObject
from halluguard.rendering import data_url, visible

PROMPT = "Please describe this image in detail."
MAX_REPLY = 4 * 1024 * 1024
"""Longest reply that is read, in bytes after decompression."""
MAX_PAUSE = 60.0
"""Longest pause before a further try, in seconds, even if the server asks for a longer one."""
_SHOWN = 200  # most characters of a server's reply that an error repeats
_REFUSALS = {401: "the key is refused", 403: "the key may not do this", 404: "there is no such address or model"}
_T = TypeVar("_T")


class _BusyError(Exception):
    """A further try may succeed; the server asks to wait for `pause` seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass
class Endpoint:
    """An OpenAI-compatible chat endpoint as a captioner. Images are sent as JPEG inside the request.

    Args:
        url: base address, such as "http://localhost:8000/v1"; "/chat/completions" is added to its path if it lacks it.
        model: name of the model at the endpoint.
        prompt: prompt sent with every image.
        max_tokens: longest answer, in tokens.
        temperature: sampling temperature; 0 is greedy.
        seed: sampling seed, which a server may ignore.
        system: system prompt; "" sends none.
        top_p: share of the probability that is sampled from, in (0, 1]; None sends none.
        extra: further fields of the request, which replace ours; a field that is None is left out.
        headers: further headers of the request. Their values are never printed or stored.
        key: bearer token; None sends none.
        workers: number of simultaneous requests.
        timeout: most seconds for one request, from connecting to the last byte.
        retries: number of further tries after a time-out, a lost connection, or the status 408, 429 or 5xx.
        max_side: longer side to which images are shrunk, in pixels.
        pause: seconds before the first retry. Each pause is twice the one before, and at least as long as the server's
            Retry-After, up to `MAX_PAUSE`.
    """

    url: str
    model: str
    prompt: str = PROMPT
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    system: str = ""
    top_p: float | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    key: str | None = field(default=None, repr=False)
    workers: int = 8
    timeout: float = 120.0
    retries: int = 4
    max_side: int = 1536
    pause: float = 0.5

    def __post_init__(self) -> None:
        try:
            address = httpx.URL(self.url)
        except (httpx.InvalidURL, ValueError):
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError("an endpoint is an http or https address, such as http://host:8000/v1; check it")
        self.key = self.key.strip() if self.key else None
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise SettingsError("expected a key of printable ASCII characters, got others; check the source of the key")
        if not all(
            f"{name}{value}".isascii() and f"{name}{value}".isprintable() for name, value in self.headers.items()
        ):
            raise SettingsError("expected headers of printable ASCII characters, got others; correct them")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise SettingsError(f"top_p must be above 0 and at most 1, got {self.top_p}; correct it")
        if self.workers < 1 or self.retries < 0 or not self.timeout > 0 or self.max_tokens < 1 or self.max_side < 1:
            raise SettingsError(
                "workers, timeout, max_tokens and max_side must be positive, retries at least 0; correct them"
            )
        address = base_address(address)
        self._address = address.copy_with(path=address.path.rstrip("/") + "/chat/completions")
        self._tokens_field = "max_tokens"
        port = f":{address.port}" if address.port else ""
        self._shown_url = f"{address.scheme}://{address.host}{port}{address.path.rstrip('/')}"
        secrets = [self.key or "", address.password, address.userinfo.decode(), address.query.decode()]
        secrets += [base64.b64encode(address.userinfo).decode(), *(v for v in address.params.values() if len(v) > 7)]
        secrets += [value for value in self.headers.values() if len(value) > 7]
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Endpoint({self._shown_url!r}, {self.model!r})"

    @property
    def settings(self) -> JsonObject:
        """The settings that decide the captions. The address lacks user, password and query, as they may be secret."""
        names = ("model", "prompt", "max_tokens", "temperature", "seed", "max_side")
        chosen = {"system": self.system or None, "top_p": self.top_p, "extra": dict(self.extra) or None}
        return {
            "endpoint": self._shown_url,
            **{name: getattr(self, name) for name in names},
            **{name: value for name, value in chosen.items() if value is not None},
        }

    def __call__(self, images: Sequence[Image]) -> list[str | HalluguardError]:
        """B images -> B captions, each of which may be an error instead."""
        return _run(self._caption_all(images))

    async def _caption_all(self, images: Sequence[Image]) -> list[str | HalluguardError]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers = {"Accept-Encoding": "gzip", **key, **self.headers}
        free = asyncio.Semaphore(self.workers)
        async with httpx.AsyncClient(timeout=self.timeout, headers=headers) as client:

            async def caption(image: Image) -> str | HalluguardError:
                async with free:
                    return await self._caption(client, image)

            return await asyncio.gather(*map(caption, images))

    async def _caption(self, client: httpx.AsyncClient, image: Image) -> str | HalluguardError:
        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_BusyError),
            reraise=True,
        )
        try:
            return await tries(self._request, client, await asyncio.to_thread(self._messages, image))
        except HalluguardError as error:
            return error
        except _BusyError as error:
            return ExpertError(f"the endpoint {self._shown_url} gave no answer in {self.retries + 1} tries ({error})")
        except Exception as error:  # a bad reply fails only its image
            return ExpertError(f"the endpoint {self._shown_url} failed ({type(error).__name__}: {self._safe(error)})")

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        requested = error.pause if isinstance(error, _BusyError) else 0.0
        return min(MAX_PAUSE, max(requested, self.pause * 2.0 ** (state.attempt_number - 1)))

    def _messages(self, image: Image) -> list[JsonObject]:
        content = [
            {"type": "image_url", "image_url": {"url": data_url(image, self.max_side, quality=95)}},
            {"type": "text", "text": self.prompt},
        ]
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": content}]

    def _body(self, messages: list[JsonObject]) -> bytes:
        body = {
            "model": self.model,
            "messages": messages,
            self._tokens_field: self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            **self.extra,
        }
        return json.dumps({name: value for name, value in body.items() if value is not None}).encode()

    async def _request(self, client: httpx.AsyncClient, messages: list[JsonObject]) -> str:
        """The caption in one reply.

        Raises:
            _BusyError: a further try may succeed.
            ExpertError: a further try would fail too.
        """
        body = self._body(messages)
        try:
            async with asyncio.timeout(self.timeout):
                headers = {"Content-Type": "application/json"}
                async with client.stream("POST", self._address, content=body, headers=headers) as response:
                    reply = await _read(response)
        except TimeoutError:
            raise _BusyError(f"no complete answer in {self.timeout:g} seconds") from None
        except httpx.TransportError as error:
            raise _BusyError(f"{type(error).__name__}: {self._safe(error)}") from None
        status, text = response.status_code, reply.decode("utf-8", "replace")
        if status == 200:
            return self._caption_in(text)
        reason = f"status {status}: {self._safe(text)}"
        newer = "max_completion_tokens"
        if status == 400 and newer in text and f'"{newer}"'.encode() not in body:  # OpenAI's newer models
            self._tokens_field = newer
            return await self._request(client, messages)
        if status in _REFUSALS:
            raise CaptionerRefusedError(
                f"the endpoint {self._shown_url} says that {_REFUSALS[status]} ({reason}); correct it and run again"
            )
        if status in (408, 429) or status >= 500:
            raise _BusyError(reason, retry_after(response.headers.get("retry-after", "")))
        raise ExpertError(f"the endpoint {self._shown_url} refused the image ({reason})")

    def _caption_in(self, text: str) -> str:
        try:
            caption = json.loads(text)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            caption = None
        if not isinstance(caption, str):
            raise ExpertError(f"expected choices[0].message.content in the reply, got {self._safe(text)!r}")
        return caption.strip()

    def _safe(self, message: object) -> str:
        """The beginning of a server's text or an error message, without secrets and control characters."""
        text = str(message)[: MAX_REPLY // 16]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return visible(" ".join(text[:_SHOWN].split()))


def base_address(address: httpx.URL) -> httpx.URL:
    """The base of an OpenAI-compatible address, which people also write whole, with "/chat/completions".

    >>> str(base_address(httpx.URL("http://host:8000/v1/chat/completions")))
    'http://host:8000/v1'
    """
    return address.copy_with(path=address.path.rstrip("/").removesuffix("/chat/completions"))


async def _read(response: httpx.Response) -> bytes:
    """The body of a reply, decompressed.

    Raises:
        ExpertError: the body is longer than `MAX_REPLY`, or has a compression that was not requested.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ExpertError(f"expected a reply without compression or with gzip, got {visible(encoding[:40])!r}")
    unzip = zlib.decompressobj(wbits=31)
    body = bytearray()
    async for piece in response.aiter_raw():
        try:
            body += piece if encoding == "identity" else unzip.decompress(piece, MAX_REPLY + 1 - len(body))
        except zlib.error as error:
            raise ExpertError(f"the reply cannot be decompressed ({error})") from None
        if len(body) > MAX_REPLY or unzip.unconsumed_tail:
            raise ExpertError(f"expected a reply of at most {MAX_REPLY:,} bytes, got a longer one")
    return bytes(body)


def retry_after(value: str) -> float:
    """The seconds to wait according to a Retry-After header, from 0 to `MAX_PAUSE`; 0 if it cannot be read.

    >>> retry_after("3"), retry_after("1e9"), retry_after("soon"), retry_after("Thu, 01 Jan 1970 00:00:00 GMT")
    (3.0, 60.0, 0.0, 0.0)
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError, TypeError, IndexError):
            return 0.0
    return min(max(seconds, 0.0), MAX_PAUSE) if math.isfinite(seconds) or seconds > 0 else 0.0


def _run(work: Coroutine[object, None, _T]) -> _T:
    """Run a coroutine to its end, in a separate thread where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
