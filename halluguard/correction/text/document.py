"""An answer as a tree of blocks, each with its exact place in the original string.

    # Toys                          heading
                                    list
    1. **Kite:** It is red.           item > pair (label "Kite", value "It is red.")
    2. A dog and a [cat](u).          item > prose
    Keywords: lamp, Red Kite        pair > keywords > term, term

What reads and edits an answer needs to know of it:

    block.start, block.end          the words themselves, markers left out: `text[start:end]`
    block.outer                     what goes when the block goes whole: the line with marker and children for items,
                                    rows and headings; ", dog" for one term of a list or one JSON element
    block.children                  blocks inside, in reading order
    block.removable                 whether it may go whole and leave a sound text: items, rows, terms, JSON elements
                                    and members, pairs, headings, paragraphs
    block.number                    the characters of an ordered item's number, for numbering again
    document.leaves()               the blocks that hold words: prose, terms, labels
    document.path(at)               the blocks around a character, outermost first
    document.markup                 emphasis, code ticks, links, quotation marks: `inner` is what they enclose; when all
                                    of `inner` goes, `start:end` goes too

A parse carries its document: `parse.document`, and `parse.block[token]`, the leaf that a token stands in. Sentences
never cross leaves.

A leaf of kind "prose" is parsed as sentences, one of kind "term" or "label" as the name of one thing. Blocks with
`reads` False (thinking, code, front matter of a tool, other languages) are never read and never edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

BlockKind = Literal[
    "document", "thinking", "front_matter", "heading", "paragraph", "quote", "list", "item", "pair", "label",
    "keywords", "term", "table", "row", "cell", "code", "json", "object", "array", "member", "value", "prose",
]  # fmt: skip
MarkupKind = Literal["emphasis", "code", "link", "image", "footnote", "quotation", "tag", "emoji"]

REMOVABLE = frozenset(
    ("heading", "paragraph", "list", "item", "pair", "keywords", "term", "table", "row", "member", "value")
)
OPAQUE = frozenset(("thinking", "code"))


@dataclass(frozen=True, slots=True)
class Block:
    """One block of an answer.

    Args:
        kind: what it is; see `BlockKind`.
        start, end: characters of its words in the original string.
        outer: characters that go when it goes whole, its separator or line break included.
        children: the blocks inside, in reading order.
        label: the label of a pair ("Kite"), the key of a JSON member, the language of code.
        number: characters of the number of an ordered item ("2" in "2. A dog"), None elsewhere.
        reads: False for what is neither read nor edited.
        language: the language of words that are not read because they are not English, else "".
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
        """Whether it may go whole, with its `outer` characters, and leave a sound text."""
        return self.kind in REMOVABLE and self.reads

    def leaves(self) -> Iterator[Block]:
        """The blocks under it that hold words, itself when it has no children."""
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
        markup: inline markup of all prose, in reading order.
    """

    text: str
    root: Block
    markup: tuple[Markup, ...] = field(default=(), repr=False)

    def leaves(self) -> Iterator[Block]:
        """The blocks that hold words and are read, in reading order."""
        return (block for block in self.root.leaves() if block.reads)

    def path(self, at: int) -> list[Block]:
        """The blocks whose `outer` characters hold character `at`, outermost first."""
        path = [self.root]
        while inside := next((b for b in path[-1].children if b.outer[0] <= at < b.outer[1]), None):
            path.append(inside)
        return path
