"""Remember how spaCy's tokenizer cuts frequent words, in bounded memory.

spaCy frees what it learns of a text at the end of a memory zone, so that memory stays flat, and inside a zone its
tokenizer looks nothing up: every "the" is cut anew. Words that come twice are learned outside the zone, for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

MAX_WORDS = 20_000
"""Largest number of words that are learned, some 5 MB."""
_LONGEST = 30
"""Characters of the longest word that is learned."""


class WordMemory:
    """The words that the tokenizer of a pipeline has learned.

    Args:
        language: the pipeline.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._learned: set[str] = set()
        self._once: set[str] = set()

    def learn(self, texts: Iterable[str]) -> None:
        """Learn the words of texts that came before, or twice; to be called outside of memory zones."""
        if len(self._learned) >= MAX_WORDS:
            return
        words = Counter(word for text in texts for word in text.split() if len(word) <= _LONGEST)
        for word in words.keys() - self._learned:
            if words[word] > 1 or word in self._once:
                self.language.tokenizer(word)
                self._learned.add(word)
        self._once |= words.keys() - self._learned
        if len(self._once) > MAX_WORDS:
            self._once.clear()
