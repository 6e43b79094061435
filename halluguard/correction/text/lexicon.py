"""Words that decide whether a noun claims something, as this layer reads them: `lexicon.txt` as sets.

Object words come first from `halluguard.vocabulary`: the small parser mistakes rare nouns ("hydrant", "geese") for
verbs and adjectives far more often than the table is wrong. Only words that have a second life are left to it.
"""

from __future__ import annotations

from pathlib import Path


def _read(text: str) -> dict[str, frozenset[str]]:
    """Sections in brackets, free-flowing words below, `#` for remarks."""
    sections: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            words = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            words += line.split()
    return {name: frozenset(words) for name, words in sections.items()}


_WORDS = _read(Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8"))


def words(section: str) -> frozenset[str]:
    """The words of one section of `lexicon.txt`."""
    return _WORDS[section]


# Penn Treebank tags.
NOUN_TAGS = frozenset(("NN", "NNS", "NNP", "NNPS"))
VERB_TAGS = frozenset(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"))
BEFORE_NOUN_TAGS = frozenset(("DT", "CD", "JJ", "JJR", "JJS", "PRP$", "POS", "WP$", "PDT"))
