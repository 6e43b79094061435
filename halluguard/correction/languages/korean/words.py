"""The Korean word lists of `words.txt`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Sense(NamedTuple):
    """A sense of a homograph: the name that it has where one of the stems stands in its sentence; "" names nothing."""

    name: str
    stems: frozenset[str]


def _sections() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    text = Path(__file__).with_name("words.txt").read_text(encoding="utf-8")
    for line in text.replace("\n  ", " ").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return sections


def _pairs(lines: list[str]) -> list[tuple[str, str]]:
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _words(lines: list[str]) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_SECTIONS = _sections()

NAMES = {
    word.strip(): name
    for section in ("objects", "things")
    for name, words in _pairs(_SECTIONS[section])
    for word in words.split(",")
}
"""Word without blanks -> English name."""
PLACES, DEPICTIONS = _words(_SECTIONS["places"]), _words(_SECTIONS["depictions"])
PARTS, COUNTERS = _words(_SECTIONS["parts"]), _words(_SECTIONS["counters"])
NUMBERS = {word: int(value) for word, value in _pairs(_SECTIONS["numbers"])}
MEASURED = dict(_pairs(_SECTIONS["measured"]))
DEFAULTS = {word: name.replace("-", "") for word, name in _pairs(_SECTIONS["defaults"])}
SENSES: dict[str, list[Sense]] = {}
for _line in _SECTIONS["homographs"]:
    _word, _name, _stems = (part.strip() for part in _line.split("|"))
    SENSES.setdefault(_word, []).append(Sense(_name.replace("-", ""), frozenset(_stems.split())))


def name_of(word: str, beside: frozenset[str]) -> str:
    """The English name of a word without blanks, given the stems that stand in its sentence; "" where it has none.

    >>> name_of("배", frozenset(["바다"])), name_of("배", frozenset(["사과"])), name_of("강아지", frozenset())
    ('boat', 'pear', 'dog')
    """
    for sense in SENSES.get(word, ()):
        if sense.stems & beside:
            return sense.name
    return DEFAULTS.get(word, NAMES.get(word, ""))
