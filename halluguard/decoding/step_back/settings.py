"""Settings of stepping back, and what a judge says of the words of a sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from halluguard.decoding.base import DecodingMethod
from halluguard.decoding.setting_checks import check_range, check_whole
from halluguard.errors import SettingsError
from halluguard.records import Decision

ENDS = {"sentence": ".!?\n。！？", "clause": ".!?\n。！？,;:，；："}
"""The marks that end a unit; what stands before them is judged."""

QUOTES = "\"')]”’»*_ "
"""Marks that may follow the end of a sentence and belong to it."""

LONGEST = 64
"""Tokens after which a sentence without an end is judged all the same."""


class Word(Protocol):
    """One claim of an answer; its members are those of `JudgedWord`."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def score(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def repeated(self) -> bool: ...


@dataclass(frozen=True)
class JudgedWord:
    """One claim of an answer, as a judge sees it.

    Args:
        start, end: characters of the word in the text.
        decision: "supported", "contradicted", "unsure" or "unverifiable".
        score: the expert's score for the claim, in [0, 1].
        high: score at which the expert supports a claim.
        repeated: whether the answer has named the same thing before.
    """

    start: int
    end: int
    decision: Decision
    score: float = 0.0
    high: float = 1.0
    repeated: bool = False


class Judge(Protocol):
    """Judge the claims of an unfinished answer.

    Args:
        prompt: index of the prompt in the batch.
        text: the answer so far.
        start: character at which the sentence begins that has not been judged yet.

    Returns:
        The claims whose words begin at `start` or after it, in reading order.
    """

    def __call__(self, prompt: int, text: str, start: int) -> Sequence[Word]: ...


@dataclass(frozen=True)
class Search:
    """The search of a call of `generate`.

    Args:
        stops: ids that end an answer.
        limit: largest number of tokens of an answer.
        sampling: whether the call draws its tokens.
        beams: number of beams.
        each: answers per prompt.
    """

    stops: Collection[int]
    limit: int
    sampling: bool = False
    beams: int = 1
    each: int = 1


@dataclass(frozen=True)
class StepBack:
    """Settings of stepping back.

    Args:
        retries: largest number of returns to one place; then the first draft comes back. 0 never goes back.
        returns: largest number of returns in one answer.
        unit: unit that is judged when it is complete: a "sentence", or a "clause" (commas end one too).
        strict: whether a replacement about which the expert is unsure counts as contradicted.
        demand: excess over its threshold that a replacement must score, in [0, 1]: at the k-th return to a place, the
            score must reach high + (1 - high) * demand * k / retries. Trying until the expert agrees selects its false
            positives; the rising demand is what counters that.
        retry: decoding method of the sentence after a return, such as `Imagination(-0.5)`; None keeps the call's own.
    """

    retries: int = 4
    returns: int = 16
    unit: Literal["sentence", "clause"] = "sentence"
    strict: bool = True
    demand: float = 0.5
    retry: DecodingMethod | None = None

    def __post_init__(self) -> None:
        check_whole("retries", self.retries, 0, advice="0 never goes back")
        check_whole("returns", self.returns, 0, advice="0 never goes back")
        check_range("demand", self.demand, 0, 1, advice="0 asks a replacement for no more than the threshold")
        if self.unit not in ENDS:
            raise SettingsError(f"unit must be one of {list(ENDS)}, got {self.unit!r}; the default is 'sentence'")

    def rejects(self, word: Word, attempt: int) -> bool:
        """Whether a word is taken back.

        Args:
            word: the word.
            attempt: number of returns to its place so far; 0 in a draft.
        """
        if word.decision == "contradicted":
            return True
        if attempt == 0 or word.decision == "unverifiable":
            return False
        if word.repeated or (self.strict and word.decision == "unsure"):
            return True
        return word.score < word.high + (1 - word.high) * self.demand * attempt / max(1, self.retries)

    def ended(self, text: str) -> bool:
        """Whether a text ends with the end of a unit."""
        return ends_unit(text, self.unit)


def ends_unit(text: str, unit: Literal["sentence", "clause"]) -> bool:
    """Whether a text ends with the end of a unit.

    >>> [ends_unit(text, "sentence") for text in ('He said "no."', "A dog, a cat,")]
    [True, False]
    """
    bare = text.rstrip(QUOTES)
    return bool(bare) and bare[-1] in ENDS[unit]
