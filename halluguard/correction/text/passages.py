"""Passages: what the extractor of another language is given, one block after the other, without inline markup.

A passage is a leaf, or a line "label: value" whose words are all in the language: "고양이: 없음" is read as one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from halluguard.correction import languages
from halluguard.correction.languages import Extractor
from halluguard.correction.text.budget import check_budget
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.markup import Cleaned, clean


@dataclass(frozen=True, slots=True)
class Passage:
    """A block in another language.

    Args:
        block: the block; its words are `text[block.start:block.end]` of the answer.
        words: its words without markup, with their places.
        extractor: what reads it.
    """

    block: Block
    words: Cleaned
    extractor: Extractor

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the answer that characters start..end of the words stand for."""
        return self.words.starts[start], self.words.ends[end - 1]

    def whole(self, start: int, end: int) -> tuple[int, int] | None:
        """`place`, with markup of which all words lie inside; None where it would tear markup or quotation marks."""
        first, last = self.place(start, end)
        for mark in self.words.markup:
            if first <= mark.inner[0] and mark.inner[1] <= last:
                first, last = min(first, mark.start), max(last, mark.end)
        torn = any(
            mark.start < last and first < mark.end and not mark.inner[0] <= first <= last <= mark.inner[1]
            for mark in self.words.markup
            if not first <= mark.start <= mark.end <= last
        )
        return None if torn else (first, last)

    def holds(self, start: int, end: int) -> bool:
        """Whether characters start..end of the answer lie in the passage."""
        return self.block.start <= start and end <= self.block.end

    def words_at(self, start: int) -> int:
        """The place in the words that corresponds to a character of the answer."""
        return bisect_left(self.words.starts, start)


def passages(document: Document) -> list[Passage]:
    """The passages of an answer, in reading order."""
    return list(_passages(document, document.root))


def _passages(document: Document, block: Block) -> Iterator[Passage]:
    check_budget()
    leaves = [leaf for leaf in block.leaves() if leaf.start < leaf.end]
    one = {leaf.language for leaf in leaves if leaf.reads}
    if not block.children or (block.kind == "pair" and len(one) == 1 and all(leaf.reads for leaf in leaves)):
        language = one.pop() if one else ""
        extractor = languages.extractor_for(language) if language else None
        if extractor is not None:
            escaped = block.outer[0] == block.start - 1 and document.text[block.outer[0]] == '"'
            yield Passage(block, clean(document.text, block.start, block.end, escaped=escaped), extractor)
        return
    for child in block.children:
        yield from _passages(document, child)
