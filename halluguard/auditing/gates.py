"""Check a summary against limits, for a pipeline that must stop when captions get worse.

A regression against an earlier summary counts when the lower end of the 95 % interval of the difference is above 0.
The interval is computed from the intervals of the two rates p and q (Zou and Donner 2008, "MOVER"):

    lower end of p - q  =  p - q - sqrt((p - low_p)^2 + (high_q - q)^2)
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from halluguard.auditing.outputs.summary import SCHEMA
from halluguard.errors import InputError, SettingsError
from halluguard.io import JsonObject, parsing, read_json
from halluguard.vocabulary import NAMES, category, normal, plural

ENOUGH = 20
"""Least number of judged claims at which a label can fail a gate that was set for all labels."""

_NOTHING: JsonObject = {"value": None, "low": None, "high": None, "n": 0}


@dataclass(frozen=True)
class Gates:
    """Limits on a summary. None, or an empty mapping, sets no limit.

    Args:
        max_hallucination_rate: largest share of judged claims that may be contradicted, in [0, 1].
        max_per_label: label -> its largest such share; "" stands for every label with at least `ENOUGH` judged claims.
        min_verifiable: smallest share of claims that must be judged, in [0, 1].
        max_omission_rate: largest share of the found objects that captions may leave out, in [0, 1].
        min_read: smallest share of letters, and of nouns, of the audited captions that must be read, in [0, 1].
        max_errors: largest share (below 1) or number (from 1) of rows that may be skipped. None fails only if all are.
        baseline: summary of an earlier run; the hallucination rate must not be significantly higher.
    """

    max_hallucination_rate: float | None = None
    max_per_label: Mapping[str, float] = field(default_factory=dict)
    min_verifiable: float | None = None
    max_omission_rate: float | None = None
    min_read: float | None = None
    max_errors: float | None = None
    baseline: JsonObject | None = None

    def __post_init__(self) -> None:
        limits = {"max-hallucination-rate": self.max_hallucination_rate, "min-verifiable": self.min_verifiable}
        limits |= {"max-omission-rate": self.max_omission_rate, "min-read": self.min_read}
        for name, value in {**limits, **{f"max-per-label {k}": v for k, v in self.max_per_label.items()}}.items():
            if value is not None and not 0.0 <= value <= 1.0:
                raise SettingsError(f"--{name.strip()} is a share, in [0, 1], got {value}; 0.1 is 10 %")
        if self.max_errors is not None and not 0 <= self.max_errors < math.inf:
            raise SettingsError(
                f"--max-errors is a number of rows, or a share below 1, got {self.max_errors:g}; 0.05 allows 5 %"
            )

    def check_labels(self, captions: Iterable[str]) -> None:
        """Refuse a label under which no claim can be counted: a limit on it would never be exceeded.

        Labels of the vocabulary are known. Any other must be a word of the captions, which are then read once.
        """
        unknown = set[str]()
        for label in self.max_per_label:
            name = category(normal(label)) or normal(label)
            if label and name != label:
                raise SettingsError(
                    f"--max-per-label: claims about {label!r} are counted under {name!r}; use that label"
                )
            if label and name not in NAMES:
                unknown.add(label)
        words = {label: re.compile(rf"\b({re.escape(label)}|{re.escape(plural(label))})\b", re.I) for label in unknown}
        for caption in captions if unknown else ():
            unknown -= {label for label in unknown if words[label].search(caption)}
            if not unknown:
                return
        for label in sorted(unknown):
            near = difflib.get_close_matches(label, sorted(NAMES), 1)
            advice = f"did you mean {near[0]!r}?" if near else "check its spelling"
            raise SettingsError(f"--max-per-label: no caption mentions {label!r}; {advice}")

    def too_many_skipped(self, summary: JsonObject) -> bool:
        """Whether more rows were skipped than `max_errors` allows; if that is None, whether all rows were."""
        skipped, rows = sum(summary["skipped"].values()), summary["rows"]
        if self.max_errors is None:
            return rows > 0 and skipped == rows
        return skipped > (self.max_errors * rows if self.max_errors < 1 else self.max_errors)

    def failures(self, summary: JsonObject) -> list[str]:
        """The limits that the summary exceeds, in words; empty when it passes.

        Raises:
            SettingsError: the baseline was made with another detector or other thresholds.
        """
        rates = summary["rates"]
        failed = [
            _over("hallucination rate", rates["hallucination_rate"], self.max_hallucination_rate),
            _under("share of judged claims", rates["verifiable"], self.min_verifiable, "no claims to judge"),
            _under("share of letters read", rates.get("text_read", _NOTHING), self.min_read, "no letters to read"),
            self._nouns(rates),
            self._omissions(rates),
            *self._labels(summary["by_label"]),
            self._regression(summary),
        ]
        return [words for words in failed if words]

    def _nouns(self, rates: Mapping[str, JsonObject]) -> str:
        rate = rates.get("nouns_read", _NOTHING)  # captions without nouns, such as "Yes.", pass
        return "" if rate["value"] is None else _under("share of nouns read", rate, self.min_read, "")

    def _omissions(self, rates: Mapping[str, JsonObject]) -> str:
        rate = rates.get("omission_rate")
        if self.max_omission_rate is None or rate is None:
            return ""
        if rate["value"] is None:
            return (
                f"omission rate: nothing was found to compare with, and it must be at most {self.max_omission_rate:g}"
            )
        return _over("omission rate", rate, self.max_omission_rate)

    def _labels(self, by_label: Mapping[str, JsonObject]) -> list[str]:
        for_all = self.max_per_label.get("")
        failed = []
        for label, row in by_label.items():
            limit = self.max_per_label.get(label, for_all if row["rate"]["n"] >= ENOUGH else None)
            failed.append(_over(f"hallucination rate of {label!r}", row["rate"], limit))
        return failed

    def check_baseline(self, settings: Mapping[str, object]) -> None:
        """Refuse a baseline that was made with another detector or other thresholds than these settings."""
        if self.baseline is None:
            return
        for name in ("expert", "thresholds"):
            then, now = self.baseline["settings"].get(name), settings.get(name)
            if then != now:
                raise SettingsError(
                    f"the baseline was made with another setting of {name} ({then} then, {now} now), so the rates "
                    "cannot be compared; audit the baseline's captions again, or use the same setting"
                )

    def _regression(self, summary: JsonObject) -> str:
        if self.baseline is None:
            return ""
        self.check_baseline(summary["settings"])
        now, then = summary["rates"]["hallucination_rate"], self.baseline["rates"]["hallucination_rate"]
        lowest = least_difference(now, then)
        if lowest is None or lowest <= 0:
            return ""
        return (
            f"hallucination rate {_written(now)} is significantly above the baseline's {_written(then)}: "
            f"by at least {lowest:.4f} (95 %)"
        )


def least_difference(now: JsonObject, then: JsonObject) -> float | None:
    """The lower end of the 95 % interval of now - then; None where one of the rates has no cases.

    >>> round(least_difference({"value": 0.2, "low": 0.17, "high": 0.23}, {"value": 0.1, "low": 0.08, "high": 0.14}), 3)
    0.05
    """
    if now["value"] is None or then["value"] is None:
        return None
    spread = math.hypot(now["value"] - now["low"], then["high"] - then["value"])
    return now["value"] - then["value"] - spread


def _over(what: str, rate: JsonObject, limit: float | None) -> str:
    if limit is None or rate["value"] is None or rate["value"] <= limit:
        return ""
    return f"{what} {_written(rate)} is above {limit:g}"


def _under(what: str, rate: JsonObject, limit: float | None, nothing: str) -> str:
    if limit is None:
        return ""
    if rate["value"] is None:
        return f"{what}: there are {nothing}, and it must be at least {limit:g}"
    return f"{what} {_written(rate)} is below {limit:g}" if rate["value"] < limit else ""


def _written(rate: JsonObject) -> str:
    return f"{rate['value']:.4f} (95 %: {rate['low']:.4f} to {rate['high']:.4f}, n {rate['n']})"


def read_summary(path: Path) -> JsonObject:
    """Read the `summary.json` of an earlier run as a baseline.

    Raises:
        InputError: it is not a summary, or one of another version.
    """
    summary = read_json(path)
    with parsing(path, "the summary.json of an audit"):
        schema, settings, rate = summary["schema"], summary["settings"], summary["rates"]["hallucination_rate"]
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings are a {type(settings).__name__}")
        if rate["value"] is not None and not 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1 <= rate["n"]:
            raise ValueError(f"no rate: {rate}")
    if schema != SCHEMA:
        raise InputError(f"expected a summary of schema {SCHEMA} at {str(path)!r}, got {schema}; audit again")
    return summary


def per_label(limits: Iterable[str]) -> dict[str, float]:
    """The limits of `--max-per-label`: "0.1" for all labels, "dog=0.2" for one.

    >>> per_label(["0.1", "dog=0.2"])
    {'': 0.1, 'dog': 0.2}
    """
    shares = {}
    for limit in limits:
        label, _, share = limit.rpartition("=")
        try:
            shares[label.strip()] = float(share)
        except ValueError:
            raise SettingsError(f"--max-per-label takes a share or LABEL=SHARE, got {limit!r}; 0.1 is 10 %") from None
    return shares
