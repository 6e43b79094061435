"""Default thresholds of all verdicts.

An object is contradicted when the detector's best score for it is below LOW (0.2), supported from HIGH (0.35) on, and
unsure in between. A detector whose scores lie on another scale says so in an attribute `thresholds`, (high, low);
`halluguard calibrate` fits them per label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from halluguard.errors import SettingsError
from halluguard.records import NEVER
from halluguard.vocabulary import category, same

HIGH, LOW = 0.35, 0.2
"""Detector scores, for existence and counts."""
PROPERTY_HIGH, PROPERTY_LOW = 0.6, 0.3
"""Probabilities of a property expert, for attributes and relations."""
OVERLAP_HIGH, OVERLAP_LOW = 0.5, 0.1
"""Intersection over union of a box written in the answer with the best detected one."""
REPLACEMENT_MARGIN = 0.2
"""Lead over the second-best value that an attribute or relation needs before it is written into the text."""


@dataclass(frozen=True)
class Thresholds:
    """Detector scores at which support ends and contradiction begins, per label.

    Args:
        high: scores of at least `high` support a claim, in [0, 1]; `records.NEVER` supports none.
        low: scores below `low` contradict it, in [0, 1] and at most `high`. In between the verdict is "unsure".
        labels: name -> (high, low) for labels with thresholds of their own, for example from `halluguard calibrate`.
    """

    high: float = HIGH
    low: float = LOW
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (high, low) in {"": (self.high, self.low), **self.labels}.items():
            if not (0.0 <= low <= high <= NEVER and low <= 1.0):
                of = f" of {name!r}" if name else ""
                raise SettingsError(
                    f"thresholds{of} must satisfy 0 <= low <= high <= 1, got {low=} and {high=}; swap them?"
                )

    def of(self, name: str) -> tuple[float, float]:
        """(high, low) of a name: its own, or those of the label that covers it ("man" -> "person")."""
        for label in (name, same(name), category(name)):
            if label is not None and label in self.labels:
                return self.labels[label]
        return self.high, self.low


class Named(Protocol):
    """A detector or a property expert."""

    name: str


def thresholds_of(detector: Named) -> Thresholds:
    """The detector's own `thresholds` attribute, (high, low), or the defaults."""
    return Thresholds(*getattr(detector, "thresholds", (HIGH, LOW)))


def property_thresholds(expert: Named | None) -> tuple[float, float]:
    """The property expert's own `thresholds` attribute, (high, low), or the defaults."""
    high, low = getattr(expert, "thresholds", (PROPERTY_HIGH, PROPERTY_LOW))
    return high, low
