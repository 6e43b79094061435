"""Measure by WordNet how far a word of one caption supports a word of another.

Similarity of two nouns is Lin's, with the information content of a concept from WordNet's own tree (Seco, Veale and
Hayes 2004, ECAI): the fewer kinds below a concept, the more informative it is. A more special word supports a more
general one ("dog" supports "animal"), not the other way round. Words of one family (ski, skier) and words of which one
contains the other (board, surfboard) count as nearly equal.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Literal

from halluguard.metrics.wordnet import corpus, tagged

Kind = Literal["noun", "number", "colour", "adjective", "verb"]

NEAR = 0.9
"""Similarity from which two words count as the same."""

NUMBERS = {
    **{word: number for number, word in enumerate("two three four five six seven eight nine ten".split(), 2)},
    "couple": 2,
    "pair": 2,
    "both": 2,
}
COLOURS = frozenset(
    "red blue green yellow black white brown grey gray orange pink purple silver gold tan beige".split()
)
_VAGUE = frozenset(
    "background foreground front side top photo picture view image day time area group lot other number variety way "
    "thing one be have do left right middle bunch part place".split()
)
_SENSES = 3
_NOUNS = 82_115
"""Number of noun concepts in WordNet 3.0."""

_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*", re.IGNORECASE)
_KINDS: dict[str, Kind] = {"N": "noun", "V": "verb", "J": "adjective", "C": "number"}
_PARTS = {"noun": "n", "verb": "v", "adjective": "a", "number": "n", "colour": "a"}


@lru_cache(maxsize=1 << 16)
def base(word: str, part: str) -> str:
    """Base form of a word as a part of speech (n, v, a); the word itself where WordNet has none.

    >>> base("racquets", "n")  # doctest: +SKIP
    'racquet'
    """
    return corpus().morphy(word, part) or word


def content_words(text: str) -> list[tuple[Kind, str, str]]:
    """(kind, base form, word as written) of the content words of a text, in order."""
    words: list[tuple[Kind, str, str]] = []
    for word, tag in tagged(text):
        lower = word.lower()
        kind = _KINDS.get(tag[0])
        if lower in NUMBERS:
            kind = "number"
        elif kind == "number" or kind is None or not lower[0].isalpha():
            continue
        elif kind == "adjective" and lower in COLOURS:
            kind = "colour"
        form = base(lower, _PARTS[kind])
        if form not in _VAGUE:
            words.append((kind, form, word))
    return words


@lru_cache(maxsize=1 << 14)
def all_forms(text: str) -> frozenset[str]:
    """Lower-cased words of a reference with their base forms, whatever their part of speech."""
    words = {word.lower() for word in _WORD.findall(text)}
    return frozenset(words | {base(word, part) for word in words for part in "nva"} - _VAGUE)


@lru_cache(maxsize=1 << 16)
def _concepts(word: str) -> tuple[Any, ...]:
    return tuple(corpus().synsets(word, "n")[:_SENSES])


@lru_cache(maxsize=1 << 16)
def _content(concept: Any) -> float:
    below = len(set(concept.closure(lambda one: one.hyponyms())))
    return 1 - math.log(below + 1) / math.log(_NOUNS)


@lru_cache(maxsize=1 << 16)
def _above(concept: Any) -> dict[int, float]:
    """Offset -> information content, for a concept and all more general ones, highest content first."""
    concepts = {concept, *concept.closure(lambda one: one.hypernyms() + one.instance_hypernyms())}
    contents = {one.offset(): _content(one) for one in concepts}
    return dict(sorted(contents.items(), key=lambda pair: -pair[1]))


@lru_cache(maxsize=1 << 16)
def _senses(word: str) -> tuple[tuple[int, float, dict[int, float]], ...]:
    """(offset, information content, `_above`) of the first senses of a noun."""
    return tuple((one.offset(), _content(one), _above(one)) for one in _concepts(word))


@lru_cache(maxsize=1 << 16)
def family(word: str) -> frozenset[str]:
    """Words that WordNet derives from a word, such as skier from ski."""
    lemmas = (lemma for concept in corpus().synsets(word)[:4] for lemma in concept.lemmas())
    return frozenset(form.name().lower() for lemma in lemmas for form in lemma.derivationally_related_forms())


@lru_cache(maxsize=1 << 20)
def kinship(word: str, reference: str) -> float:
    """Similarity of two words by form: 1 for the same word, 0.95 in one family, 0.9 if one contains the other, else 0.

    >>> kinship("dog", "dog")
    1.0
    """
    if word == reference:
        return 1.0
    if word in family(reference) or reference in family(word):
        return 0.95
    return NEAR if min(len(word), len(reference)) > 3 and (word in reference or reference in word) else 0.0


@lru_cache(maxsize=1 << 20)
def similarity(word: str, reference: str) -> float:
    """Support of a noun by a reference's word, by meaning, in [0, 1]; not symmetric."""
    best = 0.0
    for offset, content, above in _senses(word):
        for _, reference_content, above_reference in _senses(reference):
            if offset in above_reference:
                best = max(best, 0.97)
                continue
            both = content + reference_content
            if not both:
                continue
            for shared, shared_content in above.items():
                value = 2 * shared_content / both
                if value <= best:
                    break  # all further ones have less content
                if shared in above_reference:
                    best = value
                    break
    return best


@lru_cache(maxsize=1 << 16)
def _at_and_above(word: str) -> dict[int, float]:
    """Offset of every concept at or above a sense of a noun -> least information content of those senses."""
    least: dict[int, float] = {}
    for _, content, above in _senses(word):
        for offset in above:
            least[offset] = min(content, least.get(offset, content))
    return least


@lru_cache(maxsize=1 << 10)
def _least_contents(references: frozenset[str]) -> dict[int, float]:
    """The same of all words of references together."""
    least: dict[int, float] = {}
    for word in references:
        for offset, content in _at_and_above(word).items():
            if content < least.get(offset, math.inf):
                least[offset] = content
    return least


@lru_cache(maxsize=1 << 14)
def greatest_similarity(word: str, references: frozenset[str]) -> float:
    """The largest `similarity` of a noun to a word of references; 0 without references.

    Each concept above the noun is looked up once for all references: their least informative sense below it gives the
    largest value. Where a reference is a kind of the noun, the words are compared one by one.
    """
    least, best = _least_contents(references), 0.0
    for offset, content, above in _senses(word):
        if offset in least:
            return max(similarity(word, reference) for reference in references)
        for shared, shared_content in above.items():
            both = content + least.get(shared, math.inf)
            if both:
                best = max(best, 2 * shared_content / both)
    return best


@lru_cache(maxsize=1 << 16)
def topic(word: str) -> str:
    """WordNet's topic of a noun's first sense, such as "artifact" or "food"; "none" for a word outside WordNet."""
    concepts = _concepts(word)
    return concepts[0].lexname().removeprefix("noun.") if concepts else "none"
