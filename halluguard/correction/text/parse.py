"""One parse of an answer as plain lists, shared by all rules of extraction and rewriting.

spaCy's documents hold on to its string store; a `Parse` does not, so texts stream in flat memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import TypeVar, cast

from halluguard.correction.text.budget import Budget, check_budget
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.lexicon import VERB_TAGS
from halluguard.records import XYXY

SUBJECTS = ("nsubj", "nsubjpass", "expl", "csubj")
"""Dependency labels of subjects."""
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Parse:
    """Tokens of `text` as columns; a token is an index.

    Args:
        text: the original string, untouched.
        words: lower-case token texts.
        tags, deps, heads: Penn tags, dependency labels, index of the head (a root heads itself).
        starts, ends: character offsets, `text[starts[i]:ends[i]]` is token i.
        sentence: sentence index of each token.
        sentences: first and one-past-last token of each sentence.
        children: indices of the tokens headed by each token, left to right.
        outer: token -> first and one-past-last character with the markup that belongs to it alone.
        boxes: token -> boxes written right after it, fractions of width and height.
        document: the tree of the text.
        leaves: the leaves of the document that are read, in reading order.
        block: index in `leaves` of the leaf that each token stands in.
        quoted: tokens in quotation marks.
        denied: leaves that a label denies ("Dogs: none", "Not visible: dogs").
        folded: leaves whose words were read in lower case, because their capitals say nothing.
        budget: the time that reading and correcting the text may take, and has taken so far.
        found: results of the functions that are decorated with `once`, by name.
    """

    text: str
    words: list[str]
    tags: list[str]
    deps: list[str]
    heads: list[int]
    starts: list[int]
    ends: list[int]
    sentence: list[int]
    sentences: list[tuple[int, int]]
    children: list[list[int]] = field(repr=False)
    outer: dict[int, tuple[int, int]] = field(default_factory=dict)
    boxes: dict[int, tuple[XYXY, ...]] = field(default_factory=dict)
    document: Document | None = field(default=None, repr=False)
    leaves: list[Block] = field(default_factory=list, repr=False)
    block: list[int] = field(default_factory=list)
    quoted: set[int] = field(default_factory=set)
    folded: set[int] = field(default_factory=set)
    denied: set[int] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget, repr=False, compare=False)
    found: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    def leaf(self, token: int) -> Block | None:
        """The leaf of the document that the token stands in; None where the parse has no document."""
        return self.leaves[self.block[token]] if self.leaves else None

    def extent(self, token: int) -> tuple[int, int]:
        """The characters that go when the token goes."""
        return self.outer.get(token, (self.starts[token], self.ends[token]))

    def __len__(self) -> int:
        return len(self.words)

    def span(self, first: int, last: int) -> str:
        """The text of tokens first..last, both included."""
        return self.text[self.starts[first] : self.ends[last]]

    def subtree(self, token: int) -> list[int]:
        """The token and everything under it, in reading order."""
        check_budget()
        tokens, queue = [token], list(self.children[token])
        while queue:
            i = queue.pop()
            tokens.append(i)
            queue += self.children[i]
        return sorted(tokens)

    def chain(self, token: int) -> Iterator[int]:
        """The token's head, its head's head, ... up to the root."""
        while self.heads[token] != token:
            token = self.heads[token]
            yield token

    def first_conjunct(self, token: int) -> int:
        """The first member of the list that the token is in (itself when it is in none)."""
        while self.deps[token] == "conj" and self.heads[token] != token:
            token = self.heads[token]
        return token

    def conjuncts(self, token: int) -> list[int]:
        """The heads of all members of the list that the token is in, in reading order; [token] when it is in none."""
        check_budget()
        top = token
        while self.deps[top] == "conj" and self._same_kind(top, self.heads[top]):
            top = self.heads[top]
        members = [top]
        for i in members:  # grows as it goes
            members += [j for j in self.children[i] if self.deps[j] == "conj" and self._same_kind(i, j)]
        verb = self.heads[top]
        # "Three bags are here; one near a wall, others further away": what follows the verb is not a second subject.
        after_verb = {i for i in members if top < verb < i and self.deps[top] in SUBJECTS}
        return sorted(i for i in members if i not in after_verb or i == token)

    def _same_kind(self, a: int, b: int) -> bool:
        """Whether two tokens are both verbs, or neither is."""
        return (self.tags[a] in VERB_TAGS) == (self.tags[b] in VERB_TAGS)

    def hang(self, token: int, head: int) -> None:
        """Give a token another head; nothing happens if the head is below the token, which would close a circle."""
        if token != head and token in self.chain(head):
            return
        if token in self.children[self.heads[token]]:
            self.children[self.heads[token]].remove(token)
        self.heads[token] = head
        if head != token:
            self.children[head] = sorted([*self.children[head], token])

    def make_root(self, verb: int, subject: int) -> None:
        """Make a verb the root of its sentence, and a token above it its subject."""
        self.children[self.heads[verb]].remove(verb)
        self.heads[verb], self.deps[verb] = verb, "ROOT"
        self.heads[subject], self.deps[subject] = verb, "nsubj"
        self.children[verb] = sorted([subject, *self.children[verb]])

    def child(self, token: int, *deps: str) -> int | None:
        """The first child with one of these labels."""
        return next((i for i in self.children[token] if self.deps[i] in deps), None)


def once(rule: Callable[[Parse], Found]) -> Callable[[Parse], Found]:
    """A rule whose result is kept with the parse; extraction and rewriting read the same text.

    Args:
        rule: a function of a finished parse. Nobody changes what it returns.
    """
    name = f"{rule.__module__}.{rule.__qualname__}"

    @wraps(rule)
    def remembered(parse: Parse) -> Found:
        if name not in parse.found:
            parse.found[name] = rule(parse)
        return cast(Found, parse.found[name])

    return remembered
