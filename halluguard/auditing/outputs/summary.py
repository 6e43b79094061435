"""Add up a run: counts, rates with 95 % intervals, one line per label.

A summary is versioned and free of times and paths, so that equal inputs give equal bytes. A claim is judged when its
verdict is "supported" or "contradicted". With c_i contradicted and j_i judged claims in caption i of n captions:

    hallucination_rate   sum c_i / sum j_i           share of judged claims that are contradicted
    caption_rate         sum [c_i > 0] / n           share of audited captions with at least one of them
    verifiable           sum j_i / number of claims

The claims of one caption are not independent. The interval of the first rate is therefore that of a ratio of
per-caption sums (linearised); the other two have Wilson intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypedDict, cast

from halluguard.auditing.outputs.shift import ShiftWatch, without_scores
from halluguard.correction.verification import Thresholds
from halluguard.io import JsonObject
from halluguard.metrics.stats import wilson

SCHEMA = 1
DECISIONS = ("supported", "contradicted", "unsure", "unverifiable")
Z = 1.959964
"""Quantile of the normal distribution for 95 % intervals."""


class Rate(TypedDict):
    """A share of `n` with its 95 % interval, rounded to 6 decimals; None where n is 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Tally:
    """Adds up checked rows, given as their JSON objects, in constant memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.with_contradiction = self.edited = 0
        self.by_kind: dict[str, Counter[str]] = {}
        self.by_label: dict[str, Counter[str]] = {}
        self.c = self.j = self.cc = self.cj = self.jj = 0  # sums over captions of c, j and their products
        self.words = self.words_kept = 0
        self.leaving = 0
        self.watch: ShiftWatch | None = None

    def add(self, row: JsonObject) -> None:
        self.rows += 1
        if row["code"] != "ok":
            self.skipped[row["code"]] += 1
            return
        if self.watch is not None:
            self.watch.add(row)
        c = j = 0
        for verdict in row["verdicts"]:
            claim, decision = row["claims"][verdict["claim"]], verdict["decision"]
            self.by_kind.setdefault(claim["kind"], Counter())[decision] += 1
            self.by_label.setdefault(claim.get("category") or claim["name"], Counter())[decision] += 1
            c += decision == "contradicted"
            j += decision in ("supported", "contradicted")
        self.c, self.j = self.c + c, self.j + j
        self.cc, self.cj, self.jj = self.cc + c * c, self.cj + c * j, self.jj + j * j
        self.with_contradiction += c > 0
        self.edited += row["corrected"] != row["caption"]
        self.leaving += not row.get("withheld")
        self.words += len(row["caption"].split())
        self.words_kept += len(row["corrected"].split())

    def summary(self, settings: Mapping[str, object]) -> JsonObject:
        """The summary as JSON values; `settings` says what was run."""
        audited = self.rows - self.skipped.total()
        claims = sum(self.by_kind.values(), Counter[str]())
        return {
            "schema": SCHEMA,
            "settings": {name: without_scores(value) for name, value in settings.items()},
            **(
                {"promise": self._promise(cast(JsonObject, settings["policy"]), audited)}
                if "policy" in settings
                else {}
            ),
            "rows": self.rows,
            "audited": audited,
            "skipped": dict(sorted(self.skipped.items())),
            "captions_with_contradictions": self.with_contradiction,
            "captions_edited": self.edited,
            "words": {"before": self.words, "after": self.words_kept},
            "claims": {decision: claims[decision] for decision in DECISIONS},
            "rates": {
                "hallucination_rate": self._hallucination_rate(audited),
                "caption_rate": share(self.with_contradiction, audited),
                "verifiable": share(self.j, claims.total()),
            },
            "by_kind": {kind: _with_rate(counts) for kind, counts in sorted(self.by_kind.items())},
            "by_label": {label: _with_rate(counts) for label, counts in sorted(self.by_label.items())},
        }

    def _promise(self, policy: JsonObject, audited: int) -> JsonObject:
        """What is promised of the captions that leave, and how many do."""
        return {
            "promise": policy["promise"],
            "rests_on": policy["rests_on"],
            "leave": self.leaving,
            "withheld": audited - self.leaving,
            **({"shift": self.watch.result()} if self.watch is not None else {}),
        }

    def _hallucination_rate(self, captions: int) -> Rate:
        """contradicted / judged, with the linearised interval over captions."""
        if self.c in (0, self.j):  # nothing judged, or a rate that does not vary, whose linearised interval is empty
            return share(self.c, self.j)
        rate = self.c / self.j
        squares = max(0.0, self.cc - 2 * rate * self.cj + rate * rate * self.jj)
        half = Z * math.sqrt(squares * captions / (captions - 1)) / self.j if captions > 1 else 1.0
        low, high = max(0.0, rate - half), min(1.0, rate + half)
        return {"value": round(rate, 6), "low": round(low, 6), "high": round(high, 6), "n": self.j}


def share(k: int, n: int) -> Rate:
    """k of n with its Wilson interval.

    >>> share(1, 4)
    {'value': 0.25, 'low': 0.045587, 'high': 0.699358, 'n': 4}
    """
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(k, n)
    return {"value": round(k / n, 6), "low": round(low, 6), "high": round(high, 6), "n": n}


def _with_rate(counts: Mapping[str, int]) -> JsonObject:
    rate = share(counts["contradicted"], counts["supported"] + counts["contradicted"])
    return {decision: counts[decision] for decision in DECISIONS} | {"rate": rate}


def thresholds_dict(thresholds: Thresholds) -> JsonObject:
    """Thresholds as JSON values, for a manifest."""
    labels = {name: list(pair) for name, pair in sorted(thresholds.labels.items())}
    return {"high": thresholds.high, "low": thresholds.low, "labels": labels}
