"""The qualities of the sandbox models, with intervals: `python -m halluguard.sandbox.evaluate`.

On fresh scenes, which need the extra `sandbox` to be drawn, or with `--shipped` on the shipped test scenes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from halluguard.guard import Guard
from halluguard.sandbox import DETECTOR, FRESH_SEEDS, MLLM, fresh_scenes, measure, scenes


def evaluate(mllm: Path, detector: Path, samples: list[Any], seed: int = 0) -> dict[str, Any]:
    """name -> (value, (low, high)) of every quality, and `n`, the number of scenes."""
    from halluguard.detectors.zero_shot import ZeroShotDetector

    guard = Guard.from_pretrained(mllm, device="cpu", local_files_only=True)
    expert = ZeroShotDetector.from_pretrained(detector)
    captions = measure.captions(guard, samples)
    score = measure.chair_of(captions, samples, seed=seed)
    found: dict[str, Any] = {name: (score[name], score.intervals[name]) for name in score.values}
    found["partners among hallucinations"] = (measure.partner_share(score, samples), None)
    exam = measure.Exam.of(samples, seed=seed)
    margins = exam.margins(guard)
    for split in measure.SPLITS:
        result = exam.score(split, exam.answers(margins), margins, seed=seed)
        found |= {f"POPE {split} {name}": (result[name], result.intervals[name]) for name in result.values}
    threshold = expert.thresholds[0]
    quality = measure.expert_quality(expert, samples, threshold, seed=seed)
    found |= {f"expert {name} (score >= {threshold:g})": value for name, value in quality.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m halluguard.sandbox.evaluate", description=__doc__)
    parser.add_argument("--mllm", type=Path, default=MLLM)
    parser.add_argument("--detector", type=Path, default=DETECTOR)
    parser.add_argument("--scenes", type=int, default=500, help="fresh scenes to draw [500]")
    parser.add_argument("--start", type=int, default=FRESH_SEEDS, help="seed of the first [10000000]")
    parser.add_argument("--shipped", action="store_true", help="use the shipped test scenes")
    parser.add_argument("--seed", type=int, default=0, help="of questions and intervals [0]")
    parser.add_argument("--json", type=Path, help="also write the values here")
    options = parser.parse_args()
    samples = scenes() if options.shipped else list(fresh_scenes(options.scenes, options.start))
    found = evaluate(options.mllm, options.detector, samples, options.seed)
    where = "shipped scenes" if options.shipped else f"fresh scenes from seed {options.start}"
    print(f"{len(samples)} {where}, greedy decoding, 95 % intervals over images, seed {options.seed}")
    for name, (value, interval) in found.items():
        spread = "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
        print(f"{name:<44} {value:7.3f}{spread}")
    if options.json:
        options.json.write_text(json.dumps({"n": len(samples), "seed": options.seed, "values": found}) + "\n")


if __name__ == "__main__":
    main()
