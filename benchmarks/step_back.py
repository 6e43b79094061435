"""Step back while writing, beside plain captions, on fresh scenes of the sandbox, before and after correction.

    python benchmarks/step_back.py --scenes 500 --json OUT
    python benchmarks/step_back.py --scenes 120 --start 20000000 --demand 0.5 0.75 1.0 --retries 2 4
    python benchmarks/step_back.py --scenes 150 --strict 0.68 0.63

The sandbox's model describes freshly drawn scenes (extra `sandbox`), greedy; the shipped detector judges its sentences
while it writes, and corrects the text afterwards. Each pair of `--demand` and `--retries` is one run; settings are
chosen on scenes that are not the measured ones. CHAIR (protocol "fixed") before correction, after it, and after
correction and completion, with the paired difference to plain at the same stage; `--strict` adds a correction by higher
thresholds. Tokens are those written, taken back ones included, as a ratio to plain. Intervals are over images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from halluguard.correction import correct_many
from halluguard.correction.verification import Thresholds
from halluguard.decoding.step_back import StepBack
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.guard import Guard
from halluguard.metrics.score import Score, compare
from halluguard.records import Detector
from halluguard.sandbox import DETECTOR, FRESH_SEEDS, MLLM, Sample, fresh_scenes, measure

SHOWN = ("CHAIRi", "CHAIRs", "recall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="fresh scenes to draw [500]")
    parser.add_argument("--start", type=int, default=FRESH_SEEDS + 500_000, help="seed of the first scene")
    parser.add_argument(
        "--demand", type=float, nargs="+", default=[StepBack().demand], help="values of StepBack.demand"
    )
    parser.add_argument(
        "--retries", type=int, nargs="+", default=[StepBack().retries], help="values of StepBack.retries"
    )
    parser.add_argument("--strict", type=float, nargs=2, metavar=("HIGH", "LOW"), help="higher thresholds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    samples = list(fresh_scenes(args.scenes, args.start))
    settings = [StepBack(retries=r, demand=d) for r in args.retries for d in args.demand]
    strict = Thresholds(*args.strict) if args.strict else None
    rows = measured(samples, settings, strict, args.seed)
    print("| | CHAIRi | CHAIRs | recall | CHAIRi - plain's | recall - plain's | tokens |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['name']} | {' | '.join(row['cells'])} |")
    if args.json:
        record = {"scenes": len(samples), "start": args.start, "seed": args.seed, "rows": rows}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def measured(
    samples: list[Sample], settings: list[StepBack], strict: Thresholds | None, seed: int
) -> list[dict[str, Any]]:
    """Three rows for plain and for each setting: as written, corrected, completed; two more with `strict`."""
    detector = ZeroShotDetector.from_pretrained(DETECTOR)
    runs: list[tuple[str, StepBack | bool]] = [("plain", False)]
    runs += [(f"step back, {s.retries} tries, demand {s.demand:g}", s) for s in settings]
    plain: dict[str, Score] = {}
    plain_tokens = 0
    rows = []
    for name, step_back in runs:
        guard = Guard.from_pretrained(MLLM, detector=detector, step_back=step_back, device="cpu", local_files_only=True)
        texts, tokens = written(guard, samples)
        plain_tokens = plain_tokens or tokens
        for stage, stage_texts in stages(texts, samples, detector, strict).items():
            score = measure.chair_of(stage_texts, samples, seed=seed)
            reference = plain.setdefault(stage, score)
            change = compare(reference, score, seed=seed)
            cells = [shown(score[key], score.intervals[key]) for key in SHOWN]
            if score is reference:
                cells += ["", ""]
            else:
                cells += [shown(change[k]["difference"], change[k]["interval"]) for k in ("CHAIRi", "recall")]
            rows.append({"name": f"{name}, {stage}", "cells": [*cells, f"{tokens / plain_tokens:.2f}"]})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def written(guard: Guard, samples: list[Sample]) -> tuple[list[str], int]:
    """The model's own texts, before correction, and the number of tokens written for them."""
    texts, tokens = [], 0
    for batch in measure.batches(samples, 50):
        for answer in guard.batch([sample.image for sample in batch], "Describe the image."):
            texts.append(answer.draft)
            taken_back = answer.settings.get("step back", {}).get("tokens taken back", 0)
            tokens += len(guard.processor.tokenizer.encode(answer.draft, add_special_tokens=False)) + taken_back
    return texts, tokens


def stages(
    texts: list[str], samples: list[Sample], detector: Detector, strict: Thresholds | None
) -> dict[str, list[str]]:
    """Texts as written, corrected, and corrected and completed, by the detector's own thresholds and by `strict`."""
    images = [sample.image for sample in samples]
    made = {"as written": texts}
    for name, thresholds in {"": None, **({} if strict is None else {"strictly ": strict})}.items():
        for what, complete in (("corrected", False), ("completed", True)):
            answers = correct_many(texts, images, detector, thresholds=thresholds, complete=complete)
            made[name + what] = [answer.text for answer in answers]
    return made


def shown(value: float, interval: tuple[float, float]) -> str:
    """Percent with its interval."""
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


if __name__ == "__main__":
    main()
