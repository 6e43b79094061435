"""Define the backends of the server, which return checked answers, and the treatment of failed checks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from queue import Empty, SimpleQueue
from typing import Protocol

from halluguard.io import JsonObject
from halluguard.prompting.checking import Checker
from halluguard.prompting.conversation import Conversation
from halluguard.prompting.drafting import Draft
from halluguard.records import Answer
from halluguard.serving.chat_requests import ChatRequest
from halluguard.serving.errors import bad_gateway
from halluguard.serving.metrics import Metrics
from halluguard.serving.settings import ServerSettings


class Backend(Protocol):
    """A source of answers to chat requests."""

    async def complete(self, request: ChatRequest, headers: dict[str, str]) -> JsonObject:
        """A chat completion in OpenAI's form, with corrected texts and a field `halluguard` in each choice."""

    def stream(self, request: ChatRequest, headers: dict[str, str]) -> AsyncGenerator[JsonObject]:
        """The chunks of a streamed completion; each sentence is sent once it is checked."""

    async def models(self, headers: dict[str, str]) -> JsonObject:
        """The list of models, in OpenAI's form."""

    async def close(self) -> None:
        """End connections and threads."""


class Review:
    """Turn checked answers into replies, and decide on answers that could not be checked.

    Args:
        settings: settings of the server, such as its reaction to a failed check.
        metrics: counters.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics

    def passed(self, answer: Answer, evidence: bool = True) -> tuple[str, JsonObject]:
        """The text to send, and the field `halluguard` of its choice.

        Args:
            answer: a checked answer.
            evidence: True if the field holds claims, verdicts and edits.

        Raises:
            ApiError: the detector failed, and the setting `on_failure` is "closed".
        """
        failed = [verdict.reason for verdict in answer.verdicts if verdict.error]
        if failed:
            return answer.draft, self.unchecked(answer.draft, failed[0])
        self.metrics.count(answer)
        field: JsonObject = {"checked": True, "draft": answer.draft}
        if evidence:
            record = answer.to_dict()
            field |= {name: record[name] for name in ("claims", "verdicts", "edits", "thinking") if name in record}
        return answer.text, field

    def unchecked(self, draft: str, reason: str, *, failed: bool = True) -> JsonObject:
        """The field of an answer that is sent unchecked.

        Args:
            draft: the answer.
            reason: reason why it was not checked.
            failed: False where there was nothing to check, such as a conversation without an image.

        Raises:
            ApiError: a check failed, and the setting `on_failure` is "closed".
        """
        self.metrics.unchecked.inc()
        if failed and self.settings.on_failure == "closed":
            raise bad_gateway(f"the answer could not be checked, so it is not sent: {reason}")
        return {"checked": False, "draft": draft, "reason": reason}


class SentenceCheck:
    """Check a growing draft, sentence by sentence, in a separate thread.

    `pieces` yields each corrected piece with the answer so far. Then it yields None, or the exception that ended the
    check.
    """

    def __init__(self, checker: Checker, conversation: Conversation) -> None:
        self.pieces: asyncio.Queue[tuple[str, Answer] | Exception | None] = asyncio.Queue()
        self._drafts: SimpleQueue[str | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(checker, conversation), daemon=True).start()

    def feed(self, draft: str | None) -> None:
        """Pass on the whole draft so far; None marks its end."""
        self._drafts.put(draft)

    def _so_far(self) -> Iterator[Draft]:
        draft = self._drafts.get()
        while draft is not None:
            newest, draft = draft, self._next()
            while draft:  # only the newest draft matters
                newest, draft = draft, self._next()
            yield Draft(newest)
            draft = self._drafts.get() if draft == "" else None

    def _next(self) -> str | None:
        """The newest draft; "" where there is none yet."""
        try:
            return self._drafts.get_nowait()
        except Empty:
            return ""

    def _run(self, checker: Checker, conversation: Conversation) -> None:
        try:
            for piece in checker.sentences(self._so_far(), conversation):
                self._give(piece)
            self._give(None)
        except Exception as error:
            self._give(error)

    def _give(self, item: tuple[str, Answer] | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed, and the pieces are not needed
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, item)
