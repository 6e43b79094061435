"""Texts of training data: questions and answers inside conversations and rendered chat templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from halluguard.errors import InputError

Exchange: TypeAlias = tuple[str, str]
"""A question and its answer."""

PLACEHOLDER = re.compile(r"\s*<image(?:_?\d+)?>\s*|\s*<ImageHere>\s*")


def question_of(text: Any) -> str:
    """The question without image placeholders: the processor sets its own."""
    return PLACEHOLDER.sub(" ", text).strip()


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


def answer_of(value: Any) -> str:
    """The text of an answer: a string, a turn, or the last turn of a conversation."""
    if isinstance(value, list):
        value = value[-1]
    return (text_of(value) if isinstance(value, Mapping) else value).strip()


def text_of(turn: Mapping[str, Any]) -> str:
    """The text of a turn, whose content is a string or a list of parts."""
    content = turn["value"] if "value" in turn else turn["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type", "text") == "text")


def images_in(conversation: Any) -> list[object]:
    """The images that the parts of a conversation name; placeholders name none."""
    images: list[object] = []
    for turn in conversation if isinstance(conversation, list) else ():
        content = turn.get("content") if isinstance(turn, Mapping) else None
        for part in content if isinstance(content, list) else ():
            named = [part[key] for key in ("image", "image_url", "url", "path") if part.get(key)]
            images += [n["url"] if isinstance(n, Mapping) and "url" in n else n for n in named]
    return images


_USER, _ASSISTANT = ("human", "user"), ("gpt", "assistant", "model", "chatgpt", "bot")


def turns_of(conversation: Any) -> list[tuple[str, str]]:
    """(speaker, text) of each turn; the speaker is "human" or "gpt". A system text begins the first question.

    Raises:
        InputError: another speaker, such as a tool.
    """
    turns: list[tuple[str, str]] = []
    system = ""
    for turn in conversation:
        speaker = str(turn.get("from", turn.get("role"))).lower()
        if speaker == "system":
            system += question_of(text_of(turn)) + "\n"
        elif speaker in _USER:
            text = question_of(text_of(turn))
            turns.append(("human", text if turns else (system + text).strip()))
        elif speaker in _ASSISTANT:
            turns.append(("gpt", text_of(turn).strip()))
        else:
            raise InputError(f"expected turns of user and assistant, got one of {speaker!r}; leave the entry out")
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
    turns = turns_of(conversation)
    if turns and turns[-1][0] == "gpt":
        turns = turns[:-1]
    if not turns or turns[-1][0] != "human":
        raise InputError("expected a question at the end of the conversation, got none; correct the entry")
    return _paired(turns[:-1]), turns[-1][1]


def exchanges(conversation: Any) -> tuple[Exchange, ...]:
    """The exchanges of a conversation that ends with an answer; at least one."""
    paired = _paired(turns_of(conversation))
    if not paired:
        raise InputError("expected a question and an answer, got no turns; correct the entry")
    return paired
