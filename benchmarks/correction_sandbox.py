"""A trained detector as the expert: what correction does to the sandbox model's captions of fresh scenes.

    python benchmarks/correction_sandbox.py --scenes 500 --json OUT

The shipped model describes freshly drawn scenes (extra `sandbox`; `--shipped` takes the shipped test scenes instead),
greedy. The shipped detector, a Grounding DINO trained in the sandbox, is the expert. CHAIR (protocol "fixed") is scored
before and after correction against the scenes' true objects; intervals and the paired difference are bootstrapped over
scenes. A true object is kept when the corrected caption still names it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from halluguard.correction import correct_many
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.guard import Guard
from halluguard.metrics import chair
from halluguard.metrics.score import compare
from halluguard.sandbox import DETECTOR, FRESH_SEEDS, MLLM, Sample, fresh_scenes, measure, scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500, help="fresh scenes to draw [500]")
    parser.add_argument("--start", type=int, default=FRESH_SEEDS + 500_000, help="seed of the first scene")
    parser.add_argument("--shipped", action="store_true", help="use the shipped test scenes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    given = parser.parse_args()
    samples = scenes() if given.shipped else list(fresh_scenes(given.scenes, given.start))
    found = run(samples, given.seed)
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def run(samples: list[Sample], seed: int) -> dict[str, Any]:
    """Values before and after, their differences, and what was kept."""
    drafts = measure.captions(Guard.from_pretrained(MLLM, device="cpu", local_files_only=True), samples)
    expert = ZeroShotDetector.from_pretrained(DETECTOR)
    answers = list(correct_many(drafts, [sample.image for sample in samples], expert))
    texts = [answer.text for answer in answers]
    before, after = (measure.chair_of(told, samples, seed=seed) for told in (drafts, texts))
    named, kept = 0, 0
    for draft, text, sample in zip(drafts, texts, samples, strict=True):
        there = set(sample.names)
        first = _categories(draft) & there
        named, kept = named + len(first), kept + len(first & _categories(text))
    return {
        "scenes": len(samples),
        "expert": expert.name,
        "thresholds": list(expert.thresholds),
        "before": {name: [before[name], *before.intervals[name]] for name in before.values},
        "after": {name: [after[name], *after.intervals[name]] for name in after.values},
        "difference": compare(before, after, seed=seed),
        "true_objects_kept": round(kept / named, 4),
        "captions_edited": sum(text != draft for text, draft in zip(texts, drafts, strict=True)),
    }


def _categories(text: str) -> set[str]:
    return {mention.category for mention in chair.mentions(text, "fixed")[0]}


if __name__ == "__main__":
    main()
