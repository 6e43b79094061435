"""Makes and models: "a red Ford Mustang" names a car, "an iPhone" a cell phone.

A make counts with an article, a number or a model beside it; before another noun ("a Ford truck", "a BMW logo") it only
modifies. A name must begin with a capital, except where capitals say nothing (titles, keywords).
"""

from __future__ import annotations

from functools import lru_cache

from halluguard.correction.text import lexicon
from halluguard.correction.text.lexicon import NOUN_TAGS
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import FORMS

_BEFORE = ("a", "an", "the", "this", "that", "two", "three", "four", "his", "her", "their", "another", "one")
_MOST_TOKENS = 5
_ALONE_ONLY_WITH_CAPITALS = frozenset(("mustang", "beetle", "impala", "accord", "jaguar", "lincoln", "ram", "galaxy"))


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, bool]]:
    """Lower-case name without hyphens -> what it is, and whether it is a make."""
    table: dict[str, tuple[str, bool]] = {}
    for section, lines in lexicon.read_sections("brands.txt").items():
        for line in lines:
            thing, _, names = line.partition(":")
            for name in names.split(","):
                table[name.strip().replace("-", " ")] = (thing, section == "makes")
    return table


@lru_cache(maxsize=1)
def _starts() -> frozenset[str]:
    return frozenset(name.split()[0] for name in _table())


def may_begin(word: str) -> bool:
    """Whether a name of the table begins with the word."""
    start = word.split("-")[0]
    return start in _starts() or start.removesuffix("s") in _starts()


def find(parse: Parse, i: int) -> tuple[int, str] | None:
    """The last token of the brand that begins at token i, and the thing it names; None if no brand begins there."""
    if not may_begin(parse.words[i]) or not _capital(parse, i):
        return None
    last, known = _longest(parse, i)
    if known is None:
        return None
    thing, make = known
    following = _longest(parse, last + 1) if last + 1 < len(parse) and _capital(parse, last + 1) else (last, None)
    if make and following[1] is not None and not following[1][1]:
        last, (thing, make) = following[0], following[1]
    elif make and i > 0 and last + 1 < len(parse) and parse.words[last + 1][:1].isdigit() and _begins(parse, i):
        last += 1  # "a BMW 320"
    after = last + 1
    if _modifies(parse, last, after) or (make and not _begins(parse, i)):
        return None
    return last, thing


def _modifies(parse: Parse, last: int, after: int) -> bool:
    """Whether the name that ends at token `last` modifies the noun after it: "a Ford truck"."""
    if after == len(parse) or parse.sentence[after] != parse.sentence[last] or parse.ends[last] == parse.starts[after]:
        return False
    return parse.words[after] in FORMS or (parse.tags[after] in NOUN_TAGS and parse.heads[last] >= after)


def _capital(parse: Parse, i: int) -> bool:
    """Whether the token has a capital or digit, or stands where capitals say nothing."""
    word = parse.text[parse.starts[i] : parse.ends[i]]
    if word != word.lower() or word[:1].isdigit():
        return True
    folded = bool(parse.block) and parse.block[i] in parse.folded
    return folded and parse.words[i] not in _ALONE_ONLY_WITH_CAPITALS and parse.words[i] not in FORMS


def _begins(parse: Parse, i: int) -> bool:
    """Whether an article or number stands before the name, with or without adjectives between."""
    first = parse.sentences[parse.sentence[i]][0]
    j = i - 1
    while j > first and parse.tags[j] in ("JJ", "VBN", "VBG", "CD", "NN") and parse.words[j] not in _BEFORE:
        j -= 1
    return j >= first and parse.words[j] in _BEFORE


def _longest(parse: Parse, i: int) -> tuple[int, tuple[str, bool] | None]:
    """The longest name of the table that begins at token i."""
    best: tuple[int, tuple[str, bool] | None] = (i, None)
    name = ""
    for j in range(i, min(i + _MOST_TOKENS, parse.sentences[parse.sentence[i]][1])):
        if parse.words[j] != "-":
            before, word = f"{name} " if name else "", parse.words[j].replace("-", " ")
            name = before + word
            known = _table().get(name) or _table().get(before + word.removesuffix("s"))
            if known is not None:
                best = (j, known)
    return best
