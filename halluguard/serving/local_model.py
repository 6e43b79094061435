"""Answer requests with a model in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from halluguard.errors import HalluguardError, first_line
from halluguard.guard import Guard
from halluguard.io import JsonObject
from halluguard.prompting.model_inputs import model_inputs
from halluguard.records import Answer
from halluguard.serving.backends import Review
from halluguard.serving.chat_requests import ChatRequest
from halluguard.serving.errors import ApiError, invalid
from halluguard.serving.metrics import Metrics
from halluguard.serving.settings import ServerSettings

MAX_NEW_TOKENS = 512
"""Longest answer, in tokens, to a request that sets no limit."""
_UNSUPPORTED = ("tools", "functions", "logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "audio")


class LocalModel:
    """Answer requests one after another with a Guard, whose detector checks the answers.

    Decoding is greedy if a request sets no temperature.

    Args:
        guard: the model, with its detector.
        name: name of the model in requests.
        settings: limits of the server.
        metrics: counters.
    """

    def __init__(self, guard: Guard, name: str, settings: ServerSettings, metrics: Metrics) -> None:
        self.guard, self.name, self.settings, self.metrics = guard, name, settings, metrics
        self.review = Review(settings, metrics)
        self.thread = ThreadPoolExecutor(1, "halluguard-model")
        self.turn = asyncio.Lock()

    async def complete(self, request: ChatRequest, headers: dict[str, str]) -> JsonObject:
        arguments = self._arguments(request)
        started = time.perf_counter()
        answers = []
        for number in range(request.choices):
            seed = None if arguments["seed"] is None else arguments["seed"] + number
            answers.append(await self._in_thread(lambda seed=seed: self._answer(request, {**arguments, "seed": seed})))
        self.metrics.model.observe(time.perf_counter() - started)
        choices = []
        for index, answer in enumerate(answers):
            text, evidence = self._released(answer, request)
            message = {"role": "assistant", "content": text, "refusal": None}
            finish = self._finish(answer, arguments)
            choices.append(
                {"index": index, "message": message, "logprobs": None, "finish_reason": finish, "halluguard": evidence}
            )
        usage = await self._in_thread(lambda: self._usage(request, answers))
        return {**self._head("chat.completion"), "choices": choices, "usage": usage}

    async def stream(self, request: ChatRequest, headers: dict[str, str]) -> AsyncGenerator[JsonObject]:
        """The chunks of a streamed completion; each sentence is sent once it is checked."""
        if request.choices > 1:
            raise invalid("expected n = 1 in a stream of this model; request the choices one by one", "n")
        arguments = self._arguments(request)
        head = self._head("chat.completion.chunk")

        def chunk(delta: JsonObject, finish: str | None = None, **fields: object) -> JsonObject:
            return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **fields}]}

        async with self.turn:
            pieces = self.guard.stream(messages=request.messages, **self._call(request, arguments))
            try:
                yield chunk({"role": "assistant", "content": ""})
                while isinstance(item := await self._in_thread(lambda: _next(pieces), held=True), str):
                    yield chunk({"content": item})
            finally:
                with contextlib.suppress(HalluguardError):
                    await asyncio.get_running_loop().run_in_executor(self.thread, pieces.close)
        _, evidence = self._released(item, request)
        yield chunk({}, self._finish(item, arguments), halluguard=evidence)
        if request.wants_usage:
            usage = await self._in_thread(lambda: self._usage(request, [item]))
            yield {**head, "choices": [], "usage": usage}

    async def models(self, headers: dict[str, str]) -> JsonObject:
        return {
            "object": "list",
            "data": [{"id": self.name, "object": "model", "owned_by": "halluguard", "created": 0}],
        }

    async def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Any, held: bool = False) -> Any:
        """Run `work` in the model's thread, after the earlier requests, and return its result.

        Raises:
            ApiError: the work failed, or took too long.
        """
        try:
            async with contextlib.nullcontext() if held else self.turn, asyncio.timeout(self.settings.timeout):
                return await asyncio.get_running_loop().run_in_executor(self.thread, work)
        except TimeoutError:
            limit = self.settings.timeout
            raise ApiError(504, f"no complete answer in {limit:g} seconds", kind="server_error") from None
        except HalluguardError as error:
            raise invalid(str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ApiError(500, f"the model failed ({reason})", kind="server_error") from error

    def _answer(self, request: ChatRequest, arguments: dict[str, Any]) -> Answer:
        return self.guard.chat(request.messages, **self._call(request, arguments))

    def _call(self, request: ChatRequest, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "imagination": request.imagination}

    def _released(self, answer: Answer, request: ChatRequest) -> tuple[str, JsonObject]:
        conversation = request.conversation
        if conversation is None or not conversation.subjects:
            return answer.text, self.review.unchecked(answer.draft, "the conversation has no image", failed=False)
        if self.guard.detector is None:
            return answer.text, self.review.unchecked(answer.draft, "the server has no detector", failed=False)
        return self.review.passed(answer, request.evidence)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        """The settings of a request as arguments of transformers' `generate`.

        Raises:
            ApiError: the request names another model, or a setting that is not offered.
        """
        body = request.body
        if request.model != self.name:
            raise ApiError(
                404, f"expected the model {self.name!r}, got {request.model!r}", param="model", code="model_not_found"
            )
        if request.conversation is None:
            raise invalid(request.unread, "messages")
        for name in _UNSUPPORTED:
            if body.get(name):
                raise invalid(f"{name!r} is not offered for a model of this process; leave it out", name)
        if body.get("response_format") not in (None, {"type": "text"}):
            raise invalid(
                "'response_format' is text for a model of this process; leave it out, and ask for JSON in the prompt",
                "response_format",
            )
        tokens = body.get("max_completion_tokens") or body.get("max_tokens") or MAX_NEW_TOKENS
        temperature, top_p, seed = body.get("temperature") or 0, body.get("top_p"), body.get("seed")
        numbers = {"max_tokens": (tokens, 1, 1e6), "temperature": (temperature, 0, 2), "top_p": (top_p or 1, 0, 1)}
        for name, (value, low, high) in {**numbers, "seed": (seed or 0, -(2.0**63), 2.0**63)}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise invalid(f"expected {name!r} from {low:g} to {high:g}, got {value!r}; change it", name)
        arguments: dict[str, Any] = {"max_new_tokens": int(tokens), "do_sample": temperature > 0}
        arguments["seed"] = None if seed is None else int(seed) % 2**63
        if temperature > 0:
            arguments |= {"temperature": float(temperature), "top_p": float(top_p or 1)}
        elif request.choices > 1:
            raise invalid(
                "expected a temperature above 0 for n > 1, as greedy answers are all the same; set a temperature", "n"
            )
        stop = body.get("stop")
        if stop:
            strings = [stop] if isinstance(stop, str) else stop
            if not isinstance(strings, list) or not all(isinstance(text, str) for text in strings):
                raise invalid("expected 'stop' to be a text or a list of texts; change it", "stop")
            arguments |= {"stop_strings": strings, "tokenizer": self.guard.processor.tokenizer}
        return arguments

    def _finish(self, answer: Answer, arguments: dict[str, Any]) -> str:
        return "length" if self._tokens(answer) >= arguments["max_new_tokens"] else "stop"

    def _tokens(self, answer: Answer) -> int:
        text = answer.thinking + answer.draft
        return len(self.guard.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _usage(self, request: ChatRequest, answers: list[Answer]) -> JsonObject:
        """Numbers of tokens of the prompt, including image tokens, and of the drafts."""
        conversation = request.conversation
        assert conversation is not None
        inputs = model_inputs(self.guard.model, self.guard.processor, [conversation])
        prompt = int(inputs["input_ids"].shape[1]) if "input_ids" in inputs else 0
        completion = sum(map(self._tokens, answers))
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _head(self, kind: str) -> JsonObject:
        return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": self.name}


def _next(pieces: Generator[str, None, Answer]) -> str | Answer:
    """The next piece, or the whole answer after the last piece."""
    try:
        return next(pieces)
    except StopIteration as ended:
        return ended.value
