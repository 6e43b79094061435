"""Relations between two things: where one is, seen from the other, or what one does with the other.

    a cup on a table    a cup is placed to the left of a plate    a man holding a bat

Both ends must be things: "in the background" and "on the street" name no second one. A box that the answer writes for a
mention is the relation "at".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.document import Block
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
"""Relation -> its opposite."""

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
_FILLERS = ("is", "are", "the", "a", "an", "located", "placed", "positioned", "sitting", "standing")
_SUBJECT_KEYS = ("subject", "source", "from", "head", "object1", "object_1", "entity1", "a")
_OBJECT_KEYS = ("object", "target", "to", "tail", "object2", "object_2", "entity2", "b")
_JOINTS = frozenset(("top", "front", "left", "right", "side", "next", "close", "adjacent", "inside", "atop", "near"))
VALUES = tuple(dict.fromkeys([*_PLACES.values(), *_DOINGS.values()]))


class _Relation(NamedTuple):
    """A relation between the things of two tokens, said by tokens `trigger` under `governor`."""

    value: str
    subject: int
    other: int
    trigger: tuple[int, int]
    governor: int


def read(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """Relation claims; `subject` and `other` are the indices of the two existence claims."""
    claims: dict[tuple[int, int, str], Claim] = {}
    for relation in [*_places(answer), *_doings(answer), *_triples(answer)]:
        a, b = answer.mention(relation.subject), answer.mention(relation.other)
        if a is None or b is None or a == b or (a, b, relation.value) in claims:
            continue
        if answer.is_countable(a) and answer.is_countable(b):
            claims[a, b, relation.value] = _claim(answer, existence[a], existence[b], a, b, relation)
    return [claims[key] for key in sorted(claims)] + _written_boxes(answer, existence)


def _claim(answer: ParsedAnswer, existence: Claim, other: Claim, a: int, b: int, relation: _Relation) -> Claim:
    """The claim; it is as doubtful as its ends, so that "beside a cat or a rabbit" claims neither."""
    parse, (first, last) = answer.parse, relation.trigger
    denied = parse.tags[relation.governor] in VERB_TAGS and answer.negated(relation.governor)
    return answer.about(
        existence if existence.modality != "asserted" else replace(existence, modality=other.modality),
        a,
        *answer.span(relation.subject, relation.other, first, last),
        kind="relation",
        sentence=parse.sentence[first],
        polarity="denied" if denied else existence.polarity,
        relation=relation.value,
        other=b,
        other_name=answer.mentions[b].name,
        source_rule="doing" if relation.value in _DOINGS.values() else "place",
        trigger=(parse.starts[first], parse.ends[last]),
    )


def _written_boxes(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """One claim per box that the answer writes for a mention."""
    return [
        replace(existence[n], kind="relation", relation="at", source_rule="written box", subject=n, written_box=box)
        for n, mention in enumerate(answer.mentions)
        for box in answer.parse.boxes.get(mention.last, ())
    ]


def _places(answer: ParsedAnswer) -> Iterator[_Relation]:
    parse = answer.parse
    for token in [*answer.heads, *answer.links]:
        top = parse.first_conjunct(token)
        if parse.deps[top] != "pobj":
            continue
        path, governor = _path(parse, parse.heads[top])
        value = _PLACES.get(" ".join(_spelled(parse, path)))
        if value is None:
            continue
        if answer.mention(governor) is not None and parse.tags[governor] not in VERB_TAGS:
            subjects = [governor]
        else:
            subjects = answer.subjects(governor)
        for subject in subjects:
            if parse.sentence[subject] == parse.sentence[token]:
                yield _Relation(value, subject, token, (min(path), max(path)), governor)


def _triples(answer: ParsedAnswer) -> Iterator[_Relation]:
    """Relations written as arrays or objects of JSON: ["man", "riding", "horse"]."""
    parse = answer.parse
    if parse.document is None or len(parse.leaves) < 3:
        return
    last = {leaf: token for token, leaf in enumerate(parse.block)}
    first = {leaf: token for token, leaf in reversed([*enumerate(parse.block)])}
    for at, relation in enumerate(parse.leaves[1:-1], 1):
        if at not in last or relation.kind != "term" or last.get(at - 1) is None or last.get(at + 1) is None:
            continue
        said = [parse.words[i] for i in range(first[at], last[at] + 1) if parse.words[i] not in _FILLERS]
        value = _PLACES.get(" ".join(said)) or _DOINGS.get(" ".join(said))
        if value is not None and _is_triple(answer, at):
            yield _Relation(value, last[at - 1], last[at + 1], (first[at], last[at]), first[at])


def _is_triple(answer: ParsedAnswer, at: int) -> bool:
    """Whether a leaf of JSON stands alone between the two things of its array or object."""
    before, relation, after = answer.parse.leaves[at - 1 : at + 2]
    text = answer.parse.text
    same_array = {_between(text, before, relation), _between(text, relation, after)} == {'","'}
    keys = (before.label.lower(), relation.label.lower(), after.label.lower())
    return same_array or (keys[0] in _SUBJECT_KEYS and keys[2] in _OBJECT_KEYS)


def _between(text: str, a: Block, b: Block) -> str:
    return "".join(text[a.end : b.start].split())


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
    words = []
    for i in sorted(path):
        if parse.words[i] == "side":
            words += [parse.words[j] for j in parse.children[i] if parse.words[j] in ("left", "right")]
        words.append(parse.words[i])
    return words


def _doings(answer: ParsedAnswer) -> Iterator[_Relation]:
    parse = answer.parse
    for token in answer.heads:
        verb = parse.heads[parse.first_conjunct(token)]
        value = _DOINGS.get(parse.words[verb])
        if value and parse.deps[parse.first_conjunct(token)] in ("dobj", "obj") and parse.tags[verb] in VERB_TAGS:
            for subject in answer.subjects(verb):
                if parse.sentence[subject] == parse.sentence[token]:
                    yield _Relation(value, subject, token, (verb, verb), verb)
