"""Parse yes or no from a free answer to a POPE question; each parser has a name.

    official     RUCAIBox/POPE evaluate.py, LLaVA's eval_pope: first sentence; "no" if a word is No, no or not, else yes
    opera        OPERA, PAI, SID: whole answer; "no" if a word is No, not, no, NO or ends in n't, else yes
    vcd          VCD, Deco, cd_rethink: right if the label occurs anywhere in the answer, even "no" in "snowboard"
    lmms-eval    the answer must be the bare word; "Yes." is neither
    vlmevalkit   the answer contains exactly one of the words yes and no; else neither
    modern       ours: "Answer: yes", "The answer is no.", a leading yes or no, or one of the two words; else neither

They agree on one-word answers. They differ on "Yes, but not clearly" (official: no) and "No!" (official: yes). The
first five equal the official codes. Reasoning, boxes, JSON and emphasis are removed before every parser, see
`final_answers.py`; published answers have none of them. An answer with nothing but reasoning is "neither" for every
parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer

Verdict = Literal["yes", "no", "neither"]

_EITHER = re.compile(r"\b(?:yes|no)\b", re.IGNORECASE)
_STATED = re.compile(r"\banswer\b\W{0,3}(?:\s*(?:is|would be|should be)\b\s*:?|\s*:)\W{0,4}(yes|no)\b", re.IGNORECASE)
_LEADING = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_BOTH = re.compile(r"\b(?:yes\W+(?:(?:or|and)\W+)?no|no\W+(?:(?:or|and)\W+)?yes)\b", re.IGNORECASE)
_NOT_AN_ANSWER = re.compile(r"\bno (?:idea|clue|doubt|way|longer|matter|information|answer|image)\b", re.IGNORECASE)


def official(answer: str, label: str) -> Verdict:
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def opera(answer: str, label: str) -> Verdict:
    words = answer.replace(".", "").replace(",", "").split(" ")
    return "no" if any(word in ("No", "not", "no", "NO") or word.endswith("n't") for word in words) else "yes"


def vcd(answer: str, label: str) -> Verdict:
    right = label in answer.lower().strip()
    return "yes" if right == (label == "yes") else "no"


def lmms_eval(answer: str, label: str) -> Verdict:
    word = answer.lower().strip()
    return "yes" if word == "yes" else "no" if word == "no" else "neither"


def vlmevalkit(answer: str, label: str) -> Verdict:
    words = _without_punctuation(answer.lower()).split()
    if ("yes" in words) == ("no" in words):
        return "neither"
    return "yes" if "yes" in words else "no"


def modern(answer: str, label: str = "") -> Verdict:
    """Read only a clear statement: "not sure", "I have no idea" and "yes or no" are neither.

    >>> [modern(text) for text in ("The answer is no.", "There are no dogs.", "Yes or no?", "I have no idea.")]
    ['no', 'no', 'neither', 'neither']
    """
    text = _NOT_AN_ANSWER.sub(" ", _BOTH.sub(" ", answer))
    stated = _STATED.findall(text)
    leading = _LEADING.match(text)
    words = {word.lower() for word in stated[-1:] or ([leading[1]] if leading else _EITHER.findall(text))}
    if len(words) != 1:
        return "neither"
    return "yes" if "yes" in words else "no"


def _without_punctuation(text: str) -> str:
    """VQA's rule: periods, and marks next to a blank, are removed; a mark inside a word becomes a blank."""
    thousands = re.search(r"\d,\d", text) is not None
    cleaned = text
    for mark in ';/[]"{}()=+\\_-><@`,?!':
        beside = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside or thousands else " ")
    return re.sub(r"\.(?!\d)", "", cleaned, count=32)


PARSERS: dict[str, Callable[[str, str], Verdict]] = {
    "official": official,
    "opera": opera,
    "vcd": vcd,
    "lmms-eval": lmms_eval,
    "vlmevalkit": vlmevalkit,
    "modern": modern,
}


def parse(answer: str, parser: str = "official", label: str | None = None, *, forms: Forms = "final") -> Verdict:
    """Read an answer.

    Args:
        answer: the model's answer.
        parser: a name of `PARSERS`.
        label: the right answer, "yes" or "no"; needed by "vcd", ignored by the others.
        forms: "final" parses the `final_answers.final_answer`; "raw" parses the answer as it is.

    Raises:
        SettingsError: unknown parser or forms, or "vcd" without a label.
        InputError: `answer` is not a string.

    >>> parse("No!"), parse("No!", "vlmevalkit"), parse("No!", "lmms-eval")
    ('yes', 'no', 'neither')
    >>> thinking = "<think>There is no cat here.</think>Yes"
    >>> parse(thinking, "opera"), parse(thinking, "opera", forms="raw")
    ('yes', 'no')
    """
    check_forms(forms)
    if parser not in PARSERS:
        raise SettingsError(f"parser must be one of {list(PARSERS)}, got {parser!r}; choose one")
    if parser == "vcd" and label not in ("yes", "no"):
        raise SettingsError(
            f"the parser 'vcd' reads an answer by its label, which must be yes or no, got {label!r}; pass the label"
        )
    if not isinstance(answer, str):
        raise InputError(f"an answer must be a string, got {type(answer).__name__} {answer!r}; convert it")
    if forms == "final":
        final = final_answer(answer)
        if answer.strip() and not final.strip():
            return "neither"  # nothing but reasoning
        answer = final
    return PARSERS[parser](answer, label or "")


def says_neither(answer: str, *, forms: Forms = "final") -> bool:
    """Whether an answer holds neither the word yes nor the word no, in any case."""
    return _EITHER.search(final_answer(answer) if forms == "final" else answer) is None
