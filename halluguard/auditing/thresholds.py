"""Read thresholds and calibration curves from a file that `halluguard calibrate` wrote.

    {"high": 0.35, "low": 0.2, "labels": {"dog": [0.5, 0.3], "chair": {"high": 0.4, "low": 0.1}}}

The object may also be under the key "thresholds"; other keys are ignored. The default numbers are in
`halluguard.correction.verification.thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halluguard.calibration.record import Calibration
from halluguard.correction.verification import Thresholds
from halluguard.io import parsing, read_json


def read_thresholds(path: Path) -> Thresholds:
    """The thresholds in a file.

    Raises:
        InputError: the file holds no thresholds.
        SettingsError: in a pair, `low` is above `high`.
    """
    data = read_json(path)
    if isinstance(data, Mapping) and isinstance(data.get("thresholds"), Mapping):
        data = data["thresholds"]
    with parsing(path, "thresholds such as {'high': 0.35, 'low': 0.2, 'labels': {'dog': [0.5, 0.3]}}"):
        labels = {str(name): _pair(pair) for name, pair in data.get("labels", {}).items()}
        return Thresholds(float(data["high"]), float(data["low"]), labels)


def read_calibration(path: Path) -> Calibration | None:
    """The curves that turn scores into probabilities; None if the file has only thresholds."""
    data = read_json(path)
    if not isinstance(data, Mapping) or "curve" not in data:
        return None
    with parsing(path, "a calibration"):
        return Calibration.load(path)


def _pair(value: Any) -> tuple[float, float]:
    high, low = (value["high"], value["low"]) if isinstance(value, Mapping) else (value[0], value[1])
    return float(high), float(low)
