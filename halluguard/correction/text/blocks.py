"""Read an answer into its tree of blocks: thoughts, front matter, JSON, and markdown by markdown-it-py.

markdown-it gives blocks by lines; the places of words in those lines are found here. What markdown does not know is
added: label-value pairs ("Title: A dog"), keyword and tag lines ("beach, man, kite"), bullets such as "•".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from halluguard.correction.text.budget import check_budget
from halluguard.correction.text.document import Block, BlockKind, Document
from halluguard.correction.text.json_blocks import find_json, json_blocks, json_end, looks_like_json
from halluguard.correction.text.lines import line_blocks
from halluguard.thinking import thoughts

# Indented code, references and HTML are not blocks of an answer; inline markup is read by `markup.py`.
_MARKDOWN = MarkdownIt("commonmark").enable("table").disable(["code", "reference", "html_block", "inline"])


def _look_at_budget(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    """A rule of markdown-it that never applies, tried at every block: it looks at the budget of time."""
    check_budget()
    return False


_MARKDOWN.block.ruler.before("table", "budget", _look_at_budget)
_PLAIN = re.compile(r"\A[ \t]*(?:[^\W\d_]|[(\"'“‘])[^\n\r|]*\Z")
_BULLET = re.compile(r"^([ \t]*)[•‣◦▪▫●○·–—*+](?=[ \t])", re.MULTILINE)
_KEY_AFTER_ITEM = re.compile(r"^(?:[-*+•] |[ \t])[^\n]*\n(?=[A-Za-z][\w ]{0,30}:(?:[ \t]|$))", re.MULTILINE)
_FRONT = re.compile(r"\A\s*---[ \t]*\n(.{0,5000}?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKER = re.compile(r"[ \t]*(?:(?:[-*+•‣◦▪▫●○·–—>]|#{1,6}|\d{1,9}[.)])[ \t]+)*")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_JSON_LANGUAGES = ("json", "jsonc", "json5", "jsonl", "")
_TEXT_LANGUAGES = ("", "text", "txt", "markdown", "md", "plaintext")


_SPECIAL = re.compile(r"<\|[^<>|\n]{1,40}\|>")
"""Special tokens that a decoder has left in: "<|im_end|>", "<|begin_of_box|>"."""
_TURN = re.compile(
    r"(?:<\|(?:im_(?:start|end|user|assistant|system)|end(?:_of_text|_of_turn|oftext)?|eot_id|eom_id|user|assistant|"
    r"system)\|>|<(?:start|end)_of_turn>|</s>)+(?:(?:assistant|user|system|model)\b)?"
)
"""Special tokens between two turns: what stands after them is not part of the sentence before."""


def read_blocks(text: str) -> Document:
    """The tree of an answer; language and inline markup are added where its leaves are cleaned.

    >>> [(b.kind, text[b.start : b.end]) for text in ["- A dog.\\n- Cats: none"] for b in read_blocks(text).leaves()]
    [('prose', 'A dog.'), ('label', 'Cats'), ('term', 'none')]
    """
    children: list[Block] = []
    at = 0
    for start, end in [*thoughts(text), (len(text), len(text))]:
        children += _answer(text, at, start)
        if start < end:
            children.append(Block("thinking", start, end, (start, end), reads=False))
        at = end
    return Document(text, Block("document", 0, len(text), (0, len(text)), tuple(children)))


def _answer(text: str, start: int, end: int) -> list[Block]:
    """The blocks of an answer without its thoughts."""
    blocks, at = list[Block](), start
    for turn in _TURN.finditer(text, start, end):
        blocks += [*_turn(text, at, turn.start()), Block("code", *turn.span(), turn.span(), reads=False)]
        at = turn.end()
    return blocks + _turn(text, at, end)


def _turn(text: str, start: int, end: int) -> list[Block]:
    """The blocks of an answer between the marks of its turn."""
    start, end = _stripped(text, start, end)
    opening, closing = list[Block](), list[Block]()
    while mark := _SPECIAL.match(text, start, end):
        opening.append(Block("code", *mark.span(), mark.span(), reads=False))
        start, end = _stripped(text, mark.end(), end)
    while text.endswith("|>", start, end) and (mark := _SPECIAL.fullmatch(text, text.rfind("<|", start, end), end)):
        closing.insert(0, Block("code", *mark.span(), mark.span(), reads=False))
        start, end = _stripped(text, start, mark.start())
    return [*opening, *_words(text, start, end), *closing]


def _words(text: str, start: int, end: int) -> list[Block]:
    """The blocks of an answer without the special tokens of its model around it."""
    if start == end:
        return []
    if _PLAIN.match(text[start:end]) and not looks_like_json(text[start:end]):
        return [_paragraph(text, [(start, end)])]
    blocks: list[Block] = []
    front = _FRONT.match(text[start:end])
    if front:
        inside = (start + front.start(1), start + front.end(1))
        outer = (start, start + len(front[0].rstrip()))
        blocks.append(Block("front_matter", *inside, outer, tuple(_markdown(text, *inside))))
        start += front.end()
    for first, last in find_json(text, start, end):
        blocks += [*_markdown(text, start, first), json_blocks(text, first, last)]
        start = last
    if looks_like_json(text[start:end]) and not blocks:
        return [Block("code", start, end, (start, end), label="json", reads=False)]
    return blocks + _markdown(text, start, end)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _markdown(text: str, start: int, end: int) -> list[Block]:
    """The markdown blocks of a range; a key at the margin ends the list before it, as in YAML."""
    keys = [match.end() for match in _KEY_AFTER_ITEM.finditer(text, start, end)]
    return [block for a, b in pairwise([start, *keys, end]) for block in _run(text, a, b)]


def _run(text: str, start: int, end: int) -> list[Block]:
    if not text[start:end].strip(" \t\r\n.,;"):
        return []
    source = text[start:end]
    lines = [(start + m.start(), start + m.start() + len(m[0].rstrip("\r\n"))) for m in _LINE.finditer(source)]
    shown = _BULLET.sub(r"\1-", source).replace("\x00", " ")
    return list(_Tree(text, lines).blocks(_MARKDOWN.parse(shown)))


class _Tree:
    """Turns the tokens of markdown-it into blocks of the original text."""

    def __init__(self, text: str, lines: Sequence[tuple[int, int]]) -> None:
        self.text, self.lines = text, lines

    def blocks(self, tokens: Sequence[Token], *, item: bool = False) -> Iterator[Block]:
        """The blocks of a run of sibling tokens; a label that ends a block is handed to the one after it."""
        label, at = "", 0
        while at < len(tokens):
            check_budget()
            last = at + 1
            while tokens[at].nesting == 1 and tokens[last].level > tokens[at].level:
                last += 1
            block = self._block(tokens[at], tokens[at + 1 : last], label, item=item)
            at = last + (tokens[at].nesting == 1)
            if block is not None:
                label = _announces(self.text, block)
                yield block

    def _block(self, token: Token, inside: Sequence[Token], label: str, *, item: bool) -> Block | None:
        if token.map is None or token.type == "hr":
            return None
        if token.type in ("paragraph_open", "heading_open"):
            pieces = list(self._pieces(token, inside[0].content))
            if not pieces:
                return None
            if token.type == "paragraph_open":
                return _paragraph(self.text, pieces, label, item=item)
            start, end = pieces[0][0], pieces[-1][1]
            words = Block("label", start, end, (start, end))
            return Block("heading", start, end, self._lines_of(token), (words,))
        if token.type == "fence":
            return self._fence(token)
        if token.type == "table_open":
            return self._table(token, inside)
        kind: BlockKind = {"list_item_open": "item", "blockquote_open": "quote"}.get(token.type, "list")  # type: ignore[assignment]
        children = tuple(self.blocks(inside, item=kind == "item"))
        if not children:
            return None
        start, end = children[0].outer[0], children[-1].outer[1]
        first, number = start, None
        if kind == "item":
            first, number = self._marker(token, start)
        elif kind == "quote":
            first = self._marker(token, start)[0]
        return Block(kind, start, end, (first, end), children, label, number)

    def _lines_of(self, token: Token) -> tuple[int, int]:
        """The characters of a block's lines, from its first sign to its last word."""
        first, last = token.map or (0, 1)
        start, end = _stripped(self.text, self.lines[first][0], self.lines[min(last, len(self.lines)) - 1][1])
        return self._marker(token, end)[0] if start == end else start, end

    def _pieces(self, token: Token, content: str) -> Iterator[tuple[int, int]]:
        """The character ranges of the lines of a block's content."""
        first = (token.map or (0, 0))[0]
        for number, words in enumerate(content.split("\n")):
            start, end = self.lines[min(first + number, len(self.lines) - 1)]
            words = words.strip()
            at = self.text.rfind(words, start, end) if words else -1
            if at < 0 and words:
                at = start + _MARKER.match(self.text[start:end]).end()  # type: ignore[union-attr]  # matches ""
                words = self.text[at:end].rstrip()
            if words and at < end:
                yield at, at + len(words)

    def _marker(self, token: Token, content: int) -> tuple[int, tuple[int, int] | None]:
        """First character of an item's marker, and the characters of its number."""
        line = self.lines[bisect_right(self.lines, content, key=lambda line: line[0]) - 1][0]
        before = self.text[line:content]
        signs = list(re.finditer(r"(?:[-*+•‣◦▪▫●○·–—>]|(\d{1,9})[.)])(?=[ \t]|\Z)", before))
        depth = [m for m in signs if m[0] == ">"] if token.type == "blockquote_open" else signs
        if not depth:
            return content, None
        sign = depth[-1]
        number = (line + sign.start(1), line + sign.end(1)) if sign[1] else None
        return line + sign.start(), number

    def _fence(self, token: Token) -> Block:
        first, last = token.map or (0, 1)
        language = (token.info.split() or [""])[0].lower()
        outer = _stripped(self.text, self.lines[first][0], self.lines[min(last, len(self.lines)) - 1][1])
        start = self.lines[min(first + 1, len(self.lines) - 1)][0]
        end = self.lines[min(last, len(self.lines)) - 1][1]
        if self.text[start:end].rstrip().endswith((token.markup, "~~~")):
            end = start + self.text[start:end].rstrip().rfind("\n") + 1
        start, end = _stripped(self.text, min(start, outer[1]), max(min(start, outer[1]), end))
        children: tuple[Block, ...] = ()
        if language in _JSON_LANGUAGES and json_end(self.text, start) == end:
            children = (json_blocks(self.text, start, end),)
        elif language in _TEXT_LANGUAGES and not looks_like_json(self.text[start:end]):
            children = tuple(_answer(self.text, start, end))
        return Block("code", start, end, outer, children, language, reads=bool(children))

    def _table(self, token: Token, inside: Sequence[Token]) -> Block:
        rows = tuple(self._row(t) for t in inside if t.type == "tr_open" and t.map)
        start, end = rows[0].outer[0], rows[-1].outer[1]
        # The rule below the header belongs to the header.
        rule = _stripped(self.text, *self.lines[(inside[1].map or (0, 0))[0] + 1])
        head = Block("heading", rows[0].start, rows[0].end, (start, rule[1]), rows[0].children, reads=True)
        return Block("table", start, max(end, rule[1]), (start, max(end, rule[1])), (head, *rows[1:]))

    def _row(self, token: Token) -> Block:
        start, end = _stripped(self.text, *self.lines[(token.map or (0, 1))[0]])
        bars = [m.start() for m in re.finditer(r"(?<!\\)\|", self.text[start:end])]
        edges = [-1, *bars, end - start] if not bars or bars[0] else [*bars, end - start]
        cells = []
        for a, b in pairwise(edges):
            first, last = _stripped(self.text, start + a + 1, start + b)
            if first < last:
                kind: BlockKind = "prose" if len(self.text[first:last].split()) > 4 else "cell"
                cells.append(Block(kind, first, last, (first, last)))
        label = self.text[cells[0].start : cells[0].end] if cells else ""
        return Block("row", start, end, (start, end), tuple(cells), label, reads=bool(cells))


def _paragraph(text: str, pieces: Sequence[tuple[int, int]], label: str = "", *, item: bool = False) -> Block:
    """A paragraph of one or more lines."""
    children = tuple(line_blocks(text, pieces, label, item=item))
    start, end = pieces[0][0], pieces[-1][1]
    return Block("paragraph", start, end, (start, end), children)


def _announces(text: str, block: Block) -> str:
    """The label at the end of a block that has no value: "Keywords:" above a list."""
    last = block
    while last.children and last.kind not in ("pair", "list"):
        last = last.children[-1]
    if last.kind == "label" or (last.kind == "pair" and len(last.children) == 1):
        return last.label
    return text[block.start : block.end] if block.kind == "heading" else ""
