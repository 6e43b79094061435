"""Store the result of a calibration: thresholds per label and curves from score to probability, JSON in and out."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from halluguard.errors import InputError
from halluguard.io import read_json, write_text

VERSION = 1
JsonMapping = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """Probability as a function of the score: linear between the points (x, y), constant outside.

    Args:
        x: scores in ascending order.
        y: probabilities in [0, 1], never descending.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, score: float) -> float:
        i = bisect_right(self.x, score)
        if i == 0 or i == len(self.x):
            return self.y[0] if i == 0 else self.y[-1]
        (a, b), (p, q) = self.x[i - 1 : i + 1], self.y[i - 1 : i + 1]
        return p if b == a else p + (q - p) * (score - a) / (b - a)


@dataclass(frozen=True)
class Calibration:
    """Thresholds and curves that `fit` found; `correction.verification` takes it as `calibration`.

    Args:
        detector: name of the detector that it was fitted to.
        high, low: thresholds of labels without their own; with `high` above 1, nothing is supported.
        labels: label -> (high, low).
        curve: score -> probability for labels without their own.
        curves: label -> its own curve.
        settings: settings and size of the fit.
        report: label -> measures on held-out images (`fitting.measure`); "" is all labels.
    """

    detector: str
    high: float
    low: float
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    curve: Curve | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    settings: JsonMapping = field(default_factory=dict)
    report: Mapping[str, JsonMapping] = field(default_factory=dict)

    def of(self, label: str) -> tuple[float, float]:
        """(high, low) of a label."""
        return self.labels.get(label, (self.high, self.low))

    def probability(self, label: str, score: float) -> float | None:
        """The probability in [0, 1] that an object with this score is present; None if no curve was fitted."""
        curve = self.curves.get(label, self.curve)
        return None if curve is None else curve(score)

    @property
    def digest(self) -> str:
        """Hash of the content, 16 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the file that `halluguard audit --thresholds` reads."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: the file is of another kind or version.
        """
        try:
            data = dict(read_json(path, finite=True))
            if data.pop("version") != VERSION:
                raise ValueError(f"another version than {VERSION}")
            data["labels"] = {label: (float(high), float(low)) for label, (high, low) in data["labels"].items()}
            data["curve"] = _curve(data["curve"])
            data["curves"] = {label: _curve(curve) for label, curve in data["curves"].items()}
            return cls(**data)
        except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"cannot read a calibration from {str(path)!r} ({error}); write it with halluguard calibrate"
            ) from error


def _curve(data: JsonMapping | None) -> Curve | None:
    return None if data is None else Curve(tuple(data["x"]), tuple(data["y"]))
