"""AUROC of a model that checks its own captions, on the sandbox, beside the place in the caption and the detector.

    python benchmarks/self_check.py --scenes 200

Four scores of the model itself: asking it ("Is there a ...?"); the two-branch prior, read at the word in the caption;
the probe, taught by the detector's verdicts on the captions of other scenes; and the place in the caption alone, the
baseline that each of them has to beat. "shuffled" is the probe taught with each caption's names about the image of
another scene: it shows what such a probe learns without seeing.

The sandbox model captions scenes by greedy search. For each category that a caption names first at some place, truth is
whether the scene holds it. "Equal place" counts only pairs of mentions of equal rank (1st, 2nd, ... object of their
caption): later mentions are false more often, so a score that only knows the place looks good without it. Intervals are
95 % bootstrap intervals over images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from halluguard import Guard, sandbox
from halluguard.correction.claims.extract import extract
from halluguard.detectors.self_check import SelfCheck, two_branch_scores
from halluguard.detectors.taught_probe import TaughtProbe
from halluguard.records import Box, Detector
from halluguard.sandbox.world import CATEGORIES
from halluguard.vocabulary import category

PROMPT = "Describe the image."
Row = tuple[int, int, bool, dict[str, float]]
"""Image, rank of the mention, truth, scores by name."""


def auroc(rows: Sequence[Row], name: str, equal_place: bool) -> float:
    """Share of (true, false) pairs that a score puts in order; half for a tie."""
    scores, ranks = np.array([row[3][name] for row in rows]), np.array([row[1] for row in rows])
    truth = np.array([row[2] for row in rows])
    higher = np.sign(scores[truth][:, None] - scores[~truth][None]) / 2 + 0.5
    counted = ranks[truth][:, None] == ranks[~truth][None] if equal_place else np.ones_like(higher, dtype=bool)
    return float(higher[counted].mean()) if counted.any() else float("nan")


def interval(rows: Sequence[Row], name: str, equal_place: bool, resamples: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval over images."""
    draw, by_image = np.random.default_rng(seed), dict[int, list[Row]]()
    for row in rows:
        by_image.setdefault(row[0], []).append(row)
    groups = list(by_image.values())
    values = []
    for _ in range(resamples):
        chosen = draw.integers(0, len(groups), len(groups))
        values.append(auroc([row for i in chosen for row in groups[i]], name, equal_place))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def captioned(guard: Guard, scenes: Sequence[sandbox.Sample]) -> list[tuple[str, dict[str, int]]]:
    """The greedy caption of each scene, and the categories that it names: name -> character of the first mention."""
    images = [scene.image for scene in scenes]
    captions = [text for i in range(0, len(images), 50) for text in guard.drafts(images[i : i + 50], PROMPT)]
    rows = []
    for caption in captions:
        named: dict[str, int] = {}
        for claim in extract(caption):
            name = claim.name if claim.name in CATEGORIES else category(claim.name)
            if claim.kind == "existence" and claim.polarity == "asserted" and name in CATEGORIES:
                named.setdefault(str(name), claim.start)
        rows.append((caption, named))
    return rows


def taught(guard: Guard, scenes: Sequence[sandbox.Sample]) -> dict[str, TaughtProbe]:
    """The probe, and the one that is taught on other images than those of the captions."""
    assert guard.detector is not None
    images, names = [scene.image for scene in scenes], [list(named) for _, named in captioned(guard, scenes)]
    other = _Elsewhere(guard.detector, dict(zip(map(id, images[1:] + images[:1]), images, strict=True)))
    kept = (guard.model, guard.processor)
    return {
        "probe": TaughtProbe.teach(*kept, images, names, guard.detector),
        "shuffled": TaughtProbe.teach(*kept, images[1:] + images[:1], names, other),
    }


class _Elsewhere:
    """A detector that looks at another image than the one it is given, by the id of that one."""

    needs_image = True

    def __init__(self, detector: Detector, images: dict[int, Image]) -> None:
        self.detector, self.images, self.name = detector, images, detector.name
        self.thresholds = getattr(detector, "thresholds", (0.5, 0.5))

    def covers(self, phrase: str) -> bool:
        return self.detector.covers(phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        return self.detector.detect([self.images[id(image)] for image in images], phrases)


def rows_of(scenes: Sequence[sandbox.Sample], teaching: Sequence[sandbox.Sample]) -> list[Row]:
    """One row per category that a caption names, at its first mention."""
    guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)
    assert guard.detector is not None
    experts: dict[str, Detector] = {
        "detector": guard.detector,
        "asking": SelfCheck(guard.model, guard.processor),
        **taught(guard, teaching),
    }
    rows = []
    for index, (scene, (caption, named)) in enumerate(zip(scenes, captioned(guard, scenes), strict=True)):
        places = list(named.values())
        priors = two_branch_scores(guard.model, guard.processor, scene.image, PROMPT, caption, places)
        scores = {"prior": priors, "place": [-float(rank) for rank in range(len(named))]}
        for kind, one in experts.items():
            (boxes,) = one.detect([scene.image], [list(named)])
            scores[kind] = [max((b.score for b in boxes if b.phrase == i), default=0.0) for i in range(len(named))]
        for rank, name in enumerate(named):
            rows.append((index, rank, name in scene.names, {kind: values[rank] for kind, values in scores.items()}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=200, help="number of fresh scenes [200]")
    parser.add_argument("--start", type=int, default=30_000_000, help="first seed of the scenes [30000000]")
    parser.add_argument("--teach", type=int, default=200, help="scenes that the probe is taught on [200]")
    parser.add_argument(
        "--teach-start", type=int, default=40_000_000, help="first seed of the scenes of --teach [40000000]"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples [1000]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals [0]")
    given = parser.parse_args()
    teaching = list(sandbox.fresh_scenes(given.teach, given.teach_start))
    rows = rows_of(list(sandbox.fresh_scenes(given.scenes, given.start)), teaching)
    true = sum(row[2] for row in rows)
    print(f"{given.scenes} scenes from seed {given.start}, {len(rows)} first mentions, {true} of them true")
    print("| score | AUROC | at equal place |\n|---|---|---|")
    for name in ("place", "prior", "asking", "probe", "shuffled", "detector"):
        cells = []
        for equal in (False, True):
            low, high = interval(rows, name, equal, given.resamples, given.seed)
            cells.append(f"{auroc(rows, name, equal):.3f} [{low:.3f}, {high:.3f}]")
        print(f"| {name} | {' | '.join(cells)} |")
    wrong = [row for row in rows if not row[2]]
    believed = sum(row[3]["asking"] >= 0.5 for row in wrong)
    print(f"false mentions that the model affirms when asked: {believed} of {len(wrong)}")


if __name__ == "__main__":
    main()
