"""Attributes of a thing: its colour, material, pattern, state or visible action.

    a red and white umbrella    the car is blue    a table made of wood    a man sitting on a bench

Only a closed list is read. "Lively", "cozy" or "delicious" are opinions that no expert can check against an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from halluguard.correction.claims.predicates import ParsedAnswer
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
_MADE = {
    "of": ("made", "built", "constructed", "carved", "woven", "composed"),
    "from": ("made", "built", "constructed", "carved", "woven"),
    "in": ("painted", "colored", "coloured", "finished", "dyed"),
}
"""Preposition -> participles after which it says a colour or material: "made of wood", "painted in orange"."""
COLOURS = tuple(sorted(words("colours") - {"grey", "golden"}))


def kind_of(value: str) -> str | None:
    """The kind of a listed word: "colour", "material", "pattern", "state" or "action"; else None.

    >>> kind_of("red"), kind_of("wooden"), kind_of("lovely")
    ('colour', 'material', None)
    """
    return _KINDS.get(value)


def read(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """Attribute claims, one per property and thing; `source_rule` is the kind of property."""
    claims: dict[tuple[int, int], Claim] = {}
    for subject, value, predicate in [*_before_nouns(answer), *_predicates(answer)]:
        n = answer.mention(subject)
        if n is not None and (n, value) not in claims and answer.has_attributes(n):
            claims[n, value] = _claim(answer, existence[n], n, subject, value, predicate)
    return [claims[key] for key in sorted(claims)]


def _claim(answer: ParsedAnswer, existence: Claim, n: int, subject: int, value: int, predicate: int | None) -> Claim:
    parse = answer.parse
    first = value
    while first > 0 and parse.words[first - 1] in _SHADES and parse.sentence[first - 1] == parse.sentence[value]:
        first -= 1
    word = parse.words[value]
    denied = predicate is not None and answer.negated(predicate)
    return answer.about(
        existence,
        n,
        *answer.span(first, value, subject),
        kind="attribute",
        sentence=parse.sentence[value],
        polarity="denied" if denied else existence.polarity,
        attribute=_SPELLING.get(word, word),
        source_rule=_KINDS[word],
        trigger=(parse.starts[first], parse.ends[value]),
    )


def _before_nouns(answer: ParsedAnswer) -> Iterator[tuple[int, int, None]]:
    """(noun, attribute, None) for attributes before a noun: "a red and white umbrella", "a parked car"."""
    parse = answer.parse
    for mention in answer.mentions:
        i = mention.first - 1
        start = parse.sentences[parse.sentence[mention.last]][0]
        while i >= start and _modifies(parse, i, mention.last):
            if parse.words[i] in _KINDS and not _hyphened_on(parse, i):
                yield mention.last, i, None
            i -= 1


def _modifies(parse: Parse, i: int, noun: int) -> bool:
    """Whether the token belongs to the adjectives before a noun."""
    if parse.words[i] in _JOINTS:
        return i > 0 and (parse.words[i - 1] in _KINDS or parse.words[i - 1] in _JOINTS)
    listed = parse.words[i] in _KINDS or parse.words[i] in _SHADES
    if not listed and parse.tags[i] not in ("JJ", "JJS", "JJR", "RB", "NN", "VBN"):
        return False
    top = i
    while top != noun and parse.heads[top] != top and parse.deps[top] in ("amod", "conj", "compound", "nmod", "advmod"):
        top = parse.heads[top]
    return top == noun


def _hyphened_on(parse: Parse, i: int) -> bool:
    """Whether a hyphen ties the word to another: in "red-haired" the hair is red; not in "red-and-white"."""
    after = i + 1
    if after + 1 >= len(parse) or parse.words[after] != "-" or parse.ends[i] != parse.starts[after]:
        return False
    return parse.words[after + 1] not in (*_KINDS, "and")


def _predicates(answer: ParsedAnswer) -> Iterator[tuple[int, int, int]]:
    """(noun, attribute, verb) for attributes after a noun: "the car is red", "a table made of wood"."""
    parse = answer.parse
    for i, word in enumerate(parse.words):
        if word not in _KINDS:
            continue
        top = parse.first_conjunct(i)
        verb = parse.heads[top]
        if _KINDS[word] == "action":
            if parse.tags[i] == "VBG" and parse.deps[top] in ("acl", "relcl", "ROOT", "ccomp", "advcl", "xcomp"):
                for subject in answer.subjects(i):
                    yield subject, i, i
        elif parse.deps[top] in ("acomp", "attr", "oprd") and (parse.words[verb] in _BE or parse.deps[top] == "oprd"):
            if not any(parse.deps[j] in ("det", "amod") for j in parse.children[top]) and i not in answer.heads:
                for subject in answer.subjects(verb):
                    yield subject, i, verb
        elif parse.tags[i] == "VBN" and parse.child(i, "auxpass") is not None:
            for subject in answer.subjects(i):
                yield subject, i, i
        elif parse.deps[top] == "pobj" and parse.words[parse.heads[verb]] in _MADE.get(parse.words[verb], ()):
            for subject in answer.subjects(parse.heads[verb]):
                yield subject, i, parse.heads[verb]
