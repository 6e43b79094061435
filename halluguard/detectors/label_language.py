"""Refuse lists of labels in other languages: English phrases match none of them, so every object would look absent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from halluguard.errors import InputError
from halluguard.vocabulary import FORMS

_WORD = re.compile(r"[^\W\d_]+")
_LANGUAGES = "en de fr es it pt nl sv da no fi pl cs sk hu ro tr vi id hr sl lt lv et ca".split()
_NAMES = frozenset(
    word
    for line in Path(__file__).with_name("foreign_names.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for word in line.split()
)
"""Names of common objects in languages that are often used in place of English."""
_KNOWN, _LEAST, _SURE = 0.3, 3, 0.9
"""A list is refused at this share of known English names or less, with this many words and this certainty or more."""


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def check_english(labels: Sequence[str]) -> None:
    """Check that labels are English.

    Raises:
        InputError: most are in another script, or they are clearly of another language.
    """
    distinct = sorted(set(labels))
    shown = ", ".join(map(repr, distinct[:4]))
    advice = "translate them, or map them to English names"
    letters = [ch for label in distinct for ch in label if ch.isalpha()]
    if sum(not unicodedata.name(ch, "").startswith("LATIN") for ch in letters) > len(letters) / 2:
        raise InputError(f"expected English names of objects, got labels in another script ({shown}); {advice}")
    named = [label.lower().strip() for label in distinct]
    foreign = sum(label in _NAMES for label in named)
    if foreign >= 2 and foreign > sum(label in FORMS for label in named):
        raise InputError(f"expected English names of objects, got labels of another language ({shown}); {advice}")
    words = [_WORD.findall(label.lower()) for label in distinct]
    unknown = [of for of in words if of and " ".join(of) not in FORMS and of[-1] not in FORMS]
    if len(unknown) < _LEAST or len(unknown) < (1 - _KNOWN) * len(words):
        return
    language, certainty = _identifier().classify(" ".join(word for of in unknown for word in of))
    if language != "en" and certainty >= _SURE:
        raise InputError(
            f"expected English names of objects, got labels that look like {language!r} ({shown}); {advice}"
        )


@lru_cache(maxsize=1)
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_LANGUAGES)
    return identifier
