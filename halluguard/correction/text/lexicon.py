"""Word lists that decide how a noun is read: `lexicon.txt` by section, and the inventories of concrete nouns.

Object words come first from `halluguard.vocabulary`: the small parser mistakes rare nouns ("hydrant", "geese") for
verbs and adjectives far more often than the table is wrong. Only words with a second meaning are left to the parser.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from halluguard.vocabulary import singular

Evidence = Literal["thing", "tagged"]


def read_sections(name: str) -> dict[str, list[str]]:
    """Lines of each section of a word list of this package; `[title]` opens a section, `#` a remark."""
    sections: dict[str, list[str]] = {}
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            rows = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            rows.append(line.strip())
    return sections


_SECTIONS = read_sections("lexicon.txt")


def words(section: str) -> frozenset[str]:
    """The words of one section of `lexicon.txt`."""
    return frozenset(word for line in _SECTIONS[section] for word in line.split())


def phrases(section: str) -> tuple[tuple[str, ...], ...]:
    """The lines of one section of `lexicon.txt`, each as its words."""
    return tuple(tuple(line.split()) for line in _SECTIONS[section])


@lru_cache(maxsize=1)
def _inventory() -> dict[str, Evidence]:
    """Concrete noun -> whether it is read whatever the tagger says, or needs a noun tag."""
    sections, everyday = read_sections("concrete_nouns.txt"), read_sections("everyday_nouns.txt")
    known: dict[str, Evidence] = dict.fromkeys(sections["tagged"], "tagged")
    known |= dict.fromkeys(sections["things"], "thing")
    known |= {singular(word): "tagged" for line in everyday["tagged"] for word in line.split()}
    known |= {singular(word): "thing" for line in everyday["things"] for word in line.split()}
    known |= dict.fromkeys([*words("stuff"), *words("concrete")], "thing")
    known |= dict.fromkeys(words("tagged things"), "tagged")
    for word in words("generic"):
        known.pop(word, None)
        known.pop(f"{word}s", None)
    known |= dict.fromkeys(words("concrete"), "thing")
    return known | {" ".join(name): "thing" for name in phrases("joined things")}


@lru_cache(maxsize=1)
def joined_things() -> dict[str, int]:
    """First word -> number of words of the longest noun that begins with it ("fire" -> 2, "fire escape")."""
    longest: dict[str, int] = {}
    for name in _inventory():
        parts = name.split()
        if len(parts) > 1:
            longest[parts[0]] = max(longest.get(parts[0], 0), len(parts))
    return longest


def concrete(name: str) -> Evidence | None:
    """Whether a singular noun names something that can be seen, and on what evidence; None when it does not.

    >>> concrete("croissant"), concrete("watch"), concrete("atmosphere")
    ('thing', 'tagged', None)
    """
    return _inventory().get(name)


# Penn Treebank tags.
NOUN_TAGS = frozenset(("NN", "NNS", "NNP", "NNPS"))
VERB_TAGS = frozenset(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"))
FINITE_TAGS = frozenset(("VBD", "VBP", "VBZ", "MD"))
BEFORE_NOUN_TAGS = frozenset(("DT", "CD", "JJ", "JJR", "JJS", "PRP$", "POS", "WP$", "PDT"))
