"""Read CHAIR's synonyms: the words that name each of the 80 COCO categories, from `chair_synonyms.json`.

`load_vocabulary()` reads that file, and `load_vocabulary(path)` one of your own in the same form. Its keys:

- `synonyms`: category -> other words for it ("person": "girl", "boy", "man", ...).
- `units`: pairs of words that are read as one ("hot dog").
- `renamed_units`: pair of words -> the word for which it counts ("toilet seat" -> "toilet").
- `qualifiers`, `qualified`: a word of the first list before one of the second is read as the second word alone, so
  that "baby elephant" is an elephant and not a person.
- `carriers`: words that are read alone after the word "passenger" ("passenger jet").
- `unreachable`: entries of the original table that can never match, because of a leading blank or a capital letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from halluguard.errors import InputError
from halluguard.metrics.reading import read_json
from halluguard.metrics.score import JsonObject


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words of object categories.

    Args:
        categories: names of the categories, in the order of the file.
        words: lower-case word or two-word unit -> category. Every category is also a key.
        merges: "first second" -> the unit for which the pair stands; it need not name an object ("train track").
        qualifiers: as in the file; used by the protocol "fixed".
        unreachable: as in the file; used by the protocol "fixed".
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
        """Category of an object, given its name in the ground truth.

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
    source = Path(__file__).with_name("chair_synonyms.json") if path is None else path
    data = read_json(source)
    try:
        return _vocabulary(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"a vocabulary must be a JSON object with 'synonyms', got {source} ({error!r}); correct the file"
        ) from error


def _vocabulary(data: JsonObject) -> Vocabulary:
    synonyms: dict[str, list[str]] = data["synonyms"]
    words = {category: category for category in synonyms}
    words |= {word: category for category, others in synonyms.items() for word in others}
    merges = {unit: unit for unit in data.get("units", [])}
    merges |= {f"{q} {word}": word for q in data.get("qualifiers", []) for word in data.get("qualified", [])}
    merges |= {f"passenger {word}": word for word in data.get("carriers", [])}
    merges |= data.get("renamed_units", {})
    qualifiers = tuple(data.get("qualifiers", []))
    return Vocabulary(tuple(synonyms), words, merges, qualifiers, data.get("unreachable", {}))
