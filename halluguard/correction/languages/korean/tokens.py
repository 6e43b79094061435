"""Morphemes of a Korean text, with their places and clauses."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from halluguard.errors import require

if TYPE_CHECKING:
    from kiwipiepy import Kiwi


class Token(NamedTuple):
    """A morpheme: its form, its tag of the Sejong set without an irregularity mark, and its place in the text."""

    form: str
    tag: str
    start: int
    end: int


@lru_cache(maxsize=1)
def analyser() -> Kiwi:
    """The analyser, once per process; it may be used in several threads.

    Raises:
        MissingExtraError: kiwipiepy is not installed.
    """
    require("kiwipiepy", extra="korean", feature="reading Korean")
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1)


@lru_cache(maxsize=1024)
def tokens(text: str) -> tuple[Token, ...]:
    """The morphemes of a text, in reading order."""
    analysed = analyser().tokenize(text)
    return tuple(Token(t.form, str(t.tag).partition("-")[0], t.start, t.start + t.len) for t in analysed)


def joined(*morphemes: tuple[str, str]) -> str:
    """The word that morphemes, as (form, tag), make up."""
    return str(analyser().join(list(morphemes)))
