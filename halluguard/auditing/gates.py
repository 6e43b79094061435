"""Gates: limits on a summary, for a pipeline that must stop when captions get worse.

A regression against an earlier summary counts when the lower end of the 95 % interval of the difference is above 0.
The interval is put together from those of the two rates p, q (Zou and Donner 2008, "MOVER"):

    lower end of p - q  =  p - q - sqrt((p - low_p)^2 + (high_q - q)^2)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halluguard.auditing.outputs.summary import SCHEMA
from halluguard.errors import InputError, SettingsError

ENOUGH = 20
"""A label with fewer judged claims fails no gate that was set for all labels."""


@dataclass(frozen=True)
class Gates:
    """What a summary must keep to; None and empty ask nothing.

    Args:
        max_hallucination_rate: the most of the judged claims that may be contradicted, in [0, 1].
        max_per_label: the same for labels: "" for every label with `ENOUGH` judged claims, or a label by name.
        min_verifiable: the least of the claims that must be judged, in [0, 1].
        baseline: an earlier summary, than which the rate must not be significantly higher.
    """

    max_hallucination_rate: float | None = None
    max_per_label: Mapping[str, float] = field(default_factory=dict)
    min_verifiable: float | None = None
    baseline: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        limits = {"max-hallucination-rate": self.max_hallucination_rate, "min-verifiable": self.min_verifiable}
        for name, value in {**limits, **{f"max-per-label {k}": v for k, v in self.max_per_label.items()}}.items():
            if value is not None and not 0.0 <= value <= 1.0:
                raise SettingsError(f"--{name.strip()} is a share, in [0, 1], got {value}")

    def failures(self, summary: Mapping[str, Any]) -> list[str]:
        """What the summary does not keep to, in words; empty when it passes.

        Raises:
            SettingsError: the baseline was made with another expert or other thresholds.
        """
        rates = summary["rates"]
        failed = [
            _over("hallucination rate", rates["hallucination_rate"], self.max_hallucination_rate),
            _under("share of judged claims", rates["verifiable"], self.min_verifiable),
            *self._labels(summary["by_label"]),
            self._regression(summary),
        ]
        return [words for words in failed if words]

    def _labels(self, by_label: Mapping[str, Mapping[str, Any]]) -> list[str]:
        for_all = self.max_per_label.get("")
        failed = []
        for label, row in by_label.items():
            limit = self.max_per_label.get(label, for_all if row["rate"]["n"] >= ENOUGH else None)
            failed.append(_over(f"hallucination rate of {label!r}", row["rate"], limit))
        return failed

    def _regression(self, summary: Mapping[str, Any]) -> str:
        if self.baseline is None:
            return ""
        for name in ("expert", "thresholds"):
            then, now = self.baseline["settings"].get(name), summary["settings"].get(name)
            if then != now:
                raise SettingsError(
                    f"the baseline was made with another setting of {name} ({then} then, {now} now), so the rates "
                    "cannot be compared; audit the baseline's captions anew, or use the same setting"
                )
        now, then = summary["rates"]["hallucination_rate"], self.baseline["rates"]["hallucination_rate"]
        lowest = least_difference(now, then)
        if lowest is None or lowest <= 0:
            return ""
        return (
            f"hallucination rate {_said(now)} is significantly above the baseline's {_said(then)}: "
            f"by at least {lowest:.4f} (95 %)"
        )


def least_difference(now: Mapping[str, Any], then: Mapping[str, Any]) -> float | None:
    """The lower end of the 95 % interval of now - then; None where one of the rates is of nothing.

    >>> round(least_difference({"value": 0.2, "low": 0.17, "high": 0.23}, {"value": 0.1, "low": 0.08, "high": 0.14}), 3)
    0.05
    """
    if now["value"] is None or then["value"] is None:
        return None
    spread = math.hypot(now["value"] - now["low"], then["high"] - then["value"])
    return now["value"] - then["value"] - spread


def _over(what: str, rate: Mapping[str, Any], limit: float | None) -> str:
    if limit is None or rate["value"] is None or rate["value"] <= limit:
        return ""
    return f"{what} {_said(rate)} is above {limit:g}"


def _under(what: str, rate: Mapping[str, Any], limit: float | None) -> str:
    if limit is None:
        return ""
    if rate["value"] is None:
        return f"{what}: there are no claims, and at least {limit:g} must be judged"
    return f"{what} {_said(rate)} is below {limit:g}" if rate["value"] < limit else ""


def _said(rate: Mapping[str, Any]) -> str:
    return f"{rate['value']:.4f} (95 %: {rate['low']:.4f} to {rate['high']:.4f}, n {rate['n']})"


def read_summary(path: Path) -> dict[str, Any]:
    """A `summary.json` as a baseline.

    Raises:
        InputError: it is none, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        schema, _, _ = found["schema"], found["settings"], found["rates"]["hallucination_rate"]["value"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected the summary.json of an audit at {str(path)!r}, got {error!r}") from error
    if schema != SCHEMA:
        raise InputError(f"expected a summary of schema {SCHEMA} at {str(path)!r}, got {schema}; audit anew")
    return found


def per_label(words: list[str]) -> dict[str, float]:
    """What `--max-per-label` says: "0.1" for all labels, "dog=0.2" for one.

    >>> per_label(["0.1", "dog=0.2"])
    {'': 0.1, 'dog': 0.2}
    """
    found = {}
    for word in words:
        label, _, limit = word.rpartition("=")
        try:
            found[label.strip()] = float(limit)
        except ValueError:
            raise SettingsError(f"--max-per-label takes a share or LABEL=SHARE, got {word!r}") from None
    return found
