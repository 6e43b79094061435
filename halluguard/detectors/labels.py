"""Which of an expert's fixed labels speaks for a phrase."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from halluguard.vocabulary import COCO, normal, parents, related, same

_TOGETHER = {name.replace(" ", ""): name for name in COCO}
NO_LABELS = frozenset({"", "n/a", "na", "none", "background", "no object", "bg", "__background__"})
"""What label lists hold where they hold no label, lower case."""


@lru_cache(maxsize=4096)
def label_name(label: str) -> str:
    """The name of a label of a model or data set: COCO's own where it is one of the 80, else the label as a name.

    Names that data sets write together or differently ("diningtable", "aeroplane", "tvmonitor", "traffic_light") become
    COCO's.

    >>> label_name("tvmonitor"), label_name("potted-plant"), label_name("Traffic_Light"), label_name("zeppelin")
    ('tv', 'potted plant', 'traffic light', 'zeppelin')
    """
    name = normal(label)
    return same(_TOGETHER.get(name.replace(" ", ""), name))


class Labels:
    """A fixed list of labels, asked by phrase.

    Args:
        labels: the labels as their source writes them; empty ones and "N/A" are left out.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        found = {str(label): label_name(str(label)) for label in labels if str(label).lower().strip() not in NO_LABELS}
        self.names = frozenset(found.values())

    def covers(self, phrase: str) -> bool:
        """Whether a label means the phrase: by name, synonym or plural, not by a narrower or wider word."""
        return label_name(phrase) in self.names

    def speaks(self, label: str, phrase: str) -> bool:
        """Whether a thing found under `label` is what the phrase names, or a kind of it ("bus" for "vehicle")."""
        return related(label_name(phrase), label_name(label)) in ("same", "kind")

    def widest(self, phrase: str) -> str | None:
        """The nearest label that is wider than the phrase ("person" for "man")."""
        return next((wide for wide in parents(label_name(phrase)) if wide in self.names), None)
