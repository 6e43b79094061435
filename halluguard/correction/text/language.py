"""Recognise English: other languages are refused, because rules that read English find nothing in them."""

from __future__ import annotations

import re
import unicodedata

from halluguard.errors import InputError

_ENGLISH = frozenset(
    "a an the is are and of in on with to there it at by one two from this that its for as near no yes".split()
)
_OTHERS = {
    "German": "der die das ein eine einen ist sind und mit auf im dem den es von zu nicht neben ja nein einem".split(),
    "French": "le la les un une des est sont et avec sur dans du il au y oui non cette qui pas à".split(),
    "Spanish": "el la los las un una es son y con en del hay al sí que por junto se está su".split(),
    "Italian": "il la lo gli le un una è sono e con su nel del della di che si vicino sì c'è ci".split(),
    "Portuguese": "o a os as um uma é são e com em no na do da há que não sim está ao".split(),
    "Dutch": "de het een is zijn en met op in van er naast niet ja nee dat die aan te".split(),
}
_LEAST_WORDS = 5


def check_english(text: str) -> None:
    """Pass English (and what is too short to tell) and refuse the rest.

    Raises:
        InputError: most letters belong to another script, or the small words are those of another language.
    """
    letters = [ch for ch in text[:4000] if ch.isalpha()]
    foreign = sum(not unicodedata.name(ch, "").startswith("LATIN") for ch in letters if not ch.isascii())
    if foreign > len(letters) / 2:
        raise InputError(_refusal("another script than Latin"))
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text[:4000].lower())
    if len(words) < _LEAST_WORDS:
        return
    english = sum(word in _ENGLISH for word in words)
    name, most = max(
        ((name, sum(word in small for word in words)) for name, small in _OTHERS.items()), key=lambda p: p[1]
    )
    if most >= 2 and most > 2 * english and most >= 0.15 * len(words):
        raise InputError(_refusal(name))


def _refusal(what: str) -> str:
    return (
        f"an answer must be English, got text that reads like {what}; translate it first, or make the claims yourself "
        "and give them to verify()"
    )
