"""Find the WordNet base forms of a caption's words, with the lemmatiser that OPERA uses in place of pattern's.

`nltk.word_tokenize`, `nltk.pos_tag`, then `WordNetLemmatizer` with the tag's part of speech (noun where the tag has
none). Needs nltk and three of its data packages on nltk's own search path; nothing is ever downloaded here. A side
effect is that verbs can become objects: "seated" is lemmatised to "seat", which is a chair.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from halluguard.errors import MissingExtraError, require

if TYPE_CHECKING:
    from nltk.stem import WordNetLemmatizer

_PARTS = {"J": "a", "V": "v", "N": "n", "R": "r"}
_DATA = ("wordnet", "punkt_tab", "averaged_perceptron_tagger_eng")


@lru_cache(maxsize=1)
def _nltk() -> ModuleType:
    nltk = require("nltk", extra="wordnet", feature="the wordnet protocol")
    try:
        nltk.pos_tag(nltk.word_tokenize("a dog."))
        nltk.corpus.wordnet.ensure_loaded()
    except LookupError as error:
        names = ", ".join(repr(name) for name in _DATA)
        raise MissingExtraError(
            f"the wordnet protocol needs nltk's data packages {names} on nltk's search path, and one was not found "
            f'(NLTK_DATA names the folder); get them with: python -c "import nltk; nltk.download([{names}])"; '
            "the protocol 'pattern' needs no data"
        ) from error
    return nltk


@lru_cache(maxsize=1 << 16)
def _lemma(word: str, part: str) -> str:
    return _lemmatizer().lemmatize(word, pos=part)


@lru_cache(maxsize=1)
def _lemmatizer() -> WordNetLemmatizer:
    _nltk()
    from nltk.stem import WordNetLemmatizer

    return WordNetLemmatizer()


def corpus() -> Any:
    """NLTK's WordNet reader.

    Raises:
        MissingExtraError: nltk or its data are missing.
    """
    return _nltk().corpus.wordnet


def tagged(text: str) -> list[tuple[str, str]]:
    """(word, part-of-speech tag) of the tokens of `text`, in order."""
    nltk = _nltk()
    return [(word, tag) for word, tag in nltk.pos_tag(nltk.word_tokenize(text))]


def lemmas(text: str) -> list[str]:
    """Base forms of the tokens of lower-cased `text`, in order.

    Raises:
        MissingExtraError: nltk or its data are missing; the message says how to install them.
    """
    nltk = _nltk()
    return [_lemma(word, _PARTS.get(tag[0], "n")) for word, tag in nltk.pos_tag(nltk.word_tokenize(text))]


def nouns(text: str) -> list[str]:
    """Base forms of the words that are tagged as nouns, in their original case (AMBER's rule)."""
    nltk = _nltk()
    return [_lemma(word, "n") for word, tag in nltk.pos_tag(nltk.word_tokenize(text)) if tag.startswith("NN")]
