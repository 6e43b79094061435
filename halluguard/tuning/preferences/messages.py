"""Texts of training data: questions and answers inside conversations and rendered chat templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from halluguard.errors import InputError

Exchange: TypeAlias = tuple[str, str]
"""A question and its answer."""

_IMAGE = re.compile(r"\s*<image(?:_?\d+)?>\s*|\s*<ImageHere>\s*")


def question_of(text: Any) -> str:
    """The question without image placeholders: the processor sets its own."""
    return _IMAGE.sub(" ", text).strip()


_TEMPLATES = (
    re.compile(r"USER:\s*(?P<q>.*?)\s*ASSISTANT:\s*$", re.DOTALL),
    re.compile(r"<\|im_start\|>user\s*(?P<q>.*?)<\|im_end\|>\s*(?:<\|im_start\|>assistant\s*)?$", re.DOTALL),
    re.compile(r"\[INST\]\s*(?P<q>.*?)\s*\[/INST\]\s*$", re.DOTALL),
    re.compile(r"###\s*Human:\s*(?P<q>.*?)\s*###\s*Assistant:\s*$", re.DOTALL),
    re.compile(r"Human:\s*(?P<q>.*?)\s*Assistant:\s*$", re.DOTALL),
)
_MARKS = re.compile(r"<\|[^|>]*\|>|\[/?INST\]|USER:|ASSISTANT:|###\s*(?:Human|Assistant):|</?s>")
_ENDS = re.compile(r"\s*(?:</s>|<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>)\s*$")


def untemplated(prompt: str) -> str:
    """The question inside a rendered chat template.

    >>> untemplated("A chat. USER: <image>\\nWhat is this? ASSISTANT:")
    'What is this?'

    Raises:
        InputError: marks of a template remain, so that training on it would render a template inside a template.
    """
    for template in _TEMPLATES:
        match = template.search(prompt)
        if match:
            prompt = match["q"]
            break
    if _MARKS.search(prompt):
        raise InputError(
            f"expected one question in the prompt, got template marks in {prompt[:80]!r}; strip them first"
        )
    return question_of(prompt)


def without_end(text: str) -> str:
    """An answer without the mark of its end."""
    return _ENDS.sub("", text).strip()


def answer_of(turn: Any) -> str:
    """The text of an answer, given as a string or as a turn."""
    return (turn["value"] if isinstance(turn, Mapping) else turn).strip()


def _turns(conversation: Any) -> list[tuple[str, str]]:
    """(speaker, text) of each turn; the speaker is "human" or "gpt"."""
    turns = []
    for turn in conversation:
        speaker = "human" if turn.get("from", turn.get("role")) in ("human", "user") else "gpt"
        turns.append((speaker, question_of(turn.get("value", turn.get("content")))))
    return turns


def _paired(turns: list[tuple[str, str]]) -> tuple[Exchange, ...]:
    """The exchanges of questions and answers, which must alternate."""
    speakers = [speaker for speaker, _ in turns]
    if speakers != ["human", "gpt"] * (len(turns) // 2):
        raise InputError(f"expected human and gpt in turn, got {' '.join(speakers) or 'no turns'}; correct the entry")
    texts = [text for _, text in turns]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def last_question(conversation: Any) -> tuple[tuple[Exchange, ...], str]:
    """(earlier exchanges, last question); a last answer is dropped."""
    turns = _turns(conversation)
    if turns and turns[-1][0] == "gpt":
        turns = turns[:-1]
    if not turns or turns[-1][0] != "human":
        raise InputError("expected a question at the end of the conversation, got none; correct the entry")
    return _paired(turns[:-1]), turns[-1][1]


def exchanges(conversation: Any) -> tuple[Exchange, ...]:
    """The exchanges of a conversation that ends with an answer; at least one."""
    paired = _paired(_turns(conversation))
    if not paired:
        raise InputError("expected a question and an answer, got no turns; correct the entry")
    return paired
