"""Match phrases with the labels of a detector, a data set or another tool, however those are written.

pottedplant, FireHydrant, traffic_light, Dining-Table     the name, its words parted
Red Leather Handbag, small white dog                      a handbag, a dog
car_(automobile), Monitor/TV                              a car; a monitor, also called a TV
firehydr ##ant                                            the torn word, joined
chair table                                               two labels in one: it may be either
##hy                                                      a piece of a word: not readable
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from halluguard.detectors.label_language import check_english
from halluguard.records import Box
from halluguard.vocabulary import COCO, FORMS, MODIFIERS, NAMES, normal, related, same

_WITHOUT_SPACES = {name.replace(" ", ""): name for name in sorted(NAMES) if " " in name} | {
    name.replace(" ", ""): name for name in COCO
}
NO_LABELS = frozenset({"", "n/a", "na", "none", "background", "no object", "bg", "__background__"})
"""Entries of label lists that are not names of objects, lower case."""
DOUBTFUL = 0.275
"""Highest score of a box whose label may mean one of several things: between the default thresholds, so "unsure"."""
_LIKENESSES = frozenset("stuffed painted printed carved animated framed inflated knitted".split())
"""Words with which a name means a likeness: a stuffed bear is not a bear."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BRACKETS = re.compile(r"[(\[{][^)\]}]*[)\]}]")


@dataclass(frozen=True)
class Meaning:
    """What a label stands for.

    Args:
        names: names of the object, the likeliest first; none for a label that cannot be read.
        merged: the names are of different objects, and only one of them may be meant.
    """

    names: tuple[str, ...]
    merged: bool = False


@lru_cache(maxsize=65536)
def meaning(label: str) -> Meaning:
    """What a label stands for.

    >>> meaning("pottedplant").names, meaning("Red Leather Handbag").names, meaning("Monitor/TV").names
    (('potted plant',), ('handbag',), ('monitor', 'tv'))
    >>> meaning("chair table"), meaning("##hy")
    (Meaning(names=('chair', 'table'), merged=True), Meaning(names=(), merged=False))
    """
    text = re.sub(r"\s*##", "", label) if not label.lstrip().startswith("##") else ""
    text = _BRACKETS.sub(" ", text)
    parts = [part for part in re.split(r"[/|,;]", text) if part.strip()]
    names = tuple(dict.fromkeys(name for part in parts for name in _names(part) if name))
    listed = len(parts) > 1 and "/" not in text
    return Meaning(names, merged=len(names) > 1 and (listed or len(_names(parts[0])) > 1))


def _names(text: str) -> tuple[str, ...]:
    """The name in a label without marks, or the several names that it holds one after another."""
    whole = _parted(text)
    if whole in NAMES or " " not in whole:
        return (whole,)
    words = whole.split()
    while len(words) > 1 and _is_modifier(words[0]):
        words = words[1:]
    name = normal(" ".join(words))
    if name in NAMES:
        return (name,)
    several = _in_a_row(words)
    return several if len(several) > 1 else (whole,)


def _parted(text: str) -> str:
    """The label as a name, its words parted where they are written as one."""
    name = normal(_CAMEL.sub(" ", text))
    return _WITHOUT_SPACES.get(name.replace(" ", ""), name)


def _is_modifier(word: str) -> bool:
    """Whether a word before a name only describes the thing."""
    if word in _LIKENESSES or word in FORMS:
        return False
    return word in MODIFIERS or (word.endswith(("ing", "ed")) and len(word) > 4)


def _in_a_row(words: list[str]) -> tuple[str, ...]:
    """The known names that make up all of the words, longest first; none where a word is left over."""
    names: list[str] = []
    while words:
        length = next((n for n in range(min(3, len(words)), 0, -1) if normal(" ".join(words[:n])) in NAMES), 0)
        if not length:
            return ()
        names.append(normal(" ".join(words[:length])))
        words = words[length:]
    return tuple(dict.fromkeys(names))


@lru_cache(maxsize=65536)
def label_name(label: str) -> str:
    """The one object name of a label: COCO's own where it is one of the 80, else the label as a name.

    Names that data sets write as one word or differently ("diningtable", "aeroplane", "tvmonitor", "traffic_light")
    become COCO's.

    >>> label_name("tvmonitor"), label_name("potted-plant"), label_name("Traffic_Light"), label_name("zeppelin")
    ('tv', 'potted plant', 'traffic light', 'zeppelin')
    """
    known = meaning(label)
    return same(known.names[0] if known.names and not known.merged else _parted(label))


class Labels:
    """A fixed list of labels.

    Args:
        labels: the labels as their source writes them; empty ones and "N/A" are left out.

    Raises:
        InputError: the labels are not English.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        written = [label for label in map(str, labels) if label.lower().strip() not in NO_LABELS]
        check_english(written)
        self.names = frozenset(same(name) for label in written for name in meaning(label).names)

    def covers(self, phrase: str) -> bool:
        """Whether a label means the phrase: by name, synonym or plural, not by a narrower or wider word."""
        return label_name(phrase) in self.names

    def certainty(self, box: Box) -> float:
        """The score of a box; at most `DOUBTFUL` where its label may mean one of several things."""
        return min(box.score, DOUBTFUL) if meaning(box.label).merged else box.score

    def answers(self, label: str, phrase: str) -> bool:
        """Whether a labelled object is (or may be) what the phrase names, or a kind of it ("bus" for "vehicle")."""
        claimed = label_name(phrase)
        return any(related(claimed, same(name)) in ("same", "kind") for name in meaning(label).names)
