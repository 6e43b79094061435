"""Which words name which object category: the 80 of COCO, in `chair_synonyms.json`, or a file of yours.

The JSON holds `synonyms` (category -> other words for it), `units` (two words that are read as one), `renamed_units`
(two words -> the word they count as), and three short lists: after `qualifiers` ("baby") the `qualified` ("elephant")
stand alone, so that a baby elephant holds no person, and so do the `carriers` ("jet") after "passenger".
`unreachable` keeps what the original table holds and can never match: leading blanks, and a capital letter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

from halluguard.errors import InputError


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words of object categories.

    Args:
        categories: the names, in the order of the file.
        words: lower-case word or two-word unit -> category; holds every category itself.
        merges: "first second" -> the unit both are read as, which need not name an object ("train track").
        qualifiers, unreachable: as in the file, for the protocol that mends the table.
    """

    categories: tuple[str, ...]
    words: Mapping[str, str]
    merges: Mapping[str, str]
    qualifiers: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def first_words(self) -> frozenset[str]:
        """First words of `merges`."""
        return frozenset(unit.partition(" ")[0] for unit in self.merges)

    def category(self, name: str) -> str:
        """Category of an object's name as ground truth spells it.

        >>> load_vocabulary().category("Man")
        'person'
        """
        word = name.strip().lower()
        if word not in self.words:
            raise InputError(
                f"an object must be one of the {len(self.categories)} categories or a synonym of one, got {name!r}; "
                "correct the name, or give a vocabulary that holds it"
            )
        return self.words[word]


@lru_cache(maxsize=8)
def load_vocabulary(path: str | Path | None = None) -> Vocabulary:
    """Read a vocabulary file; without a path, CHAIR's table of the 80 COCO categories.

    Raises:
        InputError: the file is missing, is not JSON, or lacks `synonyms`.
    """
    source = files("halluguard.metrics").joinpath("chair_synonyms.json") if path is None else Path(path)
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
        synonyms: dict[str, list[str]] = data["synonyms"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"a vocabulary must be a JSON object with 'synonyms', got {source} ({error!r})") from error
    words = {category: category for category in synonyms}
    words |= {word: category for category, others in synonyms.items() for word in others}
    merges = {unit: unit for unit in data.get("units", [])}
    merges |= {f"{q} {word}": word for q in data.get("qualifiers", []) for word in data.get("qualified", [])}
    merges |= {f"passenger {word}": word for word in data.get("carriers", [])}
    merges |= data.get("renamed_units", {})
    qualifiers = tuple(data.get("qualifiers", []))
    return Vocabulary(tuple(synonyms), words, merges, qualifiers, data.get("unreachable", {}))
