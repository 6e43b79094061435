"""Parse names of things ("red barn", "Kite", "2 cats") by rule: labels, keywords and cells need no parser.

The last word heads the name, the words before it are its adjectives, numbers and compounded nouns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from halluguard.correction.text.lexicon import concrete, words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import FORMS, singular

_TOKEN = re.compile(r"\d+(?=(?:girl|boy|[a-z]{4}))|[^\W_]+(?:['’]s\b)?|\S")
"""A word; "1girl" is two of them."""
_PARSED = re.compile(
    r"\b(?:with|of|on|in|at|by|and|or|to|from|for|near|under|over|behind|above|below|beside|between|without|no|not|"
    r"the|an?|is|are|his|her|its|their|as|than)\b|ing\b\W*$|[,;:&-]|"
    r"\w\s+(?:riding|holding|wearing|carrying|sitting|standing|lying|walking|eating|watching)\b",
    re.IGNORECASE,
)
_QUALITIES = words("colours") | words("shades") | words("materials") | words("patterns") | words("states")
_NUMBERS = frozenset("one two three four five six seven eight nine ten several many few multiple".split())


def is_plain_name(text: str) -> bool:
    """Whether the words are a name without prepositions, articles, participles or signs inside."""
    return len(text) < 80 and _PARSED.search(text) is None


def add_name(parse: Parse, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
    """Add the tokens of a name to a parse, as one sentence.

    Args:
        starts, ends: for each character of `text`, the first and one past the last character of the original.
    """
    tokens = [(m.group().lower(), m.start(), m.end()) for m in _TOKEN.finditer(text) if m.group() != "_"]
    if not tokens:
        return
    first = len(parse)
    last = max((n for n, (word, _, _) in enumerate(tokens) if word[0].isalnum()), default=len(tokens) - 1)
    for n, (word, a, b) in enumerate(tokens):
        tag, dep = _head(word) if n == last else _before_head(word)
        parse.words.append(word)
        parse.tags.append(tag if word[0].isalnum() else "SYM")
        parse.deps.append(dep if word[0].isalnum() or n == last else "punct")
        parse.heads.append(first + last)
        parse.starts.append(starts[a])
        parse.ends.append(ends[b - 1])
    parse.sentence.extend([len(parse.sentences)] * len(tokens))
    parse.sentences.append((first, len(parse)))


def _head(word: str) -> tuple[str, str]:
    """Tag and label of the head of a name."""
    return "NNS" if singular(word) != word else "NN", "ROOT"


def _before_head(word: str) -> tuple[str, str]:
    """Tag and label of a word before the head of a name."""
    if word.isdigit() or word in _NUMBERS:
        return "CD", "nummod"
    noun = word in FORMS or concrete(singular(word)) is not None
    return ("NN", "compound") if noun and word not in _QUALITIES else ("JJ", "amod")
