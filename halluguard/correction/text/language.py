"""Recognise what is not English, block by block, and leave it to the extractor of its language, or unread.

Words that only English uses settle most texts at once; the rest is put to py3langid, which ships its model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from halluguard.correction import languages
from halluguard.correction.text.budget import check_budget, not_counted
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.lexicon import concrete
from halluguard.errors import InputError
from halluguard.vocabulary import FORMS, singular

_ENGLISH = frozenset(
    "the and of are with there this that an from its his her two near which sitting standing visible yes "
    "wearing holding above behind under".split()
)
_LANGUAGES = (
    "en de fr es it pt nl sv da no fi is pl cs sk hu ro tr vi id ms tl hr sl lt lv et sq ca eu gl cy ga af sw az bs mt"
).split()
"""Latin-script languages that are told apart."""
_SCRIPTS = {
    "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CYRILLIC": "ru", "ARABIC": "ar", "HEBREW": "he",
    "GREEK": "el", "DEVANAGARI": "hi", "THAI": "th", "BENGALI": "bn", "TAMIL": "ta", "ARMENIAN": "hy", "GEORGIAN": "ka",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS = 3
_SURE, _VERY_SURE = 0.5, 0.8


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


@lru_cache(maxsize=1)
def _identifier() -> _Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    with not_counted():
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        identifier.set_languages(_LANGUAGES)
    return identifier


def language_of(text: str) -> str | None:
    """The language of words as an ISO 639-1 code; None where they are too few to tell.

    >>> language_of("A dog and a cat are on the couch."), language_of("Resimde bir köpek ve bir kedi var.")
    ('en', 'tr')
    """
    check_budget()
    script = _script(text)
    if script:
        return script
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _LEAST_WORDS:
        return None
    if sum(word in _ENGLISH for word in words) >= max(1, len(words) // 12):
        return "en"
    if text.isascii():
        known = [word in FORMS or concrete(singular(word)) is not None for word in words]
        if sum(known) >= 0.4 * len(words):
            return "en"
        if any(noun and article in ("a", "an") for article, noun in zip(words, known[1:], strict=False)):
            return "en"
    language, sureness = _identifier().classify(text)
    return language if language == "en" or sureness >= (_SURE if len(words) > 4 else _VERY_SURE) else None


def _script(text: str) -> str | None:
    """The language of the script that most letters belong to; None for Latin."""
    if text.isascii():
        return None
    letters = [ch for ch in text if ch.isalpha()]
    names = [unicodedata.name(ch, "").split(" ")[0].split("-")[0] for ch in letters if ord(ch) > 0x24F]
    foreign = [name for name in names if name not in ("LATIN", "MODIFIER", "MATHEMATICAL", "FULLWIDTH")]
    if len(foreign) * 2 <= len(letters):
        return None
    if "HIRAGANA" in foreign or "KATAKANA" in foreign:
        return "ja"
    return _SCRIPTS.get(max(set(foreign), key=foreign.count), "other")


def mark_languages(document: Document) -> Document:
    """The document with the language of each leaf that is not English, unread where no extractor reads it.

    A leaf too short to tell goes with the leaves around it.
    """
    text, leaves = document.text, list(document.leaves())
    languages = [language_of(text[leaf.start : leaf.end]) for leaf in leaves]
    if not any(language not in (None, "en") for language in languages):
        if any(languages) or _joined(text, leaves) in (None, "en"):
            return document
        languages = [_joined(text, leaves)] * len(leaves)
    foreign = {
        id(leaf): language for leaf, language in zip(leaves, _filled(languages), strict=True) if language != "en"
    }
    return replace(document, root=_marked(document.root, foreign)) if foreign else document


def _joined(text: str, leaves: Sequence[Block]) -> str | None:
    return language_of(" ".join(text[leaf.start : leaf.end] for leaf in leaves))


def _filled(found: Sequence[str | None]) -> list[str]:
    """Give an undecided leaf the language before it, or at the start the first language that was decided."""
    last = next((language for language in found if language), "en")
    filled = []
    for language in found:
        last = language or last
        filled.append(last)
    return filled


def _marked(block: Block, foreign: dict[int, str]) -> Block:
    if id(block) in foreign:
        language = foreign[id(block)]
        return replace(block, reads=languages.extractor_for(language) is not None, language=language)
    if not block.children:
        return block
    children = tuple(_marked(child, foreign) for child in block.children)
    return replace(block, children=children, reads=block.reads and any(child.reads for child in children))


def check_language(document: Document) -> None:
    """Raise if an answer holds only words in languages that nothing reads.

    Raises:
        InputError: no block is English or in a language with an extractor.
    """
    unread = sorted({leaf.language for leaf in document.root.leaves() if leaf.language and not leaf.reads})
    if unread and not document.in_other_languages() and not any(True for _ in document.leaves()):
        missing = next(filter(None, map(languages.why_not, unread)), "")
        raise InputError(
            f"an answer must be English, got text in {', '.join(unread)}; "
            + (missing or "translate it first, or make the claims yourself and give them to verify()")
        )
