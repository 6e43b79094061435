"""The summary of a run: counts, rates with intervals, one row per label. Versioned, and free of times and paths, so
that equal inputs give equal bytes.

A claim is *judged* when its verdict is "supported" or "contradicted". With c_i contradicted and j_i judged claims in
caption i of n audited captions:

    hallucination_rate   sum c_i / sum j_i           share of judged claims that are contradicted
    caption_rate         sum [c_i > 0] / n           share of audited captions with at least one of them
    verifiable           sum j_i / number of claims

Claims of one caption stand and fall together, so the interval of the first is that of a ratio of per-caption sums
(linearised, 95 %), not that of independent claims; the second has Wilson's interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from halluguard.correction.verification import Thresholds
from halluguard.metrics.stats import wilson

SCHEMA = 1
DECISIONS = ("supported", "contradicted", "unsure", "unverifiable")
Z = 1.959964
"""Quantile of the normal distribution for 95 % intervals."""


class Tally:
    """Adds up checked rows, as their JSON lines, in flat memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.skipped: Counter[str] = Counter()
        self.hallucinating = self.edited = 0
        self.by_kind: dict[str, Counter[str]] = {}
        self.by_label: dict[str, Counter[str]] = {}
        self.c = self.j = self.cc = self.cj = self.jj = 0  # sums over captions of c, j and their products
        self.words = self.words_kept = 0

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        if row["code"] != "ok":
            self.skipped[row["code"]] += 1
            return
        c = j = 0
        for verdict in row["verdicts"]:
            claim, decision = row["claims"][verdict["claim"]], verdict["decision"]
            self.by_kind.setdefault(claim["kind"], Counter())[decision] += 1
            self.by_label.setdefault(claim.get("category") or claim["name"], Counter())[decision] += 1
            c += decision == "contradicted"
            j += decision in ("supported", "contradicted")
        self.c, self.j = self.c + c, self.j + j
        self.cc, self.cj, self.jj = self.cc + c * c, self.cj + c * j, self.jj + j * j
        self.hallucinating += c > 0
        self.edited += bool(row["edits"])
        self.words += len(row["caption"].split())
        self.words_kept += len(row["corrected"].split())

    def summary(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The summary as JSON values; `settings` says what was run."""
        audited = self.rows - sum(self.skipped.values())
        total = sum((counts for counts in self.by_kind.values()), Counter())
        return {
            "schema": SCHEMA,
            "settings": dict(settings),
            "rows": self.rows,
            "audited": audited,
            "skipped": dict(sorted(self.skipped.items())),
            "captions_with_contradictions": self.hallucinating,
            "captions_edited": self.edited,
            "words": {"before": self.words, "after": self.words_kept},
            "claims": {decision: total[decision] for decision in DECISIONS},
            "rates": {
                "hallucination_rate": self._ratio(audited),
                "caption_rate": share(self.hallucinating, audited),
                "verifiable": share(self.j, sum(total.values())),
            },
            "by_kind": {kind: _row(counts) for kind, counts in sorted(self.by_kind.items())},
            "by_label": {label: _row(counts) for label, counts in sorted(self.by_label.items())},
        }

    def _ratio(self, n: int) -> dict[str, Any]:
        """contradicted / judged, with the linearised interval over captions."""
        if not self.j:
            return {"value": None, "low": None, "high": None, "n": 0}
        if self.c in (0, self.j):  # a rate that does not vary says nothing of how far it could be off
            return share(self.c, self.j)
        rate = self.c / self.j
        squares = max(0.0, self.cc - 2 * rate * self.cj + rate * rate * self.jj)
        half = Z * math.sqrt(squares * n / (n - 1)) / self.j if n > 1 else 1.0
        return {
            "value": round(rate, 6),
            "low": round(max(0.0, rate - half), 6),
            "high": round(min(1.0, rate + half), 6),
            "n": self.j,
        }


def share(k: int, n: int) -> dict[str, Any]:
    """k of n with Wilson's 95 % interval; None where there is nothing to divide by."""
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(k, n)
    return {"value": round(k / n, 6), "low": round(low, 6), "high": round(high, 6), "n": n}


def _row(counts: Mapping[str, int]) -> dict[str, Any]:
    judged = counts["supported"] + counts["contradicted"]
    rate = share(counts["contradicted"], judged)
    return {decision: counts[decision] for decision in DECISIONS} | {"rate": rate}


def thresholds_dict(thresholds: Thresholds) -> dict[str, Any]:
    """Thresholds as JSON values, for a manifest."""
    labels = {name: list(pair) for name, pair in sorted(thresholds.labels.items())}
    return {"high": thresholds.high, "low": thresholds.low, "labels": labels}
