"""What a calibration found: thresholds per label and curves from score to probability. JSON in and out."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from halluguard.errors import InputError

VERSION = 1


@dataclass(frozen=True)
class Curve:
    """Score -> probability: through the points (x, y), straight between them, level outside.

    Args:
        x: scores, rising. y: probabilities in [0, 1], not falling.
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
    """What `fit` found; `correction.verify` takes it as `calibration`, and its thresholds as `Thresholds`.

    Args:
        detector: name of the expert it is for.
        high, low: for labels without their own.
        labels: label -> (high, low).
        curve, curves: score -> probability, for all labels and for those with enough rows.
        settings: how it was fitted.
        report: per label what the thresholds do on images that were held out; "" is all labels.
    """

    detector: str
    high: float
    low: float
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    curve: Curve | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, label: str) -> tuple[float, float]:
        """(high, low) of a label."""
        return self.labels.get(label, (self.high, self.low))

    def probability(self, label: str, score: float) -> float | None:
        """The probability in [0, 1] that a thing scored `score` is there; None where no curve was fitted."""
        curve = self.curves.get(label, self.curve)
        return None if curve is None else curve(score)

    @property
    def digest(self) -> str:
        """What the record is known by: 16 hexadecimal digits of its content."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1, allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the file that `halluguard audit --thresholds` reads."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: it is another kind of file, or of another version.
        """
        try:
            data = dict(json.loads(Path(path).read_text(encoding="utf-8")))
            if data.pop("version") != VERSION:
                raise ValueError(f"another version than {VERSION}")
            data["labels"] = {label: (float(high), float(low)) for label, (high, low) in data["labels"].items()}
            data["curve"] = _curve(data["curve"])
            data["curves"] = {label: _curve(curve) for label, curve in data["curves"].items()}
            return cls(**data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"cannot read a calibration from {str(path)!r} ({error}); write it with halluguard calibrate"
            ) from error


def _curve(data: Mapping[str, Any] | None) -> Any:
    return None if data is None else Curve(tuple(data["x"]), tuple(data["y"]))
