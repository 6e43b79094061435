"""Show which objects the sandbox's detector would add wrongly, and what rules could leave them out.

    python benchmarks/sandbox_additions.py --scenes 300

For the shipped scenes, then for fresh ones from seed 10500000 (extra `sandbox`): how many right and wrong objects each
rule leaves out, of all whose best box scores at least half-way from the threshold to 1, where completing begins.
Captions play no part: an object that a caption names already is counted as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halluguard import sandbox
from halluguard.boxes import iou
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.records import Box
from halluguard.sandbox import Sample

START = 10_500_000
BATCH = 50


@dataclass(frozen=True)
class Found:
    """A category that the detector finds: its best box, the boxes of other categories, and whether it is there."""

    box: Box
    others: tuple[Box, ...]
    right: bool

    def overlap(self, least: float) -> float:
        """The largest IoU with a box of another category that scores at least this."""
        return max((iou(self.box.xyxy, other.xyxy) for other in self.others if other.score >= least), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=300, help="number of fresh scenes")
    args = parser.parse_args()
    detector = ZeroShotDetector.from_pretrained(sandbox.DETECTOR)
    high = detector.thresholds[0]
    rules: dict[str, Callable[[Found], bool]] = {
        "all objects": lambda found: True,
        "score below .85": lambda found: found.box.score < 0.85,
        "another label scores higher in the same place": lambda found: found.overlap(found.box.score) >= 0.4,
        "another label is found there at all": lambda found: found.overlap(high) >= 0.5,
    }
    for name, samples in (("shipped", sandbox.scenes()), ("fresh", list(sandbox.fresh_scenes(args.scenes, START)))):
        objects = [one for one in found_in(samples, detector) if one.box.score >= (high + 1) / 2]
        for rule, leaves_out in rules.items():
            left_out = [one.right for one in objects if leaves_out(one)]
            print(f"| {name} | {rule} | {left_out.count(False)} wrong | {left_out.count(True)} right |", flush=True)


def found_in(samples: Sequence[Sample], detector: ZeroShotDetector) -> list[Found]:
    """All categories that are found in the samples."""
    names = list(sandbox.CATEGORIES)
    found = []
    for first in range(0, len(samples), BATCH):
        batch = samples[first : first + BATCH]
        for sample, boxes in zip(batch, detector.detect([s.image for s in batch], [names] * len(batch)), strict=True):
            for name in dict.fromkeys(box.label for box in boxes):
                best = max((box for box in boxes if box.label == name), key=lambda box: box.score)
                others = tuple(box for box in boxes if box.label != name)
                found.append(Found(best, others, name in sample.names))
    return found


if __name__ == "__main__":
    main()
