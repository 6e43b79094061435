"""Recall and precision of an expert per label: how far "not found" and "found" can be trusted.

    recall      share of the objects in an image that the expert finds: the weight of "not found"
    precision   share of the objects found by the expert that are in the image: the weight of "found"

"Not found" contradicts a claim only where recall reaches `SPEAKS`; below it, the claim is unsure. An object that the
answer leaves out is added only where precision reaches `TRUSTED`. An expert states both in attributes of these names,
each a number or a table {label: number}; "" is all other labels. Without an attribute, the rate is 1: the expert is
trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from halluguard.errors import SettingsError
from halluguard.vocabulary import OFTEN_MISSED, category, same

SPEAKS = 0.8
"""Least recall of a label at which "not found" contradicts a claim."""
TRUSTED = 0.9
"""Least precision of a label at which an object that was found may be added to an answer."""
LIST_RECALL = 0.7
"""Recall that is assumed of an incomplete list of objects (`exhaustive=False`) that states none itself.

If one such list does not name an object, that decides nothing. If two do not, it does: together they miss 0.3 x 0.3 of
the objects.
"""
MISSED_RECALL = 0.7
"""Recall that is assumed of a detector for labels that are often missed: small things, and parts of clutter."""

Stated = float | Mapping[str, float]
"""One number for all labels; or label -> number, where "" stands for all other labels."""


@dataclass(frozen=True)
class Rates:
    """A share per label.

    Args:
        default: share of labels without their own, in [0, 1].
        labels: label -> its own share, in [0, 1].

    >>> rates = Rates(0.9, {"person": 0.6})
    >>> rates.of("man"), rates.of("dog")
    (0.6, 0.9)
    """

    default: float = 1.0
    labels: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label, share in {"": self.default, **self.labels}.items():
            if not 0.0 <= share <= 1.0:
                of = f" of {label!r}" if label else ""
                raise SettingsError(f"a recall or precision{of} is a share in [0, 1], got {share}; 0.7 is 70 %")

    @classmethod
    def of_value(cls, stated: Stated | Rates | None, default: float = 1.0) -> Rates:
        """The rates in a number or a table; for None, all labels get `default`."""
        if isinstance(stated, Rates):
            return stated
        if stated is None:
            return cls(default)
        if isinstance(stated, Mapping):
            labels = {label: _share(share) for label, share in stated.items()}
            return cls(labels.pop("", default), labels)
        return cls(_share(stated))

    def of(self, name: str) -> float:
        """The share of a name: its own, or else the share of the label that covers it ("man" -> "person")."""
        for label in (name, same(name), category(name)):
            if label is not None and label in self.labels:
                return self.labels[label]
        return self.default

    def to_value(self) -> Stated:
        """The number or table that `of_value` reads back."""
        return {"": self.default, **dict(sorted(self.labels.items()))} if self.labels else self.default


def _share(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what cannot be a number raises
    except (TypeError, ValueError):
        raise SettingsError(f"a recall or precision is a share in [0, 1], got {value!r}; 0.7 is 70 %") from None


def recall_of(expert: object) -> Rates:
    """The recall that an expert states in its attribute `recall`; 1 where it states none."""
    return Rates.of_value(getattr(expert, "recall", None))


def precision_of(expert: object) -> Rates:
    """The precision that an expert states in its attribute `precision`; 1 where it states none."""
    return Rates.of_value(getattr(expert, "precision", None))


def assumed_recall() -> Rates:
    """Default recall of a detector without measured recall, lower for small and cluttered things."""
    return Rates(1.0, dict.fromkeys(OFTEN_MISSED, MISSED_RECALL))


def joint_recall(recalls: Iterable[float]) -> float:
    """The recall of several experts if one finding is enough; their misses are assumed independent.

    >>> round(joint_recall([0.7, 0.7]), 2)
    0.91
    """
    return 1.0 - prod(1.0 - recall for recall in recalls)


def read_rates(text: str) -> Stated:
    """Read a rate of the command line: a number, or a JSON file {label: number}."""
    from halluguard.io import parsing, read_json

    try:
        return _share(text)
    except SettingsError:
        path = Path(text)
        if not path.is_file():
            raise SettingsError(
                f"expected a share such as 0.7, or a JSON file {{label: share}}, got {text!r}; check the number or "
                "the path"
            ) from None
    with parsing(path, "shares per label such as {'dog': 0.9, '': 0.7}"):
        return Rates.of_value({str(label): share for label, share in dict(read_json(path)).items()}).to_value()
