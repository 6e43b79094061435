"""Count true and false objects that correction removes from captions of real photos, with boxes of real detectors.

    python benchmarks/photos.py FOLDER --detector nanodet.json.gz --json OUT

FOLDER holds instances.json.gz (COCO annotations), human_captions.jsonl.gz ({"image_id", "caption"}) and the detector's
boxes as COCO results. Two kinds of captions:

    human       written by people; all annotated objects that they name are true
    composed    three annotated objects and the two absent categories that occur most often beside the annotated ones

An object is removed when the caption named its category and the corrected one does not. The first row takes the
detector at its word; the second is the default, which assumes that small things are often missed; the third uses a
recall per label that was measured on the other half of the photos; in the fourth the lower threshold comes from the
other half too: the one that removes most lies there at a loss of at most 3 % of the true objects, with recalls measured
on one quarter of the photos and counted on another. --frontier prints the first three rows over the lower threshold.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halluguard import io
from halluguard.correction import Thresholds, correct_many
from halluguard.detectors.box_files import KnownBoxes
from halluguard.metrics.chair import ChairScorer
from halluguard.metrics.stats import wilson
from halluguard.reliability import SPEAKS, Stated
from halluguard.vocabulary import article

HIGH, LOW = 0.35, 0.2
LOWS = (0.05, 0.1, 0.15, 0.2, 0.25)
ENOUGH = 4
"""Least number of photos with a label for a recall of its own; rarer labels keep the assumed recall."""
MOST_LOST = 0.03
"""Largest share of true objects that a lower threshold may remove on the photos that it is chosen on."""
CHOICES = tuple(low / 100 for low in range(10, 26))
"""Lower thresholds to choose from."""


@dataclass(frozen=True)
class Caption:
    """A caption with the categories that are truly there and those that it invents."""

    image: str
    text: str
    true: frozenset[str]
    false: frozenset[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the photos")
    parser.add_argument("--detector", default="nanodet.json.gz", help="file of COCO results in the folder")
    parser.add_argument("--frontier", action="store_true", help="print one row per lower threshold")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    notes = read(args.folder / "instances.json.gz")
    truth = objects(notes)
    human = human_captions(args.folder / "human_captions.jsonl.gz", truth)
    made = composed(truth)
    boxes = args.folder / args.detector, args.folder / "instances.json.gz"
    table: dict[str, dict[str, str]] = {}
    for name, recall in (("at its word", 1.0), ("default", None), ("measured on the other half", "measured")):
        for low in LOWS if args.frontier else (LOW,):
            setting = f"{name}, low {low:g}"
            if recall == "measured":
                table[setting] = crossed(boxes, truth, human, made, (low, low))
            else:
                table[setting] = counted(boxes, recall, human, made, low)  # type: ignore[arg-type]  # not the text
            print(f"| {setting} | " + " | ".join(table[setting].values()) + " |", flush=True)
    if not args.frontier:
        name, row = chosen(boxes, truth, human, made)
        table[name] = row
        print(f"| {name} | " + " | ".join(row.values()) + " |")
    if args.json:
        io.write_text(args.json, json.dumps(table, indent=1) + "\n")


def read(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def objects(notes: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """image id -> annotated categories, of images with any."""
    names = {row["id"]: row["name"] for row in notes["categories"]}
    found: dict[str, set[str]] = defaultdict(set)
    for row in notes["annotations"]:
        found[str(row["image_id"])].add(names[row["category_id"]])
    return {image: frozenset(of_image) for image, of_image in found.items()}


def human_captions(path: Path, truth: Mapping[str, frozenset[str]]) -> list[Caption]:
    """Human captions; what they name and nobody annotated is neither true nor false."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    scorer = ChairScorer(truth, "fixed")
    captions = []
    for row in rows:
        image = str(row["image_id"])
        if image in truth:
            named = {mention.category for mention in scorer.caption(image, row["caption"]).mentions}
            captions.append(Caption(image, row["caption"], frozenset(named & truth[image]), frozenset()))
    return captions


def composed(truth: Mapping[str, frozenset[str]]) -> list[Caption]:
    """One caption per image: three annotated objects, and the two absent ones that most often go with the annotated."""
    rng = random.Random(0)
    beside: Counter[tuple[str, str]] = Counter()
    for names in truth.values():
        beside.update((a, b) for a in names for b in names if a != b)
    count = Counter(name for names in truth.values() for name in names)
    captions = []
    for image, names in truth.items():
        chance = Counter[str]()
        for (a, b), n in beside.items():
            if a in names and b not in names:
                chance[b] += n / count[a]  # type: ignore[assignment]  # a share
        lies = [name for name, _ in sorted(chance.items(), key=lambda item: (-item[1], item[0]))[:2]]
        true = rng.sample(sorted(names), min(3, len(names)))
        captions.append(Caption(image, sentence([*true, *lies], rng), frozenset(true), frozenset(lies)))
    return captions


def sentence(names: Sequence[str], rng: random.Random) -> str:
    """A caption that names the objects, in an order drawn at random."""
    words = [f"{article(name)} {name}" for name in rng.sample(names, len(names))]
    first, rest = words[:2], words[2:]
    text = f"The image shows {' and '.join(first)}."
    return f"{text} There is also {', '.join(rest[:-1])}{' and ' if len(rest) > 1 else ''}{rest[-1]}." if rest else text


def detector(boxes: tuple[Path, Path], recall: Stated | None) -> KnownBoxes:
    return KnownBoxes.from_coco(*boxes, recall=recall)


def counted(
    boxes: tuple[Path, Path], recall: Stated | None, human: Sequence[Caption], made: Sequence[Caption], low: float
) -> dict[str, str]:
    """True objects removed from human and composed captions, and false ones from composed captions."""
    expert = detector(boxes, recall)
    return shown(removed(human, expert, low), removed(made, expert, low))


Removed = tuple[int, int, int, int]
"""True objects removed, of how many, false objects removed, of how many."""


def removed(captions: Sequence[Caption], expert: KnownBoxes, low: float) -> Removed:
    limits = Thresholds(HIGH, low)
    answers = correct_many(
        [c.text for c in captions], [c.image for c in captions], expert, thresholds=limits, style="drop"
    )
    scorer = ChairScorer({c.image: () for c in captions}, "fixed")
    true = lost = false = gone = 0
    for caption, answer in zip(captions, answers, strict=True):
        named = {mention.category for mention in scorer.caption(caption.image, answer.text).mentions}
        true, lost = true + len(caption.true), lost + len(caption.true - named)
        false, gone = false + len(caption.false), gone + len(caption.false - named)
    return lost, true, gone, false


def shown(human: Removed, made: Removed) -> dict[str, str]:
    return {
        "human: true removed": percent(human[0], human[1]),
        "composed: true removed": percent(made[0], made[1]),
        "composed: lies removed": percent(made[2], made[3]),
    }


def percent(k: int, n: int) -> str:
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} [{100 * low:.1f}, {100 * high:.1f}] of {n}"


def crossed(
    boxes: tuple[Path, Path],
    truth: Mapping[str, frozenset[str]],
    human: Sequence[Caption],
    made: Sequence[Caption],
    lows: tuple[float, float],
) -> dict[str, str]:
    """The counts of `counted`, with a recall per label that was measured on the other half of the photos.

    Args:
        lows: the lower threshold of each half.
    """
    sums = []
    for captions in (human, made):
        parts = [
            removed([c for c in captions if c.image in half], detector(boxes, recalls(boxes, truth, other, low)), low)
            for (half, other), low in zip(pairs(truth), lows, strict=True)
        ]
        sums.append(tuple(map(sum, zip(*parts, strict=True))))
    return shown(sums[0], sums[1])  # type: ignore[arg-type]  # four numbers each


def pairs(images: Iterable[str]) -> list[tuple[list[str], list[str]]]:
    """Each half of the images with the other one."""
    halves = [image for i, image in enumerate(sorted(images)) if i % 2 == 0], sorted(images)[1::2]
    return [halves, halves[::-1]]


def chosen(
    boxes: tuple[Path, Path],
    truth: Mapping[str, frozenset[str]],
    human: Sequence[Caption],
    made: Sequence[Caption],
) -> tuple[str, dict[str, str]]:
    """As `crossed`, with the lower threshold chosen on the other half; its description and counts."""
    captions = {caption.image: caption for caption in made}
    first, second = (chosen_low(boxes, truth, captions, other) for _, other in pairs(truth))
    row = crossed(boxes, truth, human, made, (first, second))
    return f"recall and lower threshold measured on the other half, low {first:g} and {second:g}", row


def chosen_low(
    boxes: tuple[Path, Path], truth: Mapping[str, frozenset[str]], captions: Mapping[str, Caption], images: list[str]
) -> float:
    """The lower threshold that removes most lies from the captions of images, at a loss of at most `MOST_LOST`."""
    best, most = CHOICES[0], -1
    for low in CHOICES:
        lost = true = gone = 0
        for quarter, other in pairs(images):
            expert = detector(boxes, recalls(boxes, truth, other, low))
            of_quarter = [captions[image] for image in quarter]
            true += sum(len(caption.true) for caption in of_quarter)
            lost += sum(len(silent(expert, caption.image, caption.true, low)) for caption in of_quarter)
            gone += sum(len(silent(expert, caption.image, caption.false, low)) for caption in of_quarter)
        if lost <= MOST_LOST * true and gone > most:
            best, most = low, gone
    return best


def silent(expert: KnownBoxes, image: str, names: frozenset[str], low: float) -> set[str]:
    """The names that the expert does not find and whose recall is high enough for that to mean absence."""
    asked = sorted(names)
    found = {asked[box.phrase or 0] for box in expert.detect([image], [asked])[0] if box.score >= low}
    return {name for name in names - found if expert.recall.of(name) >= SPEAKS}


def recalls(
    boxes: tuple[Path, Path], truth: Mapping[str, frozenset[str]], images: Iterable[str], low: float
) -> dict[str, float]:
    """label -> share of the images with it in which its best box reaches the lower threshold."""
    expert = detector(boxes, None)
    seen: dict[str, list[bool]] = defaultdict(list)
    for image in images:
        names = sorted(truth[image])
        found = {names[box.phrase or 0] for box in expert.detect([image], [names])[0] if box.score >= low}
        for name in names:
            seen[name].append(name in found)
    measured = {name: sum(hits) / len(hits) for name, hits in seen.items() if len(hits) >= ENOUGH}
    return {"": expert.recall.default, **expert.recall.labels, **measured}


if __name__ == "__main__":
    main()
