"""Match phrases with the fixed labels of a detector or data set."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from halluguard.vocabulary import COCO, normal, related, same

_WITHOUT_SPACES = {name.replace(" ", ""): name for name in COCO}
NO_LABELS = frozenset({"", "n/a", "na", "none", "background", "no object", "bg", "__background__"})
"""Entries of label lists that are no label, lower case."""


@lru_cache(maxsize=4096)
def label_name(label: str) -> str:
    """The object name of a label: COCO's own where it is one of the 80, else the label as a name.

    Names that data sets write as one word or differently ("diningtable", "aeroplane", "tvmonitor", "traffic_light")
    become COCO's.

    >>> label_name("tvmonitor"), label_name("potted-plant"), label_name("Traffic_Light"), label_name("zeppelin")
    ('tv', 'potted plant', 'traffic light', 'zeppelin')
    """
    name = normal(label)
    return same(_WITHOUT_SPACES.get(name.replace(" ", ""), name))


class Labels:
    """A fixed list of labels.

    Args:
        labels: the labels as their source writes them; empty ones and "N/A" are left out.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        written = map(str, labels)
        self.names = frozenset(label_name(label) for label in written if label.lower().strip() not in NO_LABELS)

    def covers(self, phrase: str) -> bool:
        """Whether a label means the phrase: by name, synonym or plural, not by a narrower or wider word."""
        return label_name(phrase) in self.names

    def answers(self, label: str, phrase: str) -> bool:
        """Whether an object under `label` is what the phrase names, or a kind of it ("bus" for "vehicle")."""
        return related(label_name(phrase), label_name(label)) in ("same", "kind")
