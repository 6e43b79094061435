"""Where support ends and contradiction begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from halluguard.errors import SettingsError
from halluguard.vocabulary import category, same


@dataclass(frozen=True)
class Thresholds:
    """Where support ends and contradiction begins, per label.

    Args:
        high: at or above it a claim is supported, in [0, 1].
        low: below it a claim is contradicted, in [0, high]. Between the two the verdict is "unsure".
        labels: name -> (high, low) where a label needs its own, e.g. from `halluguard calibrate`.
    """

    high: float = 0.35
    low: float = 0.2
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (high, low) in {"": (self.high, self.low), **self.labels}.items():
            if not 0.0 <= low <= high <= 1.0:
                of = f" of {name!r}" if name else ""
                raise SettingsError(
                    f"thresholds{of} must satisfy 0 <= low <= high <= 1, got {low=} and {high=}; swap them?"
                )

    def of(self, name: str) -> tuple[float, float]:
        """(high, low) for a name: its own, or those of the label that covers it ("man" -> "person")."""
        for label in (name, same(name), category(name)):
            if label is not None and label in self.labels:
                return self.labels[label]
        return self.high, self.low
