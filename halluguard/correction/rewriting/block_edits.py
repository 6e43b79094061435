"""Edit an answer's structure: delete whole items, rows, pairs, terms and JSON elements, and renumber lists.

Where a false object is named as a keyword, a label, a heading or the first cell of a row, its whole block is deleted:
the bullet under "**Umbrella:**" is about nothing else. Blocks that lose all their words are deleted too: a list without
items, the heading of an empty section. Siblings are never touched.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from halluguard.correction.rewriting import block_totals, restating, term_lists
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.token_editor import Span
from halluguard.correction.text.budget import check_budget
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.lexicon import FINITE_TAGS
from halluguard.correction.text.lines import is_field
from halluguard.vocabulary import singular

_NAMES = ("term", "label", "cell")
NAMING_KEYS = frozenset("label name object class category type item entity tag thing title subject element".split())
_STAYS = ("document", "object", "array", "code", "member", "cell")
"""Blocks that stay when they are empty: what was valid JSON or a table stays so."""


_SPECIAL = re.compile(r"<\|?[^<>\s]{1,40}\|?>")
_LONG_NAME = 5
"""Number of tokens from which a name may hold more than one thing."""


class BlockEditor:
    """Decides which blocks are deleted as a whole.

    Args:
        heads: token to delete -> index of the verdict.
    """

    def __init__(self, plan: EditPlan, document: Document, heads: Mapping[int, int]) -> None:
        self.plan, self.document, self.heads = plan, document, heads
        self.parent: dict[int, Block] = {}
        self._tokens: dict[int, list[int]] = {}
        self._adopt(document.root)
        for i in range(len(plan.parse)):
            leaf = plan.parse.leaf(i)
            if leaf is not None:
                self._tokens.setdefault(id(leaf), []).append(i)
        self.gone: list[Block] = []
        self.restated: list[Span] = []
        self.causes: list[tuple[int, int, frozenset[int]]] = []  # of blocks that hold no tokens of the parse

    def _adopt(self, block: Block) -> None:
        queue = [block]
        while queue:
            parent = queue.pop()
            for child in parent.children:
                self.parent[id(child)] = parent
                queue.append(child)

    def tokens(self, block: Block) -> list[int]:
        """The tokens of all words of a block."""
        return sorted(i for leaf in block.leaves() for i in self._tokens.get(id(leaf), ()))

    # -- names ---------------------------------------------------------------------------------------------------------

    def remove_named(self) -> set[int]:
        """Remove the blocks that name a contradicted object; returns the sentences that need no other edit."""
        parse = self.plan.parse
        settled = set[int]()
        for token in sorted(self.heads):
            leaf = parse.leaf(token)
            if leaf is None or leaf.kind not in _NAMES or not self.plan.editor.alive(token):
                continue
            unit = self._unit(leaf)
            if unit is None or self._names_others(leaf) or self._says_more(leaf, token):
                continue
            sentence = parse.sentence[token]
            field = leaf.kind == "term" and is_field(leaf.label)
            if field or (unit.kind == "pair" and len(self._tokens[id(leaf)]) >= _LONG_NAME):
                self.plan.flag(sentence, self.heads, f"the whole entry {leaf.label or unit.label!r} would be lost")
                settled.add(sentence)
            elif self._remove(unit, sentence):
                settled.update(parse.sentence[i] for i in self.tokens(unit))
                if unit.kind == "heading":
                    settled |= self._remove_section(unit, self.heads[token])
            elif unit.kind == "row":
                self.plan.flag(sentence, self.heads, "other things of its row would be lost")
                settled.add(sentence)
        return settled

    def _names_others(self, leaf: Block) -> bool:
        """Whether the name also names something that must stay: "dog and kite"."""
        inside = set(self._tokens.get(id(leaf), ()))
        return any(m.last in inside and self.plan.worth_keeping(n) for n, m in enumerate(self.plan.mentions))

    def _says_more(self, leaf: Block, token: int) -> bool:
        """Whether a long name holds a noun that does not belong to the thing: "Arundel Cathedral and a Cottage"."""
        parse, inside = self.plan.parse, self._tokens.get(id(leaf), [])
        own = (
            {*parse.subtree(token), *parse.chain(token)}
            if parse.deps[token] == "compound"
            else set(parse.subtree(token))
        )
        nouns = [i for i in inside if parse.tags[i][:2] == "NN" and i not in own]
        return len(inside) >= _LONG_NAME and bool(nouns)

    def _unit(self, leaf: Block) -> Block | None:
        """The block to delete with a name; None if only the words can be deleted."""
        above = self.parent[id(leaf)]
        if leaf.kind == "cell":
            return above if above.kind == "row" and self._names_row(leaf, above) else None
        member = next((block for block in self._above(leaf) if block.kind == "member"), None)
        if leaf.kind == "term" and member is not None and above is member:
            holder = self.parent[id(member)]
            named = member.label.lower() in NAMING_KEYS and holder.kind == "value"
            return holder if named else None
        if leaf.kind == "term" and above.kind == "pair" and above.label.lower() in NAMING_KEYS:
            item = next((block for block in self._above(leaf) if block.kind == "item"), None)
            if item is not None and next(self._leaves(item)) is above.children[0]:
                return item  # "- name: knife"
        unit = leaf
        while above.removable:
            opens = above.kind in ("pair", "item", "member") and next(self._leaves(above), leaf) is leaf
            if not opens and len(above.children) > 1:
                break
            unit = above
            if unit.kind in ("item", "row", "heading", "value"):
                break
            above = self.parent[id(above)]
        return unit if unit.removable else None

    def _names_row(self, cell: Block, row: Block) -> bool:
        """Whether a row is about what the cell names: the first cell with letters, or one under "Object"."""
        text = self.plan.parse.text
        first = next((c for c in row.children if any(map(str.isalpha, text[c.start : c.end]))), None)
        head = self.parent[id(row)].children[0]
        column = next(n for n, other in enumerate(row.children) if other is cell)
        above = head.children[column] if len(head.children) == len(row.children) else cell
        words = re.findall(r"[a-z]+", text[above.start : above.end].lower())
        return cell is first or any(singular(word) in NAMING_KEYS for word in words)

    def _above(self, block: Block) -> Iterator[Block]:
        while id(block) in self.parent:
            block = self.parent[id(block)]
            yield block

    def _leaves(self, block: Block) -> Iterator[Block]:
        return (leaf for leaf in block.leaves() if leaf.reads)

    def _remove(self, unit: Block, sentence: int) -> bool:
        """Remove a block; what it alone named is stated in its place. False where neither can be done."""
        plan = self.plan
        cut = {i for i in self.tokens(unit) if plan.editor.alive(i)}
        why = {self.heads[i] for i in cut if i in self.heads}
        lost = plan.worth_stating(plan.lost(cut), cut)
        if (unit.kind in ("item", "pair") and unit.label) or any(leaf.kind == "label" for leaf in unit.leaves()):
            lost = {n for n in lost if not self._is_attribute(n)}
        if unit.kind == "row":
            lost = {n for n in lost if not plan.named_outside(n, cut)}
        if lost and unit.kind == "heading":
            return False
        if lost:
            wholes = len(lost) <= restating.MOST and all(map(plan.can_be_stated, lost))
            if not wholes or unit.kind not in ("item", "pair", "paragraph"):
                return False
            phrases = [restating.phrase(plan.editor, plan.mentions[n], set(self.heads)) for n in sorted(lost)]
            text = restating.statement(phrases)
            self.restated.append(Span(unit.start, unit.end, text, frozenset(why)))
            plan.restate.setdefault(sentence, set()).update(lost)
        else:
            self.gone.append(unit)
        plan.editor.delete(cut, why)
        return True

    def _remove_section(self, heading: Block, why: int) -> set[int]:
        """Delete what the section of a deleted heading tells of nothing else: "The frame is black." under "Clock"."""
        plan, parse = self.plan, self.plan.parse
        settled = set[int]()
        for block in _section(parse.text, self.parent[id(heading)].children, heading):
            for sentence in {parse.sentence[i] for i in self.tokens(block)}:
                first, end = parse.sentences[sentence]
                leaf = parse.leaf(first)
                own = {n for n, m in enumerate(plan.mentions) if first <= m.last < end}
                tells = any(plan.worth_keeping(n) and not self._belongs(n) for n in own)
                if leaf is not None and leaf.kind == "prose" and not tells and not own & plan.wrongly_denied:
                    plan.editor.delete(range(first, end), {why})
                    settled.add(sentence)
        return settled

    def _belongs(self, mention: int) -> bool:
        """Whether "the frame" was not named before, so that it is a part of what its section is about."""
        plan, named = self.plan, self.plan.mentions[mention]
        definite = any(plan.parse.words[j] in ("the", "its", "their") for j in plan.parse.children[named.last])
        return definite and not any(m.name == named.name for m in plan.mentions[:mention])

    def _is_attribute(self, mention: int) -> bool:
        """Whether a noun only tells of what the label names: "Boat: wooden, red hull", "Hull: dark with a stripe"."""
        parse, named = self.plan.parse, self.plan.mentions[mention]
        top = parse.first_conjunct(named.last)
        fitted = parse.deps[top] == "pobj" and parse.words[parse.heads[top]] == "with" and named.category is None
        sentence = parse.sentences[parse.sentence[named.last]]
        if fitted and not any(parse.tags[i] in FINITE_TAGS for i in range(*sentence)):
            return True
        own = any(parse.deps[j] in ("det", "nummod", "poss") for j in parse.children[named.last])
        return not own and not named.plural and named.category is None

    # -- what is left empty --------------------------------------------------------------------------------------------

    def remove_empty(self) -> None:
        """Remove blocks of which the edits left no words, and the labels and headings that announced them."""
        self._sweep(self.document.root)

    def _sweep(self, block: Block) -> bool:
        """Whether all words of a block were deleted; the block is then added to `gone`."""
        check_budget()
        if any(block is other for other in self.gone):
            return True
        if any(span.start == block.start and span.end == block.end for span in self.restated):
            return False
        if not block.children:
            return block.reads and self._emptied(block)
        empty = [self._sweep(child) for child in block.children]
        self._headings(block, empty)
        content = [not _announces(child) for child in block.children]
        lost_all = any(empty) and all(e or not c for e, c in zip(empty, content, strict=True))
        lost_all = (lost_all and any(e and c for e, c in zip(empty, content, strict=True))) or all(empty)
        if lost_all and block.kind not in _STAYS:
            if block.removable:
                self._forget(block)
                self.gone.append(block)
            return True
        for child, is_empty in zip(block.children, empty, strict=True):
            in_member = block.kind == "member"
            if is_empty and child.removable and not in_member and not any(child is other for other in self.gone):
                self.gone.append(child)
        return all(empty) and block.kind not in _STAYS

    def _forget(self, block: Block) -> None:
        """Drop the blocks inside a block that is deleted as a whole."""
        inside = {id(block)}
        queue = [block]
        while queue:
            queue += (children := list(queue.pop().children))
            inside.update(map(id, children))
        self.gone = [other for other in self.gone if id(other) not in inside]

    def _emptied(self, leaf: Block) -> bool:
        tokens = self._tokens.get(id(leaf), [])
        had = [i for i in tokens if self.plan.editor.original(i)[:1].isalnum()]
        return (
            bool(had)
            and not any(self.plan.editor.alive(i) for i in had)
            and not any(any(map(str.isalnum, self.plan.editor.tokens[i])) for i in tokens)
        )

    def _headings(self, block: Block, empty: list[bool]) -> None:
        """Delete a heading, or the line that announces a list, with the last block of its section."""
        children = block.children
        for n, child in enumerate(children):
            if empty[n] or not child.removable:
                continue
            if child.kind == "heading" and block.kind != "table":
                section = len(list(_section(self.plan.parse.text, children, child)))
                goes = section > 0 and all(empty[n + 1 : n + 1 + section])
            else:
                follows = n + 1 < len(children) and children[n + 1].kind in ("list", "table", "keywords")
                goes = follows and empty[n + 1] and _announces(child)
                if follows and empty[n + 1] and child.kind == "list" and _announces(child.children[-1]):
                    self.gone.append(child.children[-1])  # "10. **Help:**" before a list that was not indented enough
            if goes:
                empty[n] = True
                self.gone.append(child)

    def nothing_left(self) -> bool:
        """Whether all words of an answer were deleted; blocks that are not read do not count."""
        in_words = ("paragraph", "heading", "list", "quote", "thinking")
        others = {id(leaf) for leaf in self.document.in_other_languages()}
        others -= {id(leaf) for block in self.gone for leaf in block.leaves()}
        alive = bool(others) or any(self.plan.editor.alive(i) for i in range(len(self.plan.parse)))
        return (
            bool(self.gone)
            and not alive
            and not self.restated
            and all(child.kind in in_words for child in self.document.root.children if _has_words(self.plan, child))
        )

    def put_fallback(self, text: str, why: Iterable[int]) -> None:
        """Put a sentence in the place of the last paragraph."""
        last = next(child for child in reversed(self.document.root.children) if child.reads)
        self.gone = [block for block in self.gone if block is not last]
        self.restated.append(Span(last.start, last.end, text, frozenset(why)))

    # -- characters ----------------------------------------------------------------------------------------------------

    def spans(self) -> list[Span]:
        """The characters that are deleted or changed: whole blocks, statements in their place, and renumbered items."""
        text = self.plan.parse.text
        cuts = [
            Span(*_widest_separator(text, start, end), "", frozenset(self._causes(start, end)))
            for start, end in self.document.cut(self.gone)
        ]
        spans = [*cuts, *self.restated, *self._numbers(self.document.root), *self._term_lists(), *self._totals()]
        return sorted((s for s in spans if text[s.start : s.end] != s.after), key=lambda span: span.start)

    def _totals(self) -> Iterator[Span]:
        """The totals that the deleted blocks change, where their sentences have no other edit."""
        for start, end, after, cause in block_totals.corrected(self.document, self.gone):
            token = bisect_left(self.plan.parse.ends, end)
            inside = token < len(self.plan.parse) and self.plan.parse.starts[token] <= start
            if not inside or not self.plan.editor.changed(token):
                yield Span(start, end, after, frozenset(self._causes(*cause.outer)))

    def _term_lists(self) -> Iterator[Span]:
        queue = [self.document.root]
        while queue:
            block = queue.pop()
            queue += block.children
            if block.kind == "keywords" and not any(block is other for other in self.gone):
                terms = [child for child in block.children if child.kind == "term"]
                why = frozenset(self._causes(block.start, block.end))
                yield from term_lists.mended(self.plan.parse.text, terms, self.gone, why)

    def _causes(self, start: int, end: int) -> set[int]:
        plan = self.plan
        check_budget()
        inside = [i for i in range(len(plan.parse)) if start <= plan.parse.starts[i] < end]
        others = (why for first, last, why in self.causes if first < end and start < last)
        return set().union(*(plan.editor.why[i] for i in inside), *others)

    def _numbers(self, block: Block) -> Iterator[Span]:
        queue = [block]
        while queue:
            parent = queue.pop()
            numbered = [child for child in parent.children if child.number is not None]
            left = [child for child in numbered if not any(child is other for other in self.gone)]
            if len(left) < len(numbered):
                first_gone = next(child for child in numbered if child not in left)
                why = frozenset(self._causes(*first_gone.outer))
                for item, place in zip(left, numbered, strict=False):
                    if item.number is not None and place.number is not None:
                        yield Span(*item.number, self.plan.parse.text[slice(*place.number)], why)
            queue += [child for child in parent.children if not any(child is other for other in self.gone)]


def _widest_separator(text: str, start: int, end: int) -> tuple[int, int]:
    """The characters to delete with a block in the middle, so that the wider of the two gaps around it stays."""
    before, after = len(text[:start].rstrip()), len(text[:end].rstrip())
    if (
        before > 0
        and start < after < end < len(text)
        and text.count("\n", after, end) > text.count("\n", before, start)
    ):
        return before, after
    return start, end


def _section(text: str, siblings: Sequence[Block], heading: Block) -> Iterator[Block]:
    """The blocks after a heading up to the next one of its level or above."""
    start = next(n for n, block in enumerate(siblings) if block is heading)
    for block in siblings[start + 1 :]:
        if block.kind == "heading" and _level(text, block) <= _level(text, heading):
            return
        yield block


def _has_words(plan: EditPlan, block: Block) -> bool:
    """Whether a block holds more than the special tokens of a chat template."""
    return bool(_SPECIAL.sub("", plan.parse.text[slice(*block.outer)]).strip())


def _announces(block: Block) -> bool:
    """Whether a block only names what follows: a label, or a line with nothing but one."""
    return all(leaf.kind == "label" for leaf in block.leaves())


def _level(text: str, heading: Block) -> int:
    """The level of a heading, by its number signs; a heading written otherwise counts as the lowest."""
    mark = text[heading.outer[0] : heading.start]
    return mark.count("#") or 7
