"""Counts: numerals, vague words and nouns of measure, read from around a mention."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.document import Block
from halluguard.correction.text.json_blocks import COUNT_KEYS
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim

Bound = Literal["exact", "at_least", "at_most", "about"]

_UNITS = {word: n for n, word in enumerate((
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
))}  # fmt: skip
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_GREAT = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
# The number that a word claims at least, or exactly ("couple", "both").
VAGUE: dict[str, tuple[int, Bound]] = {
    "couple": (2, "exact"), "pair": (2, "exact"), "both": (2, "exact"), "trio": (3, "exact"), "dozen": (12, "exact"),
    "few": (2, "at_least"), "multiple": (2, "at_least"), "several": (3, "at_least"), "various": (2, "at_least"),
    "many": (4, "at_least"), "numerous": (5, "at_least"), "dozens": (12, "at_least"), "countless": (5, "at_least"),
}  # fmt: skip
_BOUNDS: dict[str, Bound] = {
    "at least": "at_least", "more than": "at_least", "over": "at_least", "at most": "at_most", "up to": "at_most",
    "fewer than": "at_most", "less than": "at_most", "about": "about", "around": "about", "nearly": "about",
    "approximately": "about", "roughly": "about", "almost": "about", "some": "about",
}  # fmt: skip
BOUND_WORDS = frozenset(word for words_before in _BOUNDS for word in words_before.split())


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity such as "at least two": `count` and `bound`, in tokens first..last; `vague` for "several"."""

    count: int
    bound: Bound
    first: int
    last: int
    vague: bool = False
    total: bool = False


def read(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """Count claims: at most one per mention that is not denied."""
    claims, parse = [], answer.parse
    for n, (mention, claim) in enumerate(zip(answer.mentions, existence, strict=True)):
        amount = (quantity(parse, mention.last) or _labelled(parse, mention.last)) if answer.is_countable(n) else None
        if amount is None or amount.count == 0 or claim.polarity == "denied":
            continue
        first, last = min(amount.first, mention.first), max(amount.last, mention.last)
        whole = amount.total or total(parse, mention.last)
        counted = replace(
            claim,
            kind="count",
            phrase=parse.span(first, last),
            start=parse.starts[first],
            end=parse.ends[last],
            count=amount.count,
            bound=amount.bound,
            source_rule="vague" if amount.vague else "total" if whole else "numeral",
            subject=n,
            trigger=(parse.starts[amount.first], parse.ends[amount.last]),
        )
        claims.append(counted)
    return claims


def number(words: list[str]) -> int | None:
    """The value of a numeral in words or digits.

    >>> number(["twenty", "-", "five"]), number(["1,200"]), number(["a"]), number(["two", "hundred"])
    (25, 1200, None, 200)
    """
    total, seen = 0, False
    for word in words:
        if word in ("-", "and"):
            continue
        if re.fullmatch(r"\d{1,3}(,\d{3})+|\d{1,9}", word):
            total, seen = total + int(word.replace(",", "")), True
        elif word in _UNITS or word in _TENS:
            total, seen = total + _UNITS.get(word, _TENS.get(word, 0)), True
        elif word in _GREAT:
            total, seen = max(total, 1) * _GREAT[word], True
        else:
            return None
    return total if seen else None


def spelled(count: int) -> str:
    """The numeral for running text: words up to twelve, digits above."""
    words = [*_UNITS][:13]
    return words[count] if count < len(words) else f"{count:,}"


def quantity(parse: Parse, noun: int) -> Quantity | None:
    """The quantity claimed of the noun, or None. "a dog" and "the dogs" claim none."""
    for child in parse.children[noun]:
        if child > noun or parse.deps[child] not in ("nummod", "amod", "det", "compound", "predet", "nmod", "quantmod"):
            continue
        word = parse.words[child]
        if word in VAGUE:
            return _vague(parse, child)
        if parse.deps[child] == "nummod" or parse.tags[child] == "CD":
            return _numeral(parse, child, noun)
    return _partitive(parse, noun)


def _labelled(parse: Parse, noun: int) -> Quantity | None:
    """The number that labels a name or stands beside it: "Cars: 2", {"name": "car", "count": 2}."""
    leaf, sentence = parse.leaf(noun), parse.sentence[noun] + 1
    if leaf is None or leaf.kind not in ("label", "cell", "term") or sentence >= len(parse.sentences):
        return None
    first, end = parse.sentences[sentence]
    value = parse.leaf(first)
    same_row = value is not None and parse.block[first] == parse.block[noun] + 1 and value.kind in ("term", "cell")
    if leaf.kind == "term" and not (same_row and value is not None and _counts_beside(parse, leaf, value)):
        return None
    count = number(parse.words[first:end]) if same_row else None
    return None if count is None else Quantity(count, "exact", first, end - 1, total=True)


def _counts_beside(parse: Parse, name: Block, value: Block) -> bool:
    """Whether a value counts the name before it: both are members of one JSON object."""
    if parse.document is None or not parse.text[value.start : value.end].isdecimal():
        return False
    holders = [
        [b for b in parse.document.path(leaf.start) if b.kind in ("object", "value") and len(b.children) > 1]
        for leaf in (name, value)
    ]
    return all(holders) and holders[0][-1] is holders[1][-1] and value.label.lower() in COUNT_KEYS


def _vague(parse: Parse, i: int) -> Quantity | None:
    word = parse.words[i]
    count, bound = VAGUE[word]
    first = i - 1 if word in ("few", "dozen", "couple") and i > 0 and parse.words[i - 1] == "a" else i
    if word == "few" and first == i and (i == 0 or parse.words[i - 1] not in ("the", "quite", "these", "those")):
        return None
    return Quantity(count, bound, first, i, vague=word not in ("both", "dozen", "couple", "pair"))


def _numeral(parse: Parse, i: int, noun: int) -> Quantity | None:
    first, last = i, i
    start = parse.sentences[parse.sentence[i]][0]
    while first > start and number([parse.words[first - 1]]) is not None:
        first -= 1
    while (
        first - 2 >= start and parse.words[first - 1] in ("-", "and") and number([parse.words[first - 2]]) is not None
    ):
        if parse.words[first - 1] == "and" and parse.words[first] not in _UNITS:
            break
        first -= 2
    while last + 1 < noun and (number([parse.words[last + 1]]) is not None or parse.words[last + 1] == "dozen"):
        last += 1
    words = parse.words[first : last + 1]
    count = number(words[:-1]) if words[-1] == "dozen" else number(words)
    if count is None:
        return None
    count *= 12 if words[-1] == "dozen" else 1
    before = parse.words[max(start, first - 2) : first]
    if before and before[-1] in ("to", "or", "-", "–"):
        low = number(before[:-1])  # "two to three dogs": at least the lower number
        if low is not None:
            return Quantity(low, "at_least", first - 2, last)
    if last + 2 < noun and parse.words[last + 1] == "or" and parse.words[last + 2] == "more":
        return Quantity(count, "at_least", first, last)
    for words_before, bound in _BOUNDS.items():
        length = words_before.count(" ") + 1
        if " ".join(parse.words[max(start, first - length) : first]) == words_before:
            return Quantity(count, bound, first, last)
    return Quantity(count, "exact", first, last)


def _partitive(parse: Parse, noun: int) -> Quantity | None:
    """The quantity of a phrase with "of": "a couple of dogs", "dozens of dogs", "a pair of scissors" (one thing)."""
    head = parse.heads[noun]
    if parse.deps[noun] != "pobj" or parse.words[head] != "of":
        return None
    measure = parse.heads[head]
    word = parse.words[measure]
    if word == "pair" and parse.words[noun] in ("scissors", "glasses", "skis", "pants", "shorts", "jeans", "shoes"):
        return None
    if word in ("couple", "pair", "trio", "dozen") and any(parse.words[j] == "a" for j in parse.children[measure]):
        count, bound = VAGUE[word]
        article = parse.child(measure, "det")
        return Quantity(count, bound, measure if article is None else article, measure)
    if word == "dozens":
        return Quantity(12, "at_least", measure, measure, vague=True)
    return None


def total(parse: Parse, noun: int) -> bool:
    """Whether the words count all such things: "there are two dogs (in the image)", not "two dogs on the bed"."""
    verb = parse.heads[noun]
    if parse.deps[noun] != "attr" or not any(parse.deps[j] == "expl" for j in parse.children[verb]):
        return False
    plain = ("nummod", "det", "punct", "advmod", "cc", "conj", "compound", "prep")
    if any(parse.deps[j] not in plain for j in parse.children[noun]):
        return False
    return all(_of_the_picture(parse, j) for i in (noun, verb) for j in parse.children[i] if parse.deps[j] == "prep")


def _of_the_picture(parse: Parse, preposition: int) -> bool:
    """Whether the phrase means the whole image: "in the image", "in total"."""
    place = parse.child(preposition, "pobj")
    picture = ("image", "picture", "photo", "scene", "total", "photograph", "frame", "all")
    return place is not None and parse.words[place] in picture
