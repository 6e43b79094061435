"""Homographs: nouns with another meaning in some contexts, such as feet that measure and tables of numbers."""

from __future__ import annotations

import re

from halluguard.correction.text.lexicon import concrete, words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import singular

_LETTERS = words("letters")
_ALONE_NO_THING = words("animal-like words")
_MATERIALS = words("materials") | {"timber", "granite", "clay", "iron", "aluminum", "fabric", "marble", "porcelain"}
_MADE = (
    "made",
    "built",
    "constructed",
    "crafted",
    "carved",
    "composed",
    "consists",
    "consisting",
    "formed",
    "sculpted",
)
_TIMES = ("sunset", "sunrise", "dusk", "dawn", "night", "day", "midday", "noon")
_AT_A_TIME = ("at", "around", "during", "before", "after", "near", "by", "or", "until", "towards")
_COUNTRIES = ("turkey", "china", "jersey", "guinea", "java", "champagne", "cologne")
_ADDRESS = re.compile(r"\d+[A-Za-z]?\s+(?:[A-Z][\w'’.-]*\s+){1,3}\Z")
_ADDRESSED = ("street", "road", "avenue", "lane", "drive", "boulevard", "square", "court", "place", "highway")
_HOUSES = ("inn", "pub", "arms", "tavern", "hotel")
_OWNING_PLACES = words("of a place")
_WAYS = frozenset("road path trail track river stream creek branch branches tree route lane".split())
_EXTENTS = ("tall", "wide", "long", "high", "deep", "away", "apart", "above", "below", "from", "across")


def _letter(parse: Parse, i: int) -> bool:
    """Whether the word is a sign of writing: "the letter A", "a letter 'S'"."""
    if parse.words[i] not in _LETTERS or i + 1 >= len(parse):
        return False
    after = i + 2 if parse.words[i + 1] in ('"', "'", "“", "‘") and i + 2 < len(parse) else i + 1
    return after in parse.quoted or (parse.ends[after] - parse.starts[after] == 1 and parse.words[after].isalnum())


def _matter(parse: Parse, i: int) -> bool:
    """Whether the word only names a material, not a second thing: "a bridge made of wood"."""
    if parse.words[i] not in _MATERIALS:
        return False
    top = parse.first_conjunct(i)
    head = parse.heads[top]
    return parse.deps[top] == "pobj" and parse.words[parse.heads[head]] in _MADE


def _time(parse: Parse, i: int) -> bool:
    """Whether the word names a time: "taken around sunset", "at night"."""
    if parse.words[i] in ("sunset", "sunrise"):
        return not any(parse.deps[j] in ("det", "amod", "poss") for j in parse.children[i])
    return parse.words[i] in _TIMES and i > 0 and parse.words[i - 1] in _AT_A_TIME


def _in_grid(parse: Parse, i: int) -> bool:
    """Whether columns are those of a grid: "five rows and five columns"."""
    return parse.words[i] in ("column", "columns") and any(
        parse.words[j] in ("row", "rows") for j in range(*parse.sentences[parse.sentence[i]])
    )


def _kind_alone(parse: Parse, i: int) -> bool:
    """Whether a list entry only tells the kind of another one: "tabby" in "cats, relaxed, tabby"."""
    leaf = parse.leaf(i)
    return parse.words[i] in _ALONE_NO_THING and leaf is not None and leaf.kind == "term" and alone(parse, i)


def _address(parse: Parse, i: int) -> bool:
    """Whether the word ends an address: "20 Fenchurch Street"."""
    if parse.words[i] not in _ADDRESSED or not parse.text[parse.starts[i]].isupper():
        return False
    return _ADDRESS.search(parse.text, max(0, parse.starts[i] - 60), parse.starts[i]) is not None


def _country(parse: Parse, i: int) -> bool:
    """Whether the word is the name of a country: "Turkey is known for it"."""
    if parse.words[i] not in _COUNTRIES or not parse.text[parse.starts[i]].isupper():
        return False
    return parse.tags[i] == "NNP" and not any(parse.deps[j] == "det" for j in parse.children[i])


def _of_a_place(parse: Parse, i: int) -> bool:
    """Whether the word is a place that owns something abstract: "the town's rich history"."""
    return (
        parse.words[i] in _OWNING_PLACES
        and parse.deps[i] == "poss"
        and concrete(singular(parse.words[parse.heads[i]])) is None
    )


def _called_the(parse: Parse, i: int) -> bool:
    """Whether the word is a name with "The", as a keyword: "The Cock"."""
    leaf = parse.leaf(i)
    first, end = parse.sentences[parse.sentence[i]]
    named = leaf is not None and leaf.kind == "term" and end - first == 2 and parse.words[first] == "the"
    return (
        named and i == end - 1 and parse.text[parse.starts[first]].isupper() and parse.text[parse.starts[i]].isupper()
    )


def _named_house(parse: Parse, i: int) -> bool:
    """Whether the word is the name of a pub or hotel: "The Cock Inn", "The White Hart Hotel"."""
    first, end = parse.sentences[parse.sentence[i]]
    house = next((j for j in range(i + 1, min(i + 3, end)) if parse.words[j] in _HOUSES), None)
    if house is None or "the" not in parse.words[max(first, i - 2) : i]:
        return False
    return all(parse.text[parse.starts[j]].isupper() for j in range(i, house + 1))


def _apart(parse: Parse, i: int) -> bool:
    """Whether "individual" only says that things are single: "individual seats"."""
    return parse.words[i] == "individual" and i + 1 < len(parse) and parse.tags[i + 1] in ("NN", "NNS", "JJ")


def _participle(parse: Parse, i: int) -> bool:
    """Whether the word is what each one does: "two platforms, each housing a model"."""
    each = i > 0 and parse.words[i - 1] in ("each", "both", "all", "some")
    return each and parse.words[i].endswith("ing") and parse.tags[i + 1 : i + 2] in (["DT"], ["PRP$"])


def _quality(parse: Parse, i: int) -> bool:
    """Whether the word is an adjective beside another: "descriptive and concrete"."""
    head = parse.heads[i]
    beside = parse.deps[i] == "conj" and parse.tags[head] == "JJ" and i - head == 2
    adjective = beside and concrete(parse.words[head]) is None
    return adjective and not parse.children[i] and concrete(parse.words[i]) == "tagged"


def _measure(parse: Parse, i: int) -> bool:
    """Whether "foot" or "feet" is a unit of length: "two feet tall", "20 feet"; not "on one foot"."""
    if parse.words[i] not in ("foot", "feet"):
        return False
    numbered = i > 0 and parse.tags[i - 1] == "CD" and parse.words[i - 1] not in ("one", "both")
    return numbered or (i + 1 < len(parse) and parse.words[i + 1] in _EXTENTS)


def _procedure(parse: Parse, i: int) -> bool:
    """Whether the step is one of a procedure: "the next step", "steps to take"; not "stone steps"."""
    if parse.words[i] not in ("step", "steps"):
        return False
    built = any(parse.words[j] in _MATERIALS or parse.words[j] == "front" for j in range(max(0, i - 2), i))
    after = parse.words[i + 1 : i + 3]
    leads = any(word in ("leading", "lead", "ascending", "descending") for word in after)
    leaf = parse.leaf(i)
    listed = (leaf is not None and leaf.kind == "term") or any(
        concrete(singular(parse.words[j])) == "thing" for j in parse.conjuncts(i) if j != i
    )
    return parse.words[i] == "step" or not (built or leads or listed)


def _parting(parse: Parse, i: int) -> bool:
    """Whether the fork is where a way parts: "a fork in the trail"."""
    if parse.words[i] not in ("fork", "forks") or parse.words[i + 1 : i + 2] not in (["in"], ["of"]):
        return False
    return any(parse.words[j] in _WAYS for j in parse.subtree(i + 1))


def alone(parse: Parse, i: int) -> bool:
    """Whether the token is the only one of its sentence."""
    first, end = parse.sentences[parse.sentence[i]]
    return end - first == 1


READINGS = (
    _letter,
    _matter,
    _time,
    _kind_alone,
    _address,
    _country,
    _in_grid,
    _of_a_place,
    _called_the,
    _named_house,
    _apart,
    _participle,
    _quality,
    _measure,
    _procedure,
    _parting,
)
"""Each says whether token i of a parse names no thing where it stands."""
