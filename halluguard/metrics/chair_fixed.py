"""Read object words by CHAIR's protocol "fixed": the same words and definition, without the known mistakes.

What it corrects. Each of these changes scores on real captions:

- only words of the table are brought to the singular, by rule: "bus", "ties", "canoes", "vases", "men" are found,
  "seated" and "skiing" are not objects;
- names of several words are matched up to three, longest first: "sports ball", "tennis racket", "stove top oven"
  (one mention, not two), "motor bike", "dining table"; "iphone", "cheesecake" and "hair dryer" count;
- "baby", "adult" and "young" before an animal of the table or a teddy bear do not name a person, and neither does
  "passenger" before a vehicle; a "computer mouse" is a mouse and a "computer monitor" is a screen, not a laptop;
- "couch/chair" and "boat.there" are two words;
- "seat" is dropped only next to the toilet ("toilet seat", "the seat of the toilet"), not in the whole caption.

What it does not correct: colours ("an orange shirt" names an orange), words with two meanings ("bow", "remote"),
"coffee table".
"""

from __future__ import annotations

import re
from functools import lru_cache

from halluguard.metrics.vocabulary import Vocabulary

_IRREGULAR = {"goose": "geese", "mouse": "mice", "calf": "calves", "ox": "oxen"}
_SAME = frozenset({"sheep", "skis", "scissors", "cattle", "aircraft", "watercraft", "people", "children", "luggage"})
_ANIMALS = frozenset({"bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"})
_STAND_ALONE = {
    **dict.fromkeys(("baby", "adult", "young"), _ANIMALS | {"teddy bear"}),
    "passenger": frozenset({"car", "airplane", "bus", "train", "truck", "boat"}),
    "computer": frozenset({"mouse", "keyboard", "tv"}),
}
_SEAT_OF_TOILET = re.compile(r"seats? of (?:(?:the|a|this|that|his|her|their) )?toilets?")
_INNER = re.compile(r"(?<=[a-z])[/.](?=[a-z])")


def plural(name: str) -> str:
    """The plural of a name; only its last word changes.

    >>> [plural(w) for w in ("bus", "wine glass", "knife", "policeman", "pony", "couch", "scissors")]
    ['buses', 'wine glasses', 'knives', 'policemen', 'ponies', 'couches', 'scissors']
    """
    before, _, word = name.rpartition(" ")
    if word in _SAME:
        return name
    if word in _IRREGULAR:
        word = _IRREGULAR[word]
    elif word.endswith("man"):
        word = word[:-3] + "men"
    elif word.endswith("child"):
        word += "ren"
    elif word.endswith(("s", "x", "ch", "sh")):
        word += "es"
    elif re.search("([^f]fe|ief)$", word):
        word = re.sub("fe?$", "ves", word)
    else:
        word = re.sub("(?<![aeiou])y$", "ie", word) + "s"
    return f"{before} {word}".strip()


@lru_cache(maxsize=8)
def _names(vocabulary: Vocabulary) -> dict[tuple[str, ...], str]:
    """Words of a name, singular or plural -> the unit for which the name stands."""
    units: dict[str, str] = {name: name for name in (*vocabulary.words, *vocabulary.merges.values())}
    units |= vocabulary.merges
    units |= {word.strip().lower(): category for word, category in vocabulary.unreachable.items()}
    if "hair drier" in units:
        units["hair dryer"] = "hair drier"
    return {tuple(form.split()): unit for name, unit in units.items() for form in (plural(name), name)}


def _longest(tokens: list[str], at: int, names: dict[tuple[str, ...], str]) -> tuple[str, int] | None:
    for width in (3, 2, 1):
        unit = names.get(tuple(tokens[at : at + width]))
        if unit is not None and at + width <= len(tokens):
            return unit, width
    return None


def fixed_units(tokens: list[str], vocabulary: Vocabulary) -> tuple[list[str], list[int]]:
    """The units of a caption, with names in the form of the table, and the index of each unit's first token."""
    pieces = [(piece, i) for i, token in enumerate(tokens) for piece in _INNER.split(token)]
    words, places = [piece for piece, _ in pieces], [i for _, i in pieces]
    names = _names(vocabulary)
    units, starts, at = [], [], 0
    while at < len(words):
        starts.append(places[at])
        unit, width = _longest(words, at, names) or (words[at], 1)
        alone = _longest(words, at + 1, names) if words[at] in _STAND_ALONE and width == 1 else None
        if alone and vocabulary.words.get(alone[0], alone[0]) in _STAND_ALONE[words[at]] | {"animal", "cub"}:
            unit, width = alone[0], alone[1] + 1
        elif words[at] in ("seat", "seats"):
            beside = _SEAT_OF_TOILET.match(" ".join(words[at : at + 4]))
            if beside:
                unit, width = "toilet", len(beside.group().split())
        units.append(unit)
        at += width
    return units, starts
