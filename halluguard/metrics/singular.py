"""Reduce an English word to its singular exactly as `pattern.en.singularize` does, including its mistakes.

The original CHAIR looks up the words that this function returns, so its mistakes belong to the metric: "bus" becomes
"bu" and is never seen, "ties" becomes "ty", "tennis" becomes "tenni". The rules are those of pattern 2.6 and 3.6
(De Smedt and Daelemans, University of Antwerp, BSD licence; after Bermi Ferrer's Inflector and Damian Conway),
rewritten as tables (`singular.json` and below); the two versions agree.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files

_LISTS: dict[str, list[str]] = {
    name: " ".join(lines).split()
    for name, lines in json.loads(files("halluguard.metrics").joinpath("singular.json").read_text()).items()
    if name != "origin"
}

# Words that stay unchanged, as does any word that ends one of these: "ears" because of "shears".
_TAILS = frozenset(word[i:] for word in _LISTS["unchanged"] for i in range(len(word) + 1))
# Plurals in -ies that the original was meant to reduce to -ie, but leaves unchanged. The "^tie" of its list has a caret
# and matches no ordinary word, so that "ties" becomes "ty".
_IES = tuple(stem + "s" for stem in _LISTS["ie"])
# Irregular plurals, matched at the end of any word: "men" matches "women", and also "specimen".
_IRREGULAR = dict(pair.split("=") for pair in _LISTS["irregular"])
_PREPOSITIONS = frozenset(_LISTS["prepositions"])

_IRREGULAR_END = re.compile(rf"({'|'.join(_IRREGULAR)})$", re.IGNORECASE)

# (text before the ending, ending, replacement); the first row that matches is used. The original does not anchor "oxen"
# at the end of the word, so that rule can match anywhere in a word.
_RULES = tuple(
    (
        "" if before == "^ox" else ending,
        re.compile(f"(?P<stem>{before}){ending}{'' if before == '^ox' else '$'}", re.IGNORECASE),
        new,
    )
    for before, ending, new in [
        (".", "ae", "a"),
        (".", "itis", "itis"),
        (".", "eaux", "eau"),
        ("quiz", "zes", ""),
        ("matr", "ices", "ix"),
        ("ap|vert|ind", "ices", "ex"),
        ("^ox", "en", ""),
        ("alias|status", "es", ""),
        ("[octpvir|]", "i", "us"),
        ("cris|ax|test", "es", "is"),
        ("shoe", "s", ""),
        ("o", "es", ""),
        ("bus", "es", ""),
        ("[ml|]", "ice", "ouse"),
        ("x|ch|ss|sh", "es", ""),
        ("movie|.ombie", "s", ""),
        ("", "series", "series"),
        ("[^aeiouy]|qu", "ies", "y"),
        ("[aeo]l|[^d]ea|ar", "ves", "f"),
        ("er", "ves", "ve"),
        ("[nlw]i", "ves", "fe"),
        ("[lr]", "ves", "f"),
        ("[aeo]|[st]i|hi", "ves", "ve"),
        ("[^f]", "ves", "fe"),
        ("^analy", "ses", "sis"),
        ("analy", "ses", "asis"),
        ("ba|diagno|parenthe|progno|synop|the", "ses", "sis"),
        (".op|.y", "ses", "sis"),
        ("[hdronbp]o|clo", "ses", "se"),
        ("fruct|gluc|galact|lact|ket|malt|rib|sacchar|cellul", "ose", "ose"),
        (".o", "ses", "sis"),
        ("[ti]", "a", "um"),
        ("", "news", "news"),
        ("", "s", ""),
    ]
)

_LAST_LETTERS = frozenset(ending[-1] for ending in (*_IRREGULAR, *(ending for ending, _, _ in _RULES)) if ending)


@lru_cache(maxsize=1 << 16)
def singularize(word: str) -> str:
    """The singular of a lower-case token.

    >>> [singularize(w) for w in ("women", "buses", "bus", "knives", "ties", "scissors", "mothers-in-law")]
    ['woman', 'bus', 'bu', 'knife', 'ty', 'scissors', 'mother-in-law']
    """
    head, dash, tail = word.partition("-")
    if dash and tail.split("-")[0] in _PREPOSITIONS:
        return f"{singularize(head)}-{tail}"
    if word.endswith("'"):
        return singularize(word[:-1]) + "'s"
    lower = word.lower()
    ascii_only = word.isascii()  # otherwise letters such as "ſ" match "s" in the rules
    if ascii_only and lower[-1:] not in _LAST_LETTERS and not lower.startswith("oxen"):
        return word
    if lower in _TAILS or lower.endswith(_IES):
        return word
    irregular = _IRREGULAR_END.search(word)
    if irregular:
        return word[: irregular.start()] + _IRREGULAR[irregular.group().lower()]
    for ending, rule, new in _RULES:
        if ascii_only and not lower.endswith(ending):
            continue
        match = rule.search(word)
        if match:
            return word[: match.end("stem")] + new + word[match.end() :]
    return word
