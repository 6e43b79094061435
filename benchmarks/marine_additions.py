"""Show which of MARINE's detections are wrong additions to LLaVA's captions, and what could tell them from right ones.

    python benchmarks/marine_additions.py FOLDER --objects coco_gt_objects.json.gz

FOLDER is that of `marine.py`; OBJECTS is {COCO image id: categories}, from which the images of FOLDER are left out.
The captions are corrected and completed with both experts as in `marine.py`. Three tables:

    mentions     of the completed captions: in the text or added, which expert names them, how many are there
    own answers  share of POPE questions to which LLaVA itself says yes, by label and by the experts that name it
    frontier     CHAIR and recall if only the best part of what DETR alone names is added, by five orders:
                 chance; the label's precision; the label's recall by RAM++, whose silence then speaks; company, the
                 probability of the label beside DETR's other objects, by logistic regression on the images of OBJECTS;
                 a regression on all of these; and the truth itself, which nothing can beat

What an order learns about labels comes from one random half of the images and is counted on the other, both ways, for
`--splits` halvings; figures are means over them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
from siblings import beside
from sklearn.linear_model import LogisticRegression

from halluguard.correction import correct_many
from halluguard.detectors import Ensemble, KnownObjects
from halluguard.metrics.chair import ChairScorer
from halluguard.vocabulary import COCO

marine = beside("marine")

Pair = tuple[str, str]
"""An image and a category."""
Order = Callable[[Pair], float]
"""Higher for pairs that are added first."""
RECALLS = (0.56, 0.60, 0.64, 0.68)
PRIOR = 4
"""Weight of the mean over all labels in the rate of one, in objects."""


@dataclass(frozen=True)
class Study:
    """Mentions of the completed captions, with truth and witnesses per image."""

    truth: dict[str, frozenset[str]]
    detr: dict[str, frozenset[str]]
    ram: dict[str, frozenset[str]]
    mentions: list[tuple[Pair, bool]]
    """Each mention, and whether it was added."""

    def witnesses(self, pair: Pair) -> str:
        """The experts that name a category of an image."""
        image, name = pair
        names = [expert for expert, of in (("DETR", self.detr), ("RAM++", self.ram)) if name in of[image]]
        return " and ".join(names) or "none"

    def there(self, pair: Pair) -> bool:
        return pair[1] in self.truth[pair[0]]

    def doubtful(self) -> list[Pair]:
        """What was added on DETR's word alone."""
        return [pair for pair, added in self.mentions if added and self.witnesses(pair) == "DETR"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", type=Path, required=True, help="{COCO image id: categories}, for company")
    parser.add_argument("--splits", type=int, default=30, help="random halvings")
    args = parser.parse_args()
    study = completed(args.folder)
    print("mentions: where, named by, right, wrong")
    counts = Counter((added, study.witnesses(pair), study.there(pair)) for pair, added in study.mentions)
    for added, names in sorted({(added, names) for added, names, _ in counts}):
        where = "added" if added else "text"
        print(f"| {where} | {names} | {counts[added, names, True]} | {counts[added, names, False]} |")
    print("\nown answers: label, named by, yes, of")
    for (label, names), (yes, total) in own_answers(args.folder, study).items():
        print(f"| {label} | {names} | {yes} | {total} |")
    print("\nfrontier: order, then CHAIR_i / CHAIR_s at recall " + ", ".join(f"{100 * r:.0f}" for r in RECALLS))
    for name, learn in orders(study, company(study, args.objects)).items():
        cells = frontier(study, learn, args.splits)
        print(f"| {name} | " + " | ".join(f"{100 * i:.1f} / {100 * s:.1f}" for i, s in cells) + " |", flush=True)


def completed(folder: Path) -> Study:
    """Correct and complete the captions with both experts, and read their mentions."""
    images = list(marine.rows(folder / "images.jsonl.gz"))
    plain = list(marine.rows(folder / "captions_plain.jsonl.gz"))
    detr, ram = marine.detr(images), marine.ram(images)
    keys = [row["image"] for row in plain]
    answers = correct_many(
        [row["caption"] for row in plain], keys, Ensemble([detr, ram], "any"), complete=COCO, style="drop"
    )
    truth = {row["image"]: frozenset(row["truth"]) for row in images}
    scorer = ChairScorer(truth, "fixed")
    mentions = []
    for row, answer in zip(plain, answers, strict=True):
        image = row["image"]
        written = {mention.category for mention in scorer.caption(image, row["caption"]).mentions}
        for mention in scorer.caption(image, answer.text).mentions:
            mentions.append(((image, mention.category), mention.category not in written))
    return Study(truth, named_by(detr, keys), named_by(ram, keys), mentions)


def named_by(expert: KnownObjects, images: Sequence[str]) -> dict[str, frozenset[str]]:
    """image -> the COCO categories that the expert names."""
    boxes = expert.detect(images, [COCO] * len(images))
    return {
        image: frozenset(COCO[box.phrase or 0] for box in of if box.score >= 0.5)
        for image, of in zip(images, boxes, strict=True)
    }


def own_answers(folder: Path, study: Study) -> dict[Pair, tuple[int, int]]:
    """(POPE's label, experts that name the object) -> times LLaVA said yes, of how many."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    for row in marine.rows(folder / "pope_plain.jsonl.gz"):
        asked = re.fullmatch(r"Is there an? (.+) in the \w+\?", row["question"])
        if asked:
            names = study.witnesses((row["image"], asked[1]))
            counts[row["label"], names, row["answer"].lower().startswith("yes")] += 1
    keys = sorted({(label, names) for label, names, _ in counts})
    return {key: (counts[*key, True], counts[*key, True] + counts[*key, False]) for key in keys}


def company(study: Study, path: Path) -> Order:
    """The probability of a category beside DETR's other objects, from other images."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        objects: dict[str, list[str]] = json.load(file)
    own = {int(image[-16:-4]) for image in study.truth}
    scenes = np.array([_present(names) for image, names in objects.items() if int(image) not in own])
    models: dict[str, LogisticRegression] = {}
    for name in sorted({name for _, name in study.doubtful()}):
        k = COCO.index(name)
        others = np.delete(scenes, k, axis=1)
        models[name] = LogisticRegression(C=0.3, max_iter=500).fit(others, scenes[:, k])

    def probability(pair: Pair) -> float:
        image, name = pair
        others = np.delete(_present(study.detr[image]), COCO.index(name))
        return float(models[name].predict_proba([others])[0, 1])

    return probability


def _present(names: Collection[str]) -> np.ndarray:
    return np.array([name in names for name in COCO], dtype=float)


def orders(study: Study, by_company: Order) -> dict[str, Callable[[Sequence[str]], Order]]:
    """Name -> a function that learns an order of pairs from images."""
    likely = {pair: by_company(pair) for pair in study.doubtful()}
    chance = random.Random(0)

    def precision(images: Sequence[str]) -> Order:
        named = [(i, name) for i in images for name in study.detr[i] - study.ram[i]]
        rate = shares([(name, study.there((i, name))) for i, name in named])
        return lambda pair: rate(pair[1])

    def silence(images: Sequence[str]) -> Order:
        rate = shares([(name, name in study.ram[i]) for i in images for name in study.truth[i]])
        return lambda pair: -rate(pair[1])

    def together(images: Sequence[str]) -> Order:
        parts = precision(images), silence(images)
        known = set(images)

        def features(pair: Pair) -> list[float]:
            p, c = parts[0](pair), likely[pair]
            return [log(p / (1 - p)), parts[1](pair), log(c / (1 - c)), len(study.detr[pair[0]])]

        pairs = [pair for pair in likely if pair[0] in known]
        table = np.array([features(pair) for pair in pairs])
        mean, spread = table.mean(0), table.std(0) + 1e-9
        model = LogisticRegression(C=0.3).fit((table - mean) / spread, [study.there(pair) for pair in pairs])
        return lambda pair: float(model.decision_function([(np.array(features(pair)) - mean) / spread])[0])

    return {
        "chance": lambda images: lambda pair: chance.random(),
        "precision of the label": precision,
        "silence of RAM++": silence,
        "company": lambda images: lambda pair: likely[pair],
        "all together": together,
        "the truth": lambda images: lambda pair: float(study.there(pair)),
    }


def shares(seen: Sequence[tuple[str, bool]]) -> Callable[[str], float]:
    """label -> share that is true, drawn towards the mean of all by `PRIOR`."""
    mean = sum(true for _, true in seen) / len(seen)
    true, total = Counter(name for name, is_true in seen if is_true), Counter(name for name, _ in seen)
    return lambda name: (true[name] + PRIOR * mean) / (total[name] + PRIOR)


def frontier(study: Study, learn: Callable[[Sequence[str]], Order], splits: int) -> list[tuple[float, float]]:
    """CHAIR_i and CHAIR_s at each of `RECALLS`, means over the splits."""
    rng = random.Random(0)
    images = sorted(study.truth)
    measured = []
    for _ in range(splits):
        shuffled = rng.sample(images, len(images))
        halves = shuffled[: len(images) // 2], shuffled[len(images) // 2 :]
        ranked = [
            item
            for half, other in (halves, halves[::-1])
            for item in ranks([pair for pair in study.doubtful() if pair[0] in set(half)], learn(other), rng)
        ]
        measured.append(along(study, [pair for _, pair in sorted(ranked)]))
    return [tuple(cell) for cell in np.mean(measured, axis=0)]


def ranks(pairs: Sequence[Pair], order: Order, rng: random.Random) -> list[tuple[float, Pair]]:
    """Each pair with its place in the order, from 0 (first) to 1; ties by chance."""
    ordered = sorted(pairs, key=lambda pair: (-order(pair), rng.random()))
    return [(k / len(ordered), pair) for k, pair in enumerate(ordered)]


def along(study: Study, ranked: Sequence[Pair]) -> list[tuple[float, float]]:
    """CHAIR_i and CHAIR_s at each of `RECALLS` while pairs are added one by one."""
    doubtful = set(ranked)
    kept = [pair for pair, added in study.mentions if not (added and pair in doubtful)]
    mentions, wrong = len(kept), [pair for pair in kept if not study.there(pair)]
    found = {pair for pair in kept if study.there(pair)}
    objects = sum(map(len, study.truth.values()))
    remaining = iter(ranked)
    cells = []
    for recall in RECALLS:
        while len(found) < recall * objects:
            pair = next(remaining)
            mentions += 1
            if study.there(pair):
                found.add(pair)
            else:
                wrong.append(pair)
        cells.append((len(wrong) / mentions, len({image for image, _ in wrong}) / len(study.truth)))
    return cells


if __name__ == "__main__":
    main()
