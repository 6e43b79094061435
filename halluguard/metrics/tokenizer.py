"""Split a lower-cased caption into tokens exactly as `nltk.word_tokenize` does, without nltk or its data.

CHAIR is defined on these tokens: a mention is seen or missed depending on whether a period is split off, and whether
"man's" is one token or two. Two steps, as in the original: Punkt sentence boundaries (Kiss and Strunk, 2006), then
the Treebank-style rewriting of each sentence (nltk 3.10, `NLTKWordTokenizer`). Lower-cased text makes the first
step small: of the whole English Punkt model only the abbreviations, the collocations and four words can matter.

`tokenize` first tries a table of pieces between white space whose tokens do not depend on their context. Only captions
with quotes, brackets or unusual periods are tokenized by the rules. A test checks that both ways give the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

_MODEL = json.loads(files("halluguard.metrics").joinpath("sentences.json").read_text(encoding="utf-8"))
_ABBREVIATIONS = frozenset(_MODEL["abbreviations"])
_COLLOCATIONS = frozenset(tuple(pair.split("|")) for pair in _MODEL["collocations"])
_STARTERS = frozenset(_MODEL["lower_case_starters"])

# --- sentences -------------------------------------------------------------------------------------------------

_CLOSERS = "\u2018\u2019\u201c\u201d\xab\xbb"
_NON_WORD = rf"""[)";}}\]*:@'({{\[!?{_CLOSERS}]"""
_MANY = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_CANDIDATE = re.compile(rf"[.?!](?=(?P<after>{_NON_WORD}|\s+(?P<next>\S+)))")
_PUNKT_WORD = re.compile(
    rf"{_MANY}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_NON_WORD}|{_MANY}|,(?=$|\s|{_NON_WORD}|{_MANY}))|\S"
)
_LEFT_BEHIND = re.compile(rf"""["')\]}}{_CLOSERS}]+?(?:\s+|(?=--)|$)""", re.MULTILINE)
_NUMBER = re.compile(r"^-?[.,]?\d[\d,.-]*\.?$")
_INITIAL = re.compile(r"[^\W\d]\.$")
_ELLIPSIS = re.compile(r"\.\.+$")


def _breaks_by_type(word: str) -> bool:
    """First pass: does `word`, whatever follows, end a sentence?"""
    if word in (".", "?", "!"):
        return True
    if _ELLIPSIS.match(word) or not word.endswith(".") or word.endswith(".."):
        return False
    stem = word[:-1]
    return stem not in _ABBREVIATIONS and stem.split("-")[-1] not in _ABBREVIATIONS


def _breaks(word: str, following: str) -> bool:
    """Second pass: does `word` end a sentence before `following`? Initials and numbers seldom do."""
    by_type = _breaks_by_type(word)
    if not word.endswith("."):
        return by_type
    kind = _NUMBER.sub("##number##", word)
    if len(kind) > 1:
        kind = kind.removesuffix(".")
    next_kind = _NUMBER.sub("##number##", following)
    if len(next_kind) > 1 and _breaks_by_type(following):
        next_kind = next_kind.removesuffix(".")
    if (kind, next_kind) in _COLLOCATIONS:
        return False
    initial = bool(_INITIAL.match(word))
    if initial or kind == "##number##":
        if following in (";", ":", ",", ".", "!", "?"):
            return False
        if following[0].islower() and next_kind not in _STARTERS:
            return False
        if initial and following[0].isupper():  # a letter without a lower case
            return False
    return by_type


def _contains_break(context: str) -> bool:
    tokens = [word for line in context.split("\n") if line.strip() for word in _PUNKT_WORD.findall(line)]
    return any(_breaks(word, following) for word, following in pairwise(tokens))


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Possible sentence ends, each with its last word and the text after it; of overlapping ends, the last is given."""
    start = stop = 0
    last: re.Match[str] | None = None
    for match in _CANDIDATE.finditer(text):
        blank = max((text.rfind(c, stop, match.start()) for c in " \t\n\r\v\f"), default=-1) - stop
        begin = stop + blank + 1 if blank > 0 else start
        if last is not None and stop <= begin:
            yield last, text[start:stop] + last.group() + last.group("after")
        last, start, stop = match, begin, match.start()
    if last is not None:
        yield last, text[start:stop] + last.group() + last.group("after")


def sentences(text: str) -> list[str]:
    """Split lower-cased `text` into sentences as Punkt does; closing quotes and brackets stay with their sentence.

    >>> sentences("a man (left.) he waits at no. 5 st. james. two dogs")
    ['a man (left.)', 'he waits at no.', '5 st. james.', 'two dogs']
    """
    pieces, begin = [], 0
    for match, context in _candidates(text):
        if _contains_break(context):
            pieces.append((begin, match.end()))
            begin = match.start("next") if match.group("next") else match.end()
    pieces.append((begin, len(text.rstrip())))

    split, taken = [], 0
    for i, (begin, end) in enumerate(pieces):
        begin, taken = begin + taken, 0
        if i + 1 < len(pieces):
            closing = _LEFT_BEHIND.match(text[pieces[i + 1][0] : pieces[i + 1][1]])
            if closing:
                end, taken = pieces[i + 1][0] + len(closing.group().rstrip()), closing.end()
                split.append(text[begin:end])
                continue
        if text[begin:end]:
            split.append(text[begin:end])
    return split


# --- words -----------------------------------------------------------------------------------------------------

# (pattern, replacement, characters). The pattern is tried only if the sentence contains one of the characters, or if
# there are none.
_BEFORE_PADDING: tuple[tuple[re.Pattern[str], str, frozenset[str]], ...] = tuple(
    (re.compile(pattern), replacement, frozenset(marks))
    for pattern, replacement, marks in [
        # opening quotes
        (r"([«“‘„]|`+)", r" \1 ", "«“‘„`"),
        (r'^"', r"``", '"'),
        (r"(``)", r" \1 ", '`"'),
        (r"([ (\[{<])(\"|'{2})", r"\1 `` ", "\"'"),
        (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 ", "'"),
        # punctuation; the final period twice, as in the original
        (r"""([^.])(\.)([\])}>"'»”’ ]*+)\s*$""", r"\1 \2 \3 ", "."),
        (r"([:,])([^\d])", r" \1 \2", ":,"),
        (r"([:,])$", r" \1 ", ":,"),
        (r"\.{2,}", r" \g<0> ", "."),
        (r"[;@#$%&]", r" \g<0> ", ";@#$%&"),
        (r"[\u2012-\u2015]", r" \g<0> ", "\u2012\u2013\u2014\u2015"),
        (r"""([^.])(\.)([\])}>"']*)\s*$""", r"\1 \2\3 ", "."),
        (r"[?!]", r" \g<0> ", "?!"),
        (r"([^'])' ", r"\1 ' ", "'"),
        (r"\*", r" \g<0> ", "*"),
        (r"[\]\[(){}<>]", r" \g<0> ", "[](){}<>"),
        (r"--", r" -- ", "-"),
    ]
)
_AFTER_PADDING: tuple[tuple[re.Pattern[str], str, frozenset[str]], ...] = tuple(
    (re.compile(pattern), replacement, frozenset(marks))
    for pattern, replacement, marks in [
        # closing quotes, possessives and contractions
        (r"([»”’])", r" \1 ", "»”’"),
        (r"''", " '' ", "'"),
        (r'"', " '' ", '"'),
        (r"\s+", " ", ""),
        (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 ", "'\""),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 ", "'"),
        # words written together
        (r"(?i)\b(can)(not)\b", r" \1 \2 ", "c"),
        (r"(?i)\b(d)('ye)\b", r" \1 \2 ", "'"),
        (r"(?i)\b(gim)(me)\b", r" \1 \2 ", "g"),
        (r"(?i)\b(gon)(na)\b", r" \1 \2 ", "g"),
        (r"(?i)\b(got)(ta)\b", r" \1 \2 ", "g"),
        (r"(?i)\b(lem)(me)\b", r" \1 \2 ", "l"),
        (r"(?i)\b(more)('n)\b", r" \1 \2 ", "'"),
        (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 ", "w"),
        (r"(?i) ('t)(is)\b", r" \1 \2 ", "'"),
        (r"(?i) ('t)(was)\b", r" \1 \2 ", "'"),
    ]
)


def words(sentence: str) -> list[str]:
    """Tokens of one sentence, in order.

    >>> words("the man's dog isn't here (left).")
    ['the', 'man', "'s", 'dog', 'is', "n't", 'here', '(', 'left', ')', '.']
    """
    present = {*sentence}
    for pattern, replacement, marks in _BEFORE_PADDING:
        if not marks.isdisjoint(present):
            sentence = pattern.sub(replacement, sentence)
    sentence = f" {sentence} "
    for pattern, replacement, marks in _AFTER_PADDING:
        if not marks or not marks.isdisjoint(present):
            sentence = pattern.sub(replacement, sentence)
    return sentence.split()


def tokenize_by_rules(text: str) -> list[str]:
    """Tokens of `text` by the rules alone, which define what `tokenize` returns."""
    return [token for sentence in sentences(text) for token in words(sentence)]


# --- the table -------------------------------------------------------------------------------------------------

# Pieces whose tokens do not depend on their neighbours: words with hyphens or slashes, one possessive, round brackets
# and one mark at the end; and words with a final period that always ends a sentence, which numbers, initials and
# abbreviations do not.
_PLAIN = re.compile(r"(\()?([a-z0-9]+(?:[-/][a-z0-9]+)*)('(?:s|re|ve|ll|d|m))?(\))?([,;:?!])?|[&–-]")
_ENDING = re.compile(r"(\()?([a-z](?:[a-z/-]*[a-z])?)(?:(\))|(?<=[a-z][a-z]))(\.)")
_TOGETHER = re.compile(r"(?:^|[-/])(?:cannot|gimme|gonna|gotta|lemme|wanna)(?![a-z0-9])")  # read as two


@lru_cache(maxsize=1 << 16)
def _piece(piece: str) -> tuple[str, ...] | None:
    """Tokens of a piece between white space, or None when they depend on the rest of the caption."""
    known = _PLAIN.fullmatch(piece)
    if known is None:
        known = _ENDING.fullmatch(piece)
        if known is None or "--" in piece or not (known.group(3) or _breaks_by_type(f"{known.group(2)}.")):
            return None
    tokens = tuple(filter(None, known.groups())) or (piece,)
    return tuple(words(piece)) if _TOGETHER.search(piece.lstrip("(")) else tokens


def tokenize(text: str) -> list[str]:
    """Tokens of `text`, which must be lower-cased already; equal to `nltk.word_tokenize(text)`.

    >>> tokenize("a man's dog, mid-air. boat.there and a couch/chair")
    ['a', 'man', "'s", 'dog', ',', 'mid-air', '.', 'boat.there', 'and', 'a', 'couch/chair']
    """
    tokens: list[str] = []
    for piece in text.split():
        known = _piece(piece)
        if known is None:
            return tokenize_by_rules(text)
        tokens += known
    return tokens
