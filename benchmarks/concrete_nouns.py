"""Derive the inventory of concrete nouns that extraction ships from WordNet 3.0.

    NLTK_DATA=FOLDER python benchmarks/concrete_nouns.py > halluguard/correction/text/concrete_nouns.txt

A noun is concrete when at least half of its weight lies on senses below the roots: artifacts, organisms, food, body
parts, natural objects, geological formations, bodies of water, tracts of land. A sense weighs what WordNet's tagged
corpora count for it, plus the reciprocal of its rank. Nouns whose verbs or adjectives weigh more than 0.4 of the noun
need the tagger's word that they are nouns ("tagged"); the others are read whatever the tagger says ("things").
Proper names, genera, words of more than three parts, and names that end in a word of the list are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nltk.corpus import wordnet
from nltk.corpus.reader.wordnet import Synset

ROOTS = (
    "artifact.n.01", "organism.n.01", "food.n.01", "food.n.02", "beverage.n.01", "body_part.n.01",
    "natural_object.n.01", "geological_formation.n.01", "body_of_water.n.01", "tract.n.01",
    "vegetation.n.01", "animal_skin.n.01", "fabric.n.01", "paper.n.01", "ice.n.01", "plant_organ.n.01",
    "plant_part.n.01", "imaginary_being.n.01",
)  # fmt: skip
_WORD = re.compile(r"[a-z]{2,}(?:[ -][a-z]{2,}){0,2}")
_OTHER_CLASS = 0.4


def main() -> None:
    lines = [*wordnet_notice(), "#", "# Made by benchmarks/concrete_nouns.py."]
    things, tagged = nouns()
    for title, words in (("things", things), ("tagged", tagged)):
        lines += ["", f"[{title}]", *sorted(words)]
    print("\n".join(lines))


def wordnet_notice() -> list[str]:
    """WordNet's licence, which stands at the head of its data files and must go with every copy, as remarks."""
    with wordnet.open("data.noun") as file:
        head = [line for line in file.read(4000).splitlines() if line.startswith("  ")]
    return [f"# {line.strip().partition(' ')[2]}".rstrip() for line in head]


def nouns() -> tuple[list[str], list[str]]:
    """The words read whatever the tagger says, and those that need a noun tag."""
    concrete = {s for root in ROOTS for s in wordnet.synset(root).closure(lambda s: s.hyponyms())}
    concrete |= {wordnet.synset(root) for root in ROOTS}
    things: list[str] = []
    tagged: list[str] = []
    for lemma in sorted(set(wordnet.all_lemma_names("n"))):
        word = lemma.replace("_", " ")
        if not _WORD.fullmatch(word) or word.startswith("genus "):
            continue
        senses = wordnet.synsets(lemma, "n")
        named = [s for s in senses if lemma in s.lemma_names()]  # without senses of the capitalised name
        share = weight(lemma, [s for s in named if s in concrete], senses) / max(1e-9, weight(lemma, senses, senses))
        if share < 0.5:
            continue
        own = sum(count(lemma, s) for s in senses)
        other = {pos: sum(count(lemma, s) for s in wordnet.synsets(lemma, pos)) for pos in "var"}
        if other["a"] + other["r"] > 2 * own:
            continue  # "modern", "small": a noun in the dictionary only
        gated = any(wordnet.synsets(lemma, pos) for pos in "var") and sum(other.values()) > _OTHER_CLASS * own
        (tagged if gated else things).append(word)
    heads = {*things, *tagged}
    return [w for w in things if w.split()[-1] not in heads - {w}], tagged


def weight(lemma: str, senses: Iterable[Synset], ranked: list[Synset]) -> float:
    return sum(count(lemma, s) + 1 / (1 + ranked.index(s)) for s in senses)


def count(lemma: str, synset: Synset) -> int:
    """Number of times that the tagged corpora use the word in this sense."""
    return sum(entry.count() for entry in synset.lemmas() if entry.name().lower() == lemma.lower())


if __name__ == "__main__":
    main()
