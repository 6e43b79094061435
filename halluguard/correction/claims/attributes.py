"""What is said of a thing: its colour, material, pattern, state or visible action.

    a red and white umbrella    the car is blue    a table made of wood    a man sitting on a bench

Only a closed list is read. "Lively", "cozy" or "delicious" are opinions that no expert can hold against a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from halluguard.correction.claims.predicates import Reading
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim

_BE = frozenset(("is", "are", "was", "were", "be", "'s", "'re"))
_KINDS = {
    **dict.fromkeys(words("states"), "state"),
    **dict.fromkeys(words("materials"), "material"),
    **dict.fromkeys(words("patterns"), "pattern"),
    **dict.fromkeys(words("colours"), "colour"),
    **dict.fromkeys(words("actions"), "action"),
}
_SHADES = words("shades")
_SPELLING = {"grey": "gray", "golden": "gold", "metallic": "metal", "blonde": "blond", "wood": "wooden"}
_JOINTS = ("and", "-", ",", "&", "or")
COLOURS = tuple(sorted(words("colours") - {"grey", "golden"}))


def kind_of(value: str) -> str | None:
    """ "colour", "material", "pattern", "state" or "action"; None for a word that is not on the list.

    >>> kind_of("red"), kind_of("wooden"), kind_of("lovely")
    ('colour', 'material', None)
    """
    return _KINDS.get(value)


def read(reading: Reading, existence: Sequence[Claim]) -> list[Claim]:
    """Attribute claims, one per property and thing; `rule` is the kind of property. Matter and places have none."""
    found: dict[tuple[int, int], Claim] = {}
    for subject, value, predicated in [*_before_nouns(reading), *_predicates(reading)]:
        n = reading.mention(subject)
        if n is None or (n, value) in found or reading.mentions[n].part or reading.mentions[n].rule == "stuff":
            continue
        found[n, value] = _claim(reading, existence[n], n, subject, value, predicated)
    return [found[key] for key in sorted(found)]


def _claim(reading: Reading, existence: Claim, n: int, subject: int, value: int, predicated: int | None) -> Claim:
    parse = reading.parse
    first = value
    while first > 0 and parse.words[first - 1] in _SHADES and parse.sentence[first - 1] == parse.sentence[value]:
        first -= 1
    start, end = reading.span(first, value, subject)
    word = parse.words[value]
    denied = predicated is not None and any(parse.deps[j] == "neg" for j in parse.children[predicated])
    return replace(
        existence,
        kind="attribute",
        phrase=parse.span(start, end),
        start=parse.starts[start],
        end=parse.ends[end],
        sentence=parse.sentence[value],
        polarity="denied" if denied else existence.polarity,
        attribute=_SPELLING.get(word, word),
        source_rule=_KINDS[word],
        subject=n,
        trigger=(parse.starts[first], parse.ends[value]),
        alternatives=(),
        same_as=None,
    )


def _before_nouns(reading: Reading) -> Iterator[tuple[int, int, None]]:
    """ "a red and white umbrella", "a parked car"."""
    parse = reading.parse
    for mention in reading.mentions:
        i = mention.first - 1
        start = parse.sentences[parse.sentence[mention.last]][0]
        while i >= start and _modifies(parse, i, mention.last):
            if parse.words[i] in _KINDS and not _hyphened_on(parse, i):
                yield mention.last, i, None
            i -= 1


def _modifies(parse: Parse, i: int, noun: int) -> bool:
    """Whether the token belongs to the adjectives before a noun."""
    if parse.words[i] in _JOINTS:
        return i > 0 and parse.words[i - 1] in _KINDS
    listed = parse.words[i] in _KINDS or parse.words[i] in _SHADES
    if not listed and parse.tags[i] not in ("JJ", "JJS", "JJR", "RB", "NN", "VBN"):
        return False
    top = i
    while top != noun and parse.heads[top] != top and parse.deps[top] in ("amod", "conj", "compound", "nmod", "advmod"):
        top = parse.heads[top]
    return top == noun


def _hyphened_on(parse: Parse, i: int) -> bool:
    """ "red-haired": the hair is red, not its owner. "red-and-white" says what it says."""
    after = i + 1
    if after + 1 >= len(parse) or parse.words[after] != "-" or parse.ends[i] != parse.starts[after]:
        return False
    return parse.words[after + 1] not in (*_KINDS, "and")


def _predicates(reading: Reading) -> Iterator[tuple[int, int, int]]:
    """ "the car is red and shiny", "a car that is red", "a table made of wood", "a man sitting"."""
    parse = reading.parse
    for i, word in enumerate(parse.words):
        if word not in _KINDS:
            continue
        top = parse.first_conjunct(i)
        verb = parse.heads[top]
        if _KINDS[word] == "action":
            if parse.tags[i] == "VBG" and parse.deps[top] in ("acl", "relcl", "ROOT", "ccomp", "advcl", "xcomp"):
                for subject in reading.subjects(i):
                    yield subject, i, i
        elif parse.deps[top] in ("acomp", "attr", "oprd") and (parse.words[verb] in _BE or parse.deps[top] == "oprd"):
            if not any(parse.deps[j] in ("det", "amod") for j in parse.children[top]) and i not in reading.heads:
                for subject in reading.subjects(verb):
                    yield subject, i, verb
        elif parse.deps[i] == "pobj" and parse.words[verb] in ("of", "from"):
            made = parse.heads[verb]
            if parse.words[made] in ("made", "built", "constructed"):
                for subject in reading.subjects(made):
                    yield subject, i, made
