"""How two things stand to each other: where one is, seen from the other, or what one does with the other.

    a cup on a table    a cup is placed to the left of a plate    a man holding a bat

Both ends must be things; "in the background", "on the street" name no second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from halluguard.correction.claims.predicates import Reading
from halluguard.correction.text.lexicon import VERB_TAGS
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim

OPPOSITE = {
    "left of": "right of",
    "right of": "left of",
    "above": "under",
    "under": "above",
    "in front of": "behind",
    "behind": "in front of",
}
"""What a relation turns into when it was the wrong way round."""

_PLACES = {
    "on": "on", "on top of": "on", "atop": "on", "atop of": "on", "upon": "on", "on to": "on", "onto": "on",
    "in": "in", "inside": "in", "inside of": "in", "within": "in",
    "under": "under", "underneath": "under", "beneath": "under", "below": "under",
    "above": "above", "over": "above",
    "behind": "behind", "in front of": "in front of", "front of": "in front of",
    "next to": "next to", "beside": "next to", "alongside": "next to", "adjacent to": "next to",
    "near": "near", "close to": "near", "near to": "near",
    "to left of": "left of", "on left of": "left of", "left of": "left of",
    "to left side of": "left of", "at left of": "left of",
    "to right of": "right of", "on right of": "right of", "right of": "right of",
    "to right side of": "right of", "at right of": "right of",
}  # fmt: skip
_DOINGS = {
    "holding": "holding", "holds": "holding", "hold": "holding", "carrying": "holding", "carries": "holding",
    "wearing": "wearing", "wears": "wearing", "wear": "wearing",
    "riding": "riding", "rides": "riding", "ride": "riding",
}  # fmt: skip
_JOINTS = frozenset(("top", "front", "left", "right", "side", "next", "close", "adjacent", "inside", "atop", "near"))
VALUES = tuple(dict.fromkeys([*_PLACES.values(), *_DOINGS.values()]))


def read(reading: Reading, existence: Sequence[Claim]) -> list[Claim]:
    """Relation claims; `subject` and `other` are the indices of the two existence claims."""
    found: dict[tuple[int, int, str], Claim] = {}
    for value, subject, other, trigger, verb in [*_places(reading), *_doings(reading)]:
        a, b = reading.mention(subject), reading.mention(other)
        if a is None or b is None or a == b or (a, b, value) in found or _stuff(reading, a, b):
            continue
        found[a, b, value] = _claim(reading, existence[a], (a, b), value, (subject, other), trigger, verb)
    return [found[key] for key in sorted(found)]


def _stuff(reading: Reading, *mentions: int) -> bool:
    return any(reading.mentions[n].rule == "stuff" or reading.mentions[n].part for n in mentions)


def _claim(
    reading: Reading,
    existence: Claim,
    ends: tuple[int, int],
    value: str,
    tokens: tuple[int, int],
    trigger: tuple[int, int],
    verb: int,
) -> Claim:
    parse = reading.parse
    first, last = reading.span(*tokens, *trigger)
    denied = any(parse.deps[j] == "neg" for j in parse.children[verb]) if parse.tags[verb] in VERB_TAGS else False
    return replace(
        existence,
        kind="relation",
        phrase=parse.span(first, last),
        start=parse.starts[first],
        end=parse.ends[last],
        sentence=parse.sentence[trigger[0]],
        polarity="denied" if denied else existence.polarity,
        relation=value,
        subject=ends[0],
        other=ends[1],
        other_name=reading.mentions[ends[1]].name,
        source_rule="doing" if value in _DOINGS.values() else "place",
        trigger=(parse.starts[trigger[0]], parse.ends[trigger[1]]),
        alternatives=(),
        same_as=None,
    )


_Found = tuple[str, int, int, tuple[int, int], int]


def _places(reading: Reading) -> Iterator[_Found]:
    parse = reading.parse
    for token in [*reading.heads, *reading.links]:
        top = parse.first_conjunct(token)
        if parse.deps[top] != "pobj":
            continue
        path, governor = _path(parse, parse.heads[top])
        value = _PLACES.get(" ".join(_spelled(parse, path)))
        if value is None:
            continue
        if reading.mention(governor) is not None and parse.tags[governor] not in VERB_TAGS:
            subjects = [governor]
        else:
            subjects = reading.subjects(governor)
        for subject in subjects:
            if parse.sentence[subject] == parse.sentence[token]:
                yield value, subject, token, (min(path), max(path)), governor


def _path(parse: Parse, preposition: int) -> tuple[list[int], int]:
    """The words of a complex preposition ("to the left of"), and the word that governs it."""
    path, node = [preposition], parse.heads[preposition]
    while parse.heads[node] != node and (parse.words[node] in _JOINTS or parse.deps[node] in ("prep", "pcomp")):
        if parse.sentence[node] != parse.sentence[preposition] or node > preposition:
            break
        path.append(node)
        node = parse.heads[node]
    return path, node


def _spelled(parse: Parse, path: Sequence[int]) -> list[str]:
    found = []
    for i in sorted(path):
        if parse.words[i] == "side":
            found += [parse.words[j] for j in parse.children[i] if parse.words[j] in ("left", "right")]
        found.append(parse.words[i])
    return found


def _doings(reading: Reading) -> Iterator[_Found]:
    parse = reading.parse
    for token in reading.heads:
        verb = parse.heads[parse.first_conjunct(token)]
        value = _DOINGS.get(parse.words[verb])
        if value and parse.deps[parse.first_conjunct(token)] in ("dobj", "obj") and parse.tags[verb] in VERB_TAGS:
            for subject in reading.subjects(verb):
                if parse.sentence[subject] == parse.sentence[token]:
                    yield value, subject, token, (verb, verb), verb
