"""Ask a model about an image at any imagination setting or with any decoding method, and keep the answers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from halluguard.decoding import METHODS
from halluguard.detectors.colour import Colours
from halluguard.detectors.spatial import SpatialRelations
from halluguard.errors import HalluguardError, InputError, SettingsError
from halluguard.guard import Guard
from halluguard.images import ImageSource, load_image
from halluguard.records import DEFAULT_PROMPT, Answer, Box, Claim, Detector, Edit, Verdict

IMAGINATION = "Imagination"
"""The method that uses the imagination setting."""
MAX_QUESTION = 2000
"""Longest question, in characters."""
KEPT = 64
"""Number of replies that are kept, so that a repeated setting is shown without waiting."""


@dataclass(frozen=True)
class Evidence:
    """The evidence for or against one claim.

    Args:
        claim: the claim.
        verdict: its judgement, with the expert, its reason and all boxes.
        edits: its edits in the corrected text.
    """

    claim: Claim
    verdict: Verdict
    edits: tuple[Edit, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes, sorted from the highest score."""
        return tuple(sorted(self.verdict.evidence, key=lambda box: -box.score))


@dataclass(frozen=True)
class Reply:
    """An answer to one question, as the page shows it.

    Args:
        answer: the answer with its claims, verdicts, edits and image.
        method: name of the decoding method.
        imagination: the setting, None for other methods.
        seconds: time that the answer took.
    """

    answer: Answer
    method: str
    imagination: float | None
    seconds: float

    @property
    def title(self) -> str:
        """The method, with its setting."""
        return self.method if self.imagination is None else f"{self.method} {self.imagination:+.2g}"

    def evidence(self, verdict: int) -> list[Evidence]:
        """The evidence of the verdict with this index, then of other verdicts on the same words ("a blue couch").

        Raises:
            InputError: there is no such verdict.
        """
        if not 0 <= verdict < len(self.answer.verdicts):
            raise InputError(
                f"expected one of {len(self.answer.verdicts)} verdicts, got number {verdict}; click a claim"
            )
        shown = self._evidence(verdict)
        others = [self._evidence(other) for other in range(len(self.answer.verdicts)) if other != verdict]
        overlapping = [
            other for other in others if other.claim.start < shown.claim.end and shown.claim.start < other.claim.end
        ]
        return [shown, *overlapping]

    def _evidence(self, index: int) -> Evidence:
        verdict = self.answer.verdicts[index]
        edits = tuple(edit for edit in self.answer.edits if index in edit.verdicts)
        return Evidence(self.answer.claims[verdict.claim], verdict, edits)


class Session:
    """A model with its detector, asked one question at a time.

    Args:
        guard: the model, with the detector that checks its answers.
        max_new_tokens: longest answer, in tokens.

    Example:
        >>> from halluguard import Guard, sandbox
        >>> session = Session(Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR), max_new_tokens=40)
        >>> reply = session.ask(sandbox.scenes(1)[0].image, "Describe the image.", imagination=-0.5)
        >>> reply.title
        'Imagination -0.5'
    """

    def __init__(self, guard: Guard, *, max_new_tokens: int = 128) -> None:
        if max_new_tokens < 1:
            raise SettingsError(f"max_new_tokens must be at least 1, got {max_new_tokens}; raise it")
        self.guard, self.max_new_tokens = guard, max_new_tokens
        self._lock = threading.Lock()
        self._replies: OrderedDict[str, Reply] = OrderedDict()

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        detector: Detector | str | Path | None = None,
        *,
        device: str | None = None,
        max_new_tokens: int = 128,
    ) -> Self:
        """A session with a model from a folder or the hub; colours and positions are judged besides objects.

        Args:
            model, detector: hub names or folders; without a detector, nothing is checked.
            device: device of both; default the first GPU, else the CPU.
            max_new_tokens: longest answer, in tokens.
        """
        guard = Guard.from_pretrained(model, detector=detector, device=device)
        if guard.detector is not None:
            guard.properties = (Colours(), SpatialRelations())
        return cls(guard, max_new_tokens=max_new_tokens)

    @property
    def methods(self) -> list[str]:
        """The decoding methods by name, the imagination setting first."""
        return [IMAGINATION, *(name for name in METHODS if name != IMAGINATION)]

    def ask(
        self,
        image: ImageSource,
        question: str = DEFAULT_PROMPT,
        imagination: float = 0.0,
        method: str = IMAGINATION,
    ) -> Reply:
        """The greedy answer of the model, with its checked claims.

        Args:
            image: the image.
            question: question about the image.
            imagination: setting in [-1, 1] of the method `Imagination`; other methods do not use it.
            method: name of a decoding method.

        Raises:
            SettingsError: the question is empty or too long, or there is no such method or setting.
            ImageError: the image cannot be read.
            UnsupportedModelError: the method does not run on this model.
        """
        if not question.strip() or len(question) > MAX_QUESTION:
            raise SettingsError(
                f"expected a question of 1 to {MAX_QUESTION} characters, got {len(question)}; type another one"
            )
        if method not in METHODS:
            raise SettingsError(f"expected a decoding method, one of {self.methods}, got {method!r}; choose one")
        opened = load_image(image)
        setting = round(float(imagination), 4) if method == IMAGINATION else None
        digest = hashlib.blake2b(opened.tobytes(), digest_size=16).hexdigest()
        key = repr((digest, opened.size, question, method, setting))
        with self._lock:  # a model answers one question at a time
            if key not in self._replies:
                started = time.perf_counter()
                answer = self.guard(
                    opened,
                    question,
                    imagination=setting,
                    decoding=None if method == IMAGINATION else method,
                    max_new_tokens=self.max_new_tokens,
                    do_sample=False,
                )
                self._replies[key] = Reply(answer, method, setting, time.perf_counter() - started)
                if len(self._replies) > KEPT:
                    self._replies.popitem(last=False)
            self._replies.move_to_end(key)
            return self._replies[key]

    def compare(
        self, image: ImageSource, question: str, imagination: float, methods: Sequence[str]
    ) -> list[tuple[str, Reply | HalluguardError]]:
        """(name, reply) of several methods; for a method that cannot run on this model, (name, error).

        Raises:
            SettingsError, ImageError: as for `ask`, if the question or the image is wrong for every method.
        """
        self.ask(image, question, 0.0)  # reports an error in the question or the image once
        rows: list[tuple[str, Reply | HalluguardError]] = []
        for method in methods:
            try:
                reply = self.ask(image, question, imagination, method)
                rows.append((reply.title, reply))
            except HalluguardError as error:
                rows.append((method, error))
        return rows
