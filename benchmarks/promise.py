"""Measure how often a promise is broken: `halluguard calibrate --risk` on simulated and on published captions.

    python benchmarks/promise.py worlds --json OUT
    python benchmarks/promise.py captions FILE --objects OBJECTS [--experts IMAGES] --table TABLE.npz --json OUT
    python benchmarks/promise.py sandbox --scenes 300 --table TABLE.npz --json OUT

worlds      images whose claims are alike, with scores from beta distributions, whole or rounded to tenths (ties). The
            true risk of every threshold is known. Beside it the per-claim rule of `calibration.fitting`, which counts
            the rows of one image as independent.
captions    a file of captions, {"image_id" or "image", "caption"}, with known objects. Every caption is corrected at
            every setting of the path once; the losses are kept in TABLE. The detector is the noisy one of
            benchmarks/correction.py, or, with --experts, the mean of two: JSON lines with image, detr, ram (MARINE's).
sandbox     the same for the sandbox model's captions of fresh scenes, checked by the sandbox's detector (extra
            `sandbox`).

A split draws n images with replacement, so that the true risk of a setting is its mean over all images of the file. A
promise is broken if the true risk of the chosen setting is above its limit. The exact binomial test says whether it is
broken in more than 5 % of the splits; p below .01 would show it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from correction import NoisyExpert
from scipy.stats import beta as beta_distribution
from scipy.stats import binomtest

from halluguard.calibration.fitting import thresholds
from halluguard.calibration.labelled_rows import Scored
from halluguard.calibration.losses import LossCounter
from halluguard.calibration.outcomes import Drafts, ObjectReader
from halluguard.calibration.policy_inputs import default_path
from halluguard.calibration.risk import Risk, certify, images_needed, level_of
from halluguard.detectors import Ensemble
from halluguard.detectors.precomputed import KnownObjects
from halluguard.io import iter_json_lines
from halluguard.metrics.chair import ChairScorer
from halluguard.metrics.ground_truth import image_key, read_objects
from halluguard.records import Detector

SIZES = (60, 120, 250, 400)
TRUE, FALSE = beta_distribution(6, 2), beta_distribution(2, 6)
"""Scores of what is there, and of what is not."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["worlds", "captions", "sandbox"], help="images to draw from")
    parser.add_argument("captions", type=Path, nargs="?", help="published captions, for 'captions'")
    parser.add_argument("--objects", type=Path, help="JSON file, image id -> object names, for 'captions'")
    parser.add_argument("--experts", type=Path, help="file of detections, for 'captions'")
    parser.add_argument("--protocol", default="pattern", help="rules that read object words [pattern]")
    parser.add_argument("--table", type=Path, help="NPZ file that keeps the losses")
    parser.add_argument("--risk", action="append", help="loss and its limit [chair_s=0.05]")
    parser.add_argument("--splits", type=int, default=1000, help="number of draws [1000]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws [0]")
    parser.add_argument("--scenes", type=int, default=300, help="number of scenes, for 'sandbox' [300]")
    parser.add_argument("--limit", type=int, help="number of captions to use, from the first on")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    rows = worlds(args) if args.what == "worlds" else published(args)
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        args.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1), encoding="utf-8")


# -- simulated images --------------------------------------------------------------------------------------------------


def worlds(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Images of equal claims, half of them true."""
    rows = []
    for images, claims in ((10, 40), (20, 40), (30, 20), (60, 40), (120, 40), (250, 20)):
        for kind in ("beta", "ties"):
            rng = np.random.default_rng([args.seed, images, claims, kind == "ties"])
            rows.append(
                {"world": f"{images}x{claims} {kind}", **_world(images, claims, kind == "ties", rng, args.splits)}
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def _world(images: int, claims: int, ties: bool, rng: np.random.Generator, splits: int) -> dict[str, Any]:
    path = np.round(np.linspace(0, 0.95, 20), 2)
    risks = [Risk.parse("chair_s=0.1"), Risk.parse("lost=0.3")]
    shift = 0.05 if ties else 0.0  # a score is below t if its tenth is: the cut lies half a tenth lower
    cuts = np.array([_cut(t, shift) for t in path])
    lies, lost = FALSE.sf(cuts), TRUE.cdf(cuts)
    broken = refused = 0
    old = []
    for _ in range(splits):
        true, false = TRUE.rvs(images, random_state=rng), FALSE.rvs(images, random_state=rng)
        if ties:
            true, false = np.round(true, 1), np.round(false, 1)
        losses = [{"chair_s": (false >= t).astype(float), "lost": (true < t).astype(float)} for t in path]
        passed = certify(losses, risks, 0.95).passed
        if passed and images >= images_needed(0.1, level_of(risks, 0.95)):  # type: ignore[operator]
            chosen = min(passed, key=lambda i: (losses[i]["lost"].mean(), i))
            broken += bool(lies[chosen] > 0.1 or lost[chosen] > 0.3)
        else:
            refused += 1
        rows = [
            Scored(str(i), "x", present, float(score))
            for present, scores in ((True, true), (False, false))
            for i, score in enumerate(scores)
            for _ in range(claims // 2)
        ]
        low = thresholds(rows, 0.05, 0.05)[1]
        old.append(float(TRUE.cdf(_cut(low, shift))))
    return {
        "splits": splits,
        "refused": refused,
        "broken": broken,
        "p": round(binomtest(broken, splits, 0.05, alternative="greater").pvalue, 4),
        "per-claim rule, alpha .05: mean error": round(float(np.mean(old)), 4),
        "per-claim rule: above .05 in": round(float(np.mean(np.array(old) > 0.05)), 3),
    }


def _cut(threshold: float, shift: float) -> float:
    """The score below which a claim is contradicted, before rounding to tenths."""
    return threshold if not shift else np.ceil(round(threshold * 10, 6)) / 10 - shift


# -- published captions ------------------------------------------------------------------------------------------------


def published(args: argparse.Namespace) -> list[dict[str, Any]]:
    losses, settings = _losses(args)
    risks = [Risk.parse(text) for text in args.risk or ["chair_s=0.05"]]
    images = losses["chair_s"].shape[1]
    rows: list[dict[str, Any]] = [
        {"setting": words, **{name: _percent(values[i]) for name, values in losses.items()}}
        for i, words in enumerate(settings)
    ]
    truth = {risk.name: np.nanmean(risk.of(losses), axis=1) for risk in risks}
    for n in SIZES:
        rng = np.random.default_rng([args.seed, n])
        rows.append({"images": images, "n": n, **_splits(losses, risks, truth, n, args.splits, rng)})
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def _splits(
    losses: Mapping[str, np.ndarray],
    risks: Sequence[Risk],
    truth: Mapping[str, np.ndarray],
    n: int,
    splits: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    images = losses["chair_s"].shape[1]
    broken, chosen_settings = 0, []
    for _ in range(splits):
        drawn = rng.integers(0, images, n)
        sample = [{name: values[i, drawn] for name, values in losses.items()} for i in range(len(losses["chair_s"]))]
        passed = certify(sample, risks, 0.95).passed
        if passed:
            chosen = min(passed, key=lambda i: (round(float(np.nanmean(sample[i]["lost"])), 6), i))
            chosen_settings.append(chosen)
            broken += any(truth[risk.name][chosen] > risk.limit for risk in risks)
    means = {name: np.nanmean(values, axis=1) for name, values in losses.items()}

    def kept(name: str) -> float | None:
        """Mean share kept, in percent, over the splits that were not refused."""
        return (
            round(100 * float(np.mean([1 - means[name][i] for i in chosen_settings])), 1) if chosen_settings else None
        )

    return {
        "splits": splits,
        "refused": splits - len(chosen_settings),
        "broken": broken,
        "p": round(binomtest(broken, splits, 0.05, alternative="greater").pvalue, 4),
        "true objects kept": kept("lost"),
        "words kept": kept("words_lost"),
        "images released": kept("withheld"),
        "chair_s": None if not chosen_settings else round(100 - (kept("chair_s") or 0), 1),
    }


def _losses(args: argparse.Namespace) -> tuple[dict[str, np.ndarray], list[str]]:
    """Loss -> (settings, images), and the settings in words; read from the table if it is there."""
    if args.table and args.table.exists():
        with np.load(args.table) as kept:
            return {name: kept[name] for name in kept if name != "settings"}, list(kept["settings"])
    captions, keys, images, objects, detector = _of_sandbox(args) if args.what == "sandbox" else _of_file(args)
    counter = LossCounter(ChairScorer(objects, args.protocol), keys, captions)
    drafts = Drafts(captions, images, detector, reader=ObjectReader(args.protocol))
    path = default_path(detector)
    table = [counter(drafts.at(setting)) for setting in path]
    losses = {name: np.stack([row[name] for row in table]) for name in table[0]}
    words = [setting.words() for setting in path]
    if args.table:
        np.savez(args.table, allow_pickle=False, settings=np.array(words), **losses)
    return losses, words


Captions = tuple[list[str], list[str], Sequence[Any], Mapping[str, Sequence[str]], Detector]
"""Captions, keys of their images, what the detector is given, the objects by key, and the detector."""


def _of_file(args: argparse.Namespace) -> Captions:
    rows = [row for _, row in iter_json_lines(args.captions)][: args.limit]
    keys = [image_key(row.get("image", row.get("image_id"))) for row in rows]
    objects = {image_key(key): names for key, names in read_objects(args.objects).items()} if args.objects else {}
    detector: Detector = NoisyExpert(objects, 0.8, 0.1, 0.5, args.seed)
    if args.experts:
        known = {image_key(row["image"]): row for _, row in iter_json_lines(args.experts)}
        objects = objects or {key: row["truth"] for key, row in known.items()}
        detector = Ensemble(
            [KnownObjects({k: r[e] for k, r in known.items()}, name=e) for e in ("detr", "ram")], "mean"
        )
    return [row["caption"] for row in rows], keys, keys, objects, detector


def _of_sandbox(args: argparse.Namespace) -> Captions:
    from halluguard.detectors.zero_shot import ZeroShotDetector
    from halluguard.guard import Guard
    from halluguard.sandbox import DETECTOR, FRESH_SEEDS, MLLM, fresh_scenes, measure

    samples = list(fresh_scenes(args.scenes, FRESH_SEEDS + 700_000))
    captions = measure.captions(Guard.from_pretrained(MLLM, device="cpu", local_files_only=True), samples)
    keys = [str(sample.image_id) for sample in samples]
    objects = {str(sample.image_id): list(sample.names) for sample in samples}
    return captions, keys, [sample.image for sample in samples], objects, ZeroShotDetector.from_pretrained(DETECTOR)


def _percent(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return round(100 * float(known.mean()), 2) if len(known) else None


if __name__ == "__main__":
    main()
