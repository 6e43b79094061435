"""Print the qualities of the sandbox models, with intervals: `python -m halluguard.sandbox.evaluate`.

They are measured on fresh scenes, whose drawing needs the extra `sandbox`, or with `--shipped` on the shipped ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.guard import Guard
from halluguard.sandbox import DETECTOR, FRESH_SEEDS, MLLM, Sample, fresh_scenes, measure, scenes

Quality: TypeAlias = tuple[float, tuple[float, float] | None]
"""A value and its interval (low, high)."""


def evaluate(mllm: Path, detector: Path, samples: Sequence[Sample], seed: int = 0) -> dict[str, Quality]:
    """Every quality by name."""
    guard = Guard.from_pretrained(mllm, device="cpu", local_files_only=True)
    boxes = ZeroShotDetector.from_pretrained(detector)
    score = measure.chair_of(measure.captions(guard, samples), samples, seed=seed)
    qualities: dict[str, Quality] = {name: (score[name], score.intervals[name]) for name in score.values}
    qualities["partners among hallucinations"] = (measure.partner_share(score, samples), None)
    exam = measure.Exam.of(samples, seed=seed)
    margins = exam.margins(guard)
    for split in measure.SPLITS:
        score = exam.score(split, exam.answers(margins), margins, seed=seed)
        qualities |= {f"POPE {split} {name}": (score[name], score.intervals[name]) for name in score.values}
    threshold = boxes.thresholds[0]
    for name, value in measure.detector_quality(boxes, samples, threshold, seed=seed).items():
        qualities[f"detector {name} (score >= {threshold:g})"] = value
    return qualities


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m halluguard.sandbox.evaluate", description=__doc__)
    parser.add_argument("--mllm", type=Path, default=MLLM, help="folder of the MLLM [the shipped one]")
    parser.add_argument("--detector", type=Path, default=DETECTOR, help="folder of the detector [the shipped one]")
    parser.add_argument("--scenes", type=int, default=500, help="number of fresh scenes to draw [500]")
    parser.add_argument("--start", type=int, default=FRESH_SEEDS, help="seed of the first scene [10000000]")
    parser.add_argument("--shipped", action="store_true", help="use the shipped test scenes")
    parser.add_argument("--seed", type=int, default=0, help="seed of questions and intervals [0]")
    parser.add_argument("--json", type=Path, help="file to write the values to as well")
    options = parser.parse_args()
    samples = scenes() if options.shipped else list(fresh_scenes(options.scenes, options.start))
    qualities = evaluate(options.mllm, options.detector, samples, options.seed)
    source = "shipped scenes" if options.shipped else f"fresh scenes from seed {options.start}"
    print(f"{len(samples)} {source}, greedy decoding, 95 % intervals over images, seed {options.seed}")
    for name, (value, interval) in qualities.items():
        spread = "" if interval is None else f"  [{interval[0]:.3f}, {interval[1]:.3f}]"
        print(f"{name:<44} {value:7.3f}{spread}")
    if options.json:
        options.json.write_text(json.dumps({"n": len(samples), "seed": options.seed, "values": qualities}) + "\n")


if __name__ == "__main__":
    main()
