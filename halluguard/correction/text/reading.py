"""Parse a text: the tree of blocks, words cleaned of markup, spaCy, and places in the original string."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, islice, pairwise
from typing import TYPE_CHECKING

from halluguard.correction.text import written_boxes
from halluguard.correction.text.blas import one_thread
from halluguard.correction.text.blocks import read_blocks
from halluguard.correction.text.budget import Budget, check_budget, check_now
from halluguard.correction.text.document import Block, Document, Markup
from halluguard.correction.text.labels import denied_leaves
from halluguard.correction.text.language import check_language, mark_languages
from halluguard.correction.text.markup import Cleaned, clean
from halluguard.correction.text.names import add_name, is_plain_name
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.parse_repairs import mend
from halluguard.correction.text.pipeline import pipeline
from halluguard.correction.text.word_memory import WordMemory
from halluguard.correction.text.written_boxes import Written
from halluguard.errors import HalluguardError, InputError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MAX_CHARS = 200_000
_RUN = 250
"""Characters without a space that are read together: on brackets and quotes spaCy's tokenizer is quadratic."""
MAX_PARSED = 20_000
"""Characters that are parsed together; the parser's memory grows with them."""
_LONG = 4_000
"""A text with more characters is parsed separately, and the parsing counts towards its budget."""
_LONG_RUN = re.compile(rf"\S{{{_RUN + 1},}}")
_ONE_AT_A_TIME = threading.Lock()  # spaCy's memory zones may not overlap
_NAMES = ("label", "term", "cell")
_TITLE = re.compile(
    r"\W*(?:(?:page|image|photo|suggested|possible) )?(?:title|headline|heading|name)\W*", re.IGNORECASE
)
_LEAST_CAPITALS = 3
"""Words in capitals that make a line without a full stop a title; after the label "Title" one is enough."""
_WORD = re.compile(r"[^\W\d_]+")


def readable(text: object) -> str:
    """`text` itself when it can be read.

    Raises:
        InputError: not a string, too long, with lone surrogates, or not English.
        BudgetError: it takes longer than the budget that is running.
    """
    if not isinstance(text, str):
        raise InputError(f"an answer must be a string, got {type(text).__name__}; convert it or leave the row out")
    if len(text) > MAX_CHARS:
        raise InputError(f"an answer may have at most {MAX_CHARS:,} characters, got {len(text):,}; cut it into parts")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"an answer must be valid Unicode, got a lone surrogate at character {error.start}; "
            "read the file with the right encoding, or with errors='replace'"
        ) from None
    check_language(read_document(text))
    return text


@lru_cache(maxsize=256)
def read_document(text: str) -> Document:
    """The tree of an answer, with what is not English marked unread."""
    return mark_languages(read_blocks(text))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Words that are parsed together: characters start..end of the cleaned words of a leaf.

    Args:
        folded: whether the words are read in lower case.
        plain: whether the words are a name that needs no parser ("red barn").
    """

    leaf: int
    words: Cleaned
    start: int
    end: int
    folded: bool
    plain: bool = False

    @property
    def text(self) -> str:
        """The text that the parser reads."""
        text = self.words.text[self.start : self.end]
        lower = text.lower()
        return lower if self.folded and len(lower) == len(text) else text


def _pieces(leaves: Sequence[Block], text: str, boxes: Sequence[Written]) -> Iterator[_Piece]:
    taken = [(box.start, box.end) for box in boxes]
    for n, leaf in enumerate(leaves):
        check_budget()
        if leaf.kind == "written":
            continue
        escaped = leaf.outer[0] == leaf.start - 1 and text[leaf.outer[0]] == '"'
        words = clean(text, leaf.start, leaf.end, taken=taken, escaped=escaped)
        folded = leaf.kind in _NAMES or _capitals_say_nothing(words.text, _TITLE.fullmatch(leaf.label) is not None)
        for start, end in cut(words.text):
            if end - start < _RUN or _WORD.search(words.text, start, end):
                plain = leaf.kind in _NAMES and is_plain_name(words.text)
                yield _Piece(n, words, start, end, folded, plain)


def _capitals_say_nothing(text: str, is_title: bool) -> bool:
    """Whether the words are in capitals, or begin with capitals as in a title."""
    if text.isupper():
        return True
    words = [word for word in _WORD.findall(text) if len(word) > 3]
    sentence = text.rstrip().endswith((".", "!", "?")) and not is_title
    least = 1 if is_title else _LEAST_CAPITALS
    return len(words) >= least and not sentence and sum(word[0].isupper() for word in words) >= 0.8 * len(words)


def cut(text: str) -> list[tuple[int, int]]:
    """Character ranges to parse separately: a text that is too long is cut, and so is a long run without a space.

    >>> cut("A dog is on a couch.")
    [(0, 20)]
    """
    cuts = [at for run in _LONG_RUN.finditer(text) for at in range(run.start() + _RUN, run.end(), _RUN)]
    for start in range(MAX_PARSED, len(text), MAX_PARSED):
        space = text.rfind(" ", start - MAX_PARSED // 2, start)
        cuts.append(space if space > 0 else start)
    edges = [0, *sorted(set(cuts)), len(text)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def parse_many(texts: Iterable[str], *, batch_size: int = 64, nlp: Language | None = None) -> Iterator[Parse]:
    """Parse a stream of texts in flat memory; one `Parse` per text, in order.

    Args:
        texts: English texts that passed `readable`.
        batch_size: texts per spaCy batch; 16 to 128 are equally fast.
        nlp: a loaded pipeline with tagger and parser; default `pipeline()`.

    Raises:
        BudgetError: a text takes longer than `MAX_SECONDS`.
    """
    for parse in parse_each(((text, Budget()) for text in texts), batch_size=batch_size, nlp=nlp):
        if isinstance(parse, HalluguardError):
            raise parse
        yield parse


def parse_each(
    texts: Iterable[tuple[str, Budget]], *, batch_size: int = 64, nlp: Language | None = None, english: bool = False
) -> Iterator[Parse | HalluguardError]:
    """`parse_many` for texts that each come with a budget; for a text that takes longer, its error.

    A long text is parsed by itself, so that its cost is known. Short ones are parsed together, which no budget pays.

    Args:
        english: True for sentences of a text that was found to be English; their language is not looked at again.
    """
    read = read_blocks if english else read_document
    nlp = nlp or pipeline()
    stream = iter(texts)
    while shard := list(islice(stream, batch_size)):
        prepared = [_prepared(text, budget, read) for text, budget in shard]
        for is_long, group in groupby(prepared, key=lambda one: isinstance(one, _Prepared) and one.is_long):
            if is_long:
                for one in group:
                    yield _parsed_apart(one, nlp) if isinstance(one, _Prepared) else one
            else:
                yield from _parsed_together(list(group), batch_size, nlp)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A text that is ready for the parser."""

    document: Document
    leaves: list[Block]
    pieces: list[_Piece]
    boxes: list[Written]
    budget: Budget

    @property
    def is_long(self) -> bool:
        """Whether the text is parsed apart from others."""
        return len(self.document.text) >= _LONG

    def parse(self, docs: Iterator[Doc]) -> Parse:
        """The parse, given the documents of the pieces that are not plain."""
        parts = [(piece, None if piece.plain else next(docs)) for piece in self.pieces]
        parse = replace(_join(self.document, self.leaves, parts), budget=self.budget)
        _attach_boxes(parse, self.boxes)
        return parse


def _prepared(text: str, budget: Budget, read: Callable[[str], Document]) -> _Prepared | HalluguardError:
    try:
        with budget.running():
            document, boxes = read(text), written_boxes.find(text)
            leaves = list(document.leaves())
            return _Prepared(document, leaves, list(_pieces(leaves, text, boxes)), boxes, budget)
    except HalluguardError as error:
        return error


def _parsed_together(
    texts: Sequence[_Prepared | HalluguardError], batch_size: int, nlp: Language
) -> Iterator[Parse | HalluguardError]:
    """The parses of short texts."""
    good = [one for one in texts if isinstance(one, _Prepared)]
    words = [piece.text for one in good for piece in one.pieces if not piece.plain]
    with _alone(nlp, words):
        docs = nlp.pipe(words, batch_size=batch_size)
        parses = [one.parse(docs) if isinstance(one, _Prepared) else one for one in texts]
    yield from parses


def _parsed_apart(text: _Prepared, nlp: Language) -> Parse | HalluguardError:
    """The parse of a long text, read in steps of at most `MAX_PARSED` characters while its budget runs."""
    try:
        with text.budget.running(), _alone(nlp):
            return text.parse(_docs_in_steps([piece.text for piece in text.pieces if not piece.plain], nlp))
    except HalluguardError as error:
        return error


@contextmanager
def _alone(nlp: Language, words: Sequence[str] = ()) -> Iterator[None]:
    """The pipeline for one caller at a time, in a memory zone, with the frequent ones of the words learned before."""
    with _ONE_AT_A_TIME, one_thread():
        _word_memory(nlp).learn(words)
        with nlp.memory_zone():
            yield


@lru_cache(maxsize=4)
def _word_memory(nlp: Language) -> WordMemory:
    return WordMemory(nlp)


def _docs_in_steps(words: Sequence[str], nlp: Language) -> Iterator[Doc]:
    first = 0
    while first < len(words):
        last, size = first + 1, len(words[first])
        while last < len(words) and last - first < 64 and size + len(words[last]) <= MAX_PARSED:
            size += len(words[last])
            last += 1
        check_now()
        yield from nlp.pipe(words[first:last], batch_size=last - first)
        first = last


def of_doc(doc: Doc) -> Parse:
    """The parse of one spaCy document as a whole."""
    end = len(doc.text)
    leaf = Block("prose", 0, end, (0, end))
    document = Document(doc.text, Block("document", 0, end, (0, end), (leaf,)))
    words = Cleaned(doc.text, list(range(end)), list(range(1, end + 1)))
    return _join(document, [leaf], [(_Piece(0, words, 0, end, False), doc)])


def _join(document: Document, leaves: list[Block], parts: Sequence[tuple[_Piece, Doc | None]]) -> Parse:
    """The parses of a text's pieces as one; blank tokens are left to the gaps between tokens."""
    markup: list[Markup] = []
    parse = Parse(document.text, [], [], [], [], [], [], [], [], [], leaves=leaves)
    for piece, doc in parts:
        check_budget()
        first = len(parse)
        if doc is None:
            add_name(parse, piece.text, piece.words.starts, piece.words.ends)
        else:
            _add_doc(parse, piece, doc)
        parse.block.extend([piece.leaf] * (len(parse) - first))
        if piece.folded:
            parse.folded.add(piece.leaf)
        if piece.start == 0:
            markup += piece.words.markup
        _attach_markup(parse, piece.words, first)
    parse.children.extend([] for _ in parse.words)
    for i, head in enumerate(parse.heads):
        if head != i:
            parse.children[head].append(i)
    mend(parse)
    parse.denied.update(denied_leaves(document, leaves))
    return replace(parse, document=replace(document, markup=tuple(markup)))


def _add_doc(parse: Parse, piece: _Piece, doc: Doc) -> None:
    """Add the tokens of a parsed piece, but for white space."""
    columns = doc.to_array(["IS_SPACE", "IDX", "LENGTH", "LOWER", "TAG", "DEP", "SENT_START", "HEAD"])
    spaces, places, lengths, lower, tags, deps, begins, _ = columns.T.tolist()
    to_head: list[int] = columns[:, -1].astype("int64").tolist()  # which are negative where the head stands before
    kept = [i for i, space in enumerate(spaces) if not space]
    place = {i: n for n, i in enumerate(kept, len(parse))}
    strings = {key: doc.vocab.strings[key] for column in (lower, tags, deps) for key in set(column)}
    parse.words.extend(strings[lower[i]] for i in kept)
    parse.tags.extend(strings[tags[i]] for i in kept)
    parse.deps.extend(strings[deps[i]] for i in kept)
    parse.heads.extend(place.get(i + to_head[i], place[i]) for i in kept)
    parse.starts.extend(piece.words.starts[piece.start + places[i]] for i in kept)
    parse.ends.extend(piece.words.ends[piece.start + places[i] + lengths[i] - 1] for i in kept)
    first_tokens = [i for i, begin in enumerate(begins) if begin == 1 or i == 0]
    for first, last in pairwise([*first_tokens, len(begins)]):
        inside = [place[i] for i in range(first, last) if i in place]
        if inside and first and _goes_on_after_quotation(parse, inside):
            parse.sentence.extend([len(parse.sentences) - 1] * len(inside))
            begin = parse.sentences[-1][0]
            root = next((i for i in range(begin, inside[0]) if parse.heads[i] == i), begin)
            parse.sentences[-1] = (begin, inside[-1] + 1)
            for i in inside:
                if parse.heads[i] == i:
                    parse.heads[i] = root
                    parse.deps[i] = "prep" if parse.tags[i] == "IN" else "dep"
        elif inside:
            parse.sentence.extend([len(parse.sentences)] * len(inside))
            parse.sentences.append((inside[0], inside[-1] + 1))


def _goes_on_after_quotation(parse: Parse, tokens: Sequence[int]) -> bool:
    """Whether a sentence goes on after a mark within its quotation: 'a sign that reads "STOP!" in red letters'."""
    first = tokens[0]
    torn = first > 1 and parse.words[first - 1] in ('"', "”", "''") and parse.words[first - 2] in ("!", "?", ".")
    written = parse.text[parse.starts[first] : parse.ends[first]]
    return torn and parse.tags[first] == "IN" and written.islower()


def _attach_markup(parse: Parse, words: Cleaned, first: int) -> None:
    """Give a token the emoji or footnote after it, and note which tokens stand in quotation marks."""
    if first == len(parse) or not words.markup:
        return
    low, high = parse.starts[first], parse.ends[-1]
    for mark in words.markup[bisect_left(words.markup, low, key=lambda m: m.start) :]:
        if mark.start > high + 2:
            break
        if mark.kind == "quotation":
            at = bisect_left(parse.starts, mark.inner[0], first)
            while at < len(parse) and parse.ends[at] <= mark.inner[1]:
                parse.quoted.add(at)
                at += 1
        elif mark.kind in ("emoji", "footnote"):
            at = bisect_right(parse.ends, mark.start, first) - 1
            start, end = parse.extent(at) if at >= first else (0, 0)
            if at >= first and not parse.text[end : mark.start].strip(" "):
                parse.outer[at] = start, mark.end


def _attach_boxes(parse: Parse, boxes: Sequence[Written]) -> None:
    """Give each box and its markup to the word it is written beside."""
    for written in boxes:
        if written.opening:
            token = bisect_left(parse.starts, written.end)
        else:
            token = bisect_right(parse.ends, written.start) - 1
        if not 0 <= token < len(parse):
            continue
        start, end = parse.extent(token)
        parse.outer[token] = min(start, written.start), max(end, written.end)
        if written.boxes:
            parse.boxes[token] = parse.boxes.get(token, ()) + written.boxes
