"""Coverage of every interval that halluguard prints, by simulation with images whose claims are alike.

    python benchmarks/intervals.py --json OUT

A world has n images. An image has 1 + Poisson(m - 1) claims, which are hits with a probability of its own, drawn from a
beta distribution whose mean is the rate; rho is the correlation of two claims of an image. The truth is the rate (for
the difference of two runs on the same images, the difference of theirs). Intervals are of 95 %: a kind of interval
holds if it covers the truth in 93 to 97 % of the draws. Beside them, intervals that take claims for independent.

    audit        `metrics.stats.clustered_share`: every rate in an audit's summary, tables and report
    benchmark    `metrics.stats.bootstrap`: CHAIR, POPE and the other scores
    difference   `metrics.stats.paired`: the comparison of two runs, of which one halves the rate
    alike        the same, of which one removes a tenth of the hits, among draws in which an image tells them apart
    wilson       `metrics.stats.wilson` on one claim per image, for which it is made
    claims       Wilson's interval on all claims, as if they were independent
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from halluguard.metrics.stats import Totals, bootstrap, clustered_share, paired, ratio, wilson

WORLDS = [(n, rate, rho) for n in (60, 250) for rate in (0.05, 0.2, 0.45) for rho in (0.05, 0.4)]
CLAIMS = 4
"""Claims per image, on average."""
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="draws per world [1000]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws [0]")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    rows = []
    for n, rate, rho in WORLDS:
        rng = np.random.default_rng([args.seed, n, int(100 * rate), int(100 * rho)])
        rows.append({"images": n, "rate": rate, "rho": rho, **coverage(n, rate, rho, args.draws, rng)})
        print(json.dumps(rows[-1]), flush=True)
    kinds = [name for name in rows[0] if name not in ("images", "rate", "rho")]
    mean = {kind: round(float(np.mean([row[kind] for row in rows])), 4) for kind in kinds}
    print(json.dumps({"all worlds": mean}))
    if args.json:
        args.json.write_text(
            json.dumps({"draws": args.draws, "worlds": rows, "mean": mean}, indent=1), encoding="utf-8"
        )


def metric(totals: Totals) -> dict[str, np.ndarray]:
    """The share of hits."""
    return {"rate": ratio(totals["hits"], totals["claims"])}


def coverage(n: int, rate: float, rho: float, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """Share of draws in which each kind of interval holds the truth."""
    held: Counter[str] = Counter()
    for _ in range(draws):
        hits, claims = world(n, rate, rho, rng)
        columns = {"hits": hits.tolist(), "claims": claims.tolist()}
        # The second run removes each hit with probability 1/2: its rate is half of the first's.
        halved = {"hits": rng.binomial(hits, 0.5).tolist(), "claims": claims.tolist()}
        fewer = rng.binomial(hits, 0.9)
        while hits.any() and (fewer == hits).all():
            fewer = rng.binomial(hits, 0.9)
        nearly = {"hits": fewer.tolist(), "claims": claims.tolist()}
        ones = int(world(n, rate, rho, rng, single=True)[0].sum())
        _, *audit = clustered_share(hits, claims)
        intervals = {
            "audit": (audit, rate),
            "benchmark": (bootstrap(columns, metric, resamples=RESAMPLES)["rate"], rate),
            "difference": (paired(columns, halved, metric, resamples=RESAMPLES)["rate"]["interval"], -rate / 2),
            "alike": (paired(columns, nearly, metric, resamples=RESAMPLES)["rate"]["interval"], -rate / 10),
            "wilson": (wilson(ones, n), rate),
            "claims": (wilson(int(hits.sum()), int(claims.sum())), rate),
        }
        held.update(kind for kind, ((low, high), truth) in intervals.items() if low <= truth <= high)
    kinds = ("audit", "benchmark", "difference", "alike", "wilson", "claims")
    return {kind: round(held[kind] / draws, 4) for kind in kinds}


def world(
    n: int, rate: float, rho: float, rng: np.random.Generator, *, single: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Hits and claims of n images."""
    claims = np.ones(n, dtype=int) if single else 1 + rng.poisson(CLAIMS - 1, n)
    spread = (1 - rho) / rho
    return rng.binomial(claims, rng.beta(rate * spread, (1 - rate) * spread, n)), claims


if __name__ == "__main__":
    main()
