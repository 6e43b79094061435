"""An answer as a tree of blocks, each with its exact place in the original string.

    # Toys                          heading > prose
                                    list
    1. **Kite:** It is red.           item > pair > label "Kite", prose "It is red."
    2. A dog and a [cat](u).          item > prose
    Keywords: lamp, Red Kite        paragraph > pair > label, keywords > term, term

Reading and editing share this tree:

    block.start, block.end          the words themselves, markers left out: `text[start:end]`
    block.outer                     the block with its marker ("2. "), brackets, key and children, without separators
    block.children                  the blocks inside, in reading order
    block.removable                 whether it may be deleted as a whole: items, rows, terms, JSON elements, pairs ...
    block.number                    the characters of an ordered item's number, for renumbering
    document.leaves()               the blocks that hold English words and are read
    document.path(at)               the blocks around a character, outermost first
    document.cut(blocks)            the characters to delete with these blocks, separators included
    document.markup                 emphasis, code ticks, links, quotation marks: `inner` is what they enclose; when all
                                    of `inner` is deleted, `start:end` is too

A parse carries its document: `parse.document`, and `parse.block[token]`, the index in `parse.leaves` of the leaf that a
token stands in. Sentences never cross leaves. A leaf of kind "prose" holds sentences, "term", "label" and "cell" the
name of one thing, "written" words that can be read in the image. Blocks with `reads` False (thinking, code, broken
JSON, languages without an extractor) are neither read nor edited. Leaves that the extractor of another language reads
carry its `language`. They are not leaves of the parse; `document.in_other_languages()` gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

from halluguard.correction.text.budget import check_budget

BlockKind = Literal[
    "document", "thinking", "front_matter", "heading", "paragraph", "quote", "list", "item", "pair", "label",
    "keywords", "term", "table", "row", "cell", "code", "object", "array", "member", "value", "prose", "written",
]  # fmt: skip
MarkupKind = Literal["emphasis", "code", "link", "image", "footnote", "quotation", "tag", "emoji", "escape"]

REMOVABLE = frozenset((
    "heading", "paragraph", "list", "item", "pair", "keywords", "term", "table", "row", "member", "value", "quote",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """One block of an answer.

    Args:
        kind: kind of block; see `BlockKind`.
        start, end: characters of its words in the original string.
        outer: the same with its marker, brackets, key and children; without separators and line breaks around it.
        children: the blocks inside, in reading order.
        label: the label of a pair or of what a label announces, the key of a JSON member, the language of code.
        number: characters of the number of an ordered item ("2" in "2. A dog"), None elsewhere.
        reads: False for what is neither read nor edited.
        language: ISO 639-1 code of words that are not English, else "". With `reads` an extractor of that language
            reads them, without it nothing does.
    """

    kind: BlockKind
    start: int
    end: int
    outer: tuple[int, int]
    children: tuple[Block, ...] = ()
    label: str = ""
    number: tuple[int, int] | None = None
    reads: bool = True
    language: str = ""

    @property
    def removable(self) -> bool:
        """Whether the whole block can be deleted and the text stays well formed."""
        return self.kind in REMOVABLE and self.reads

    def leaves(self) -> Iterator[Block]:
        """The descendants without children; the block itself if it has none."""
        queue = [self]
        while queue:
            block = queue.pop()
            if not block.children:
                yield block
            queue.extend(reversed(block.children))


@dataclass(frozen=True, slots=True)
class Markup:
    """Inline markup: characters start..end of the original, of which `inner` is what it encloses (empty for emoji)."""

    kind: MarkupKind
    start: int
    end: int
    inner: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """The tree of an answer.

    Args:
        text: the original string, untouched.
        root: the block of kind "document"; its children are the blocks of the answer.
        markup: inline markup of what is read, in reading order.
    """

    text: str
    root: Block
    markup: tuple[Markup, ...] = field(default=(), repr=False)

    def leaves(self) -> Iterator[Block]:
        """The blocks that hold English words and are read, in reading order."""
        return (block for block in self.root.leaves() if block.reads and block.start < block.end and not block.language)

    def in_other_languages(self) -> list[Block]:
        """The blocks without children that the extractors of other languages read, in reading order."""
        return [block for block in self.root.leaves() if block.reads and block.start < block.end and block.language]

    def path(self, at: int) -> list[Block]:
        """The blocks whose `outer` characters hold character `at`, outermost first."""
        path = [self.root]
        while inside := next((b for b in path[-1].children if b.outer[0] <= at < b.outer[1]), None):
            path.append(inside)
        return path

    def cut(self, blocks: Collection[Block]) -> list[tuple[int, int]]:
        """The character ranges to delete with these blocks, sorted, without overlap.

        Siblings keep exactly one separator (a comma, a line break, a blank line) between those that stay. Where all
        children of a block are deleted, only their own characters are given: delete the parent instead.
        """
        spans: list[tuple[int, int]] = []
        queue = [self.root]
        while queue:
            check_budget()
            parent = queue.pop()
            gone = [any(child is block for block in blocks) for child in parent.children]
            spans += _runs(parent.children, gone)
            queue += [child for child, goes in zip(parent.children, gone, strict=True) if not goes]
        return sorted(spans)


def _runs(siblings: tuple[Block, ...], gone: list[bool]) -> Iterator[tuple[int, int]]:
    """One span per run of deleted siblings: up to the next one that stays, or from the end of the last that stays."""
    n = len(siblings)
    first = 0
    while first < n:
        if not gone[first]:
            first += 1
            continue
        last = first
        while last + 1 < n and gone[last + 1]:
            last += 1
        start, end = siblings[first].outer[0], siblings[last].outer[1]
        if last + 1 < n:
            end = siblings[last + 1].outer[0]
        elif first > 0:
            start = siblings[first - 1].outer[1]
        yield start, end
        first = last + 1
