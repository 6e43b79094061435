"""The laws of step back for one family, for `coverage.py`.

1. A judge that supports everything changes nothing, in greedy and in beam search.
2. After a return, the answer goes on as a recomputation from scratch would. The judge here contradicts the first word
   that it sees at each of `PLACES`, so the answer must be the one in which the second-best token stands there.
3. Every contradicted word costs one return, and the tokens taken back are at most those of a sentence for each.

Each law is checked on every prompt of a batch, with plain decoding and with each case that the caller brings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from halluguard.decoding.base import DecodingMethod
from halluguard.decoding.step_back import JudgedWord, ModelCalls, StepBack, Written

PLACES = (1, 4)
"""Tokens of the answer whose first choice is contradicted."""


class Case(Protocol):
    """One call of a family; see `coverage.Case`."""

    tiny: Any
    method: DecodingMethod
    inputs: dict[str, Any]
    branches: list[list[dict[str, Any]]]
    negative: Mapping[str, Any] | None

    def view(self, **settings: Any) -> Tensor: ...
    def reference(self, **settings: Any) -> Tensor: ...


class Words:
    """A tokenizer whose tokens are words; every third ends a sentence."""

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join(f"w{token}{'.' if token % 3 == 0 else ''} " for token in tokens)


@dataclass
class FirstChoices:
    """A judge that contradicts the first word that it sees at each of some places after the same words.

    Args:
        places: numbers of words before those places.
    """

    places: Sequence[int] = ()
    seen: dict[tuple[int, str], str] = field(default_factory=dict)

    def __call__(self, prompt: int, text: str, start: int) -> list[JudgedWord]:
        words = []
        for at, match in enumerate(re.finditer(r"w\d+", text)):
            before = prompt, text[: match.start()]
            first = self.seen.setdefault(before, match.group()) if at in self.places else None
            rejected = match.group() == first
            if match.start() >= start:
                words.append(
                    JudgedWord(match.start(), match.end(), "contradicted" if rejected else "supported", score=1.0)
                )
        return words


class SecondBest(LogitsProcessor):
    """Bar the best token at each of `PLACES`.

    Args:
        length: tokens before the answer.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] - self.length not in PLACES:
            return scores
        return scores.scatter(-1, scores.argmax(-1, keepdim=True), -torch.inf)


def written(case: Case, judge: FirstChoices, settings: Mapping[str, Any]) -> list[Written]:
    """The answers of a case, with returns."""
    view = case.method.on(case.tiny.model)

    def call_of(prompts: Sequence[int], retried: bool) -> tuple[Any, dict[str, Any]]:
        inputs, negative = case.inputs, case.negative
        if len(prompts) < len(case.branches):
            inputs, other = case.branches[prompts[0]][:2]
            negative = None if negative is None else {name: other[name] for name in negative}
        if case.method.is_identity:
            return case.tiny.model, {**inputs, **settings}
        return view, {**inputs, **settings, "negative_inputs": negative}

    return ModelCalls(case.tiny.model, Words(), call_of).write(len(case.branches), StepBack(), judge)  # type: ignore[arg-type]


def broken_law(case: Case, new: Mapping[str, Any], searches: Sequence[int] = (3, 1)) -> str:
    """The first law that a case breaks, in words; "" if it keeps all.

    Args:
        case: the case.
        new: settings of `generate`.
        searches: numbers of beams with which the first law is checked; the last is 1.
    """
    count = new["max_new_tokens"]
    for beams in searches:
        alike = written(case, FirstChoices(), {**new, "num_beams": beams})
        own = case.view(num_beams=beams)[:, -count:].tolist()
        if [answer.tokens for answer in alike] != own:
            return f"a judge that supports all changes {own} to {[answer.tokens for answer in alike]} ({beams} beams)"
    answers = written(case, FirstChoices(PLACES), new)
    length = case.reference(max_new_tokens=1).shape[1] - 1
    processors = LogitsProcessorList([SecondBest(length)])
    expected = case.reference(logits_processor=processors)[:, -count:].tolist()
    if [answer.tokens for answer in answers] != expected:
        return f"after a return {[answer.tokens for answer in answers]} != {expected}"
    if expected == own:
        return "nothing was taken back"
    if any(answer.returns != len(PLACES) or answer.extra > count * len(PLACES) for answer in answers):
        return f"returns and tokens taken back: {[(answer.returns, answer.extra) for answer in answers]}"
    return ""
