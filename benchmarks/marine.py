"""Correct and complete LLaVA's published answers with the published detections of MARINE.

    python benchmarks/marine.py FOLDER --json OUT

FOLDER holds, gzipped, JSON Lines: images.jsonl.gz with {"image", "detr": names, "ram": tags, "truth": names}, and with
"image" in each line captions_plain, captions_marine (caption) and pope_plain, pope_marine (question, label, answer).
DETR's objects scored above .95 and RAM++'s tags above .68 (Zhao et al. 2024, arXiv 2402.08680). They are lists that do
not name everything: with one list, what it leaves out is unsure; with both, what both leave out is contradicted.

Captions are completed with DETR's objects in three ways: all of them; without labels that detectors often mistake
unless RAM++ agrees; and only those on which RAM++ agrees. RAM++ has a stated precision of .68 where DETR is silent, so
its word alone adds nothing. Intervals are over images.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from halluguard import io
from halluguard.correction import correct_many
from halluguard.detectors import Ensemble, KnownObjects
from halluguard.metrics import chair
from halluguard.metrics.stats import wilson
from halluguard.records import Detector
from halluguard.vocabulary import COCO, OFTEN_MISSED

Row = Mapping[str, Any]
RAM_PRECISION = 0.68
DOUBTFUL = 0.85
"""Precision stated for labels that detectors often miss and mistake: below `reliability.TRUSTED` for one expert."""
ALONE = 0.85
"""Precision stated of DETR for every label where its objects are to be confirmed: one expert is not enough then."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the published files")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    images = list(rows(args.folder / "images.jsonl.gz"))
    result = {"captions": captions(args.folder, images), "pope": pope(args.folder, images)}
    for name, table in result.items():
        print(f"\n{name} ({len(images)} images)")
        for setup, values in table.items():
            print(f"| {setup} | " + " | ".join(f"{key} {value}" for key, value in values.items()) + " |")
    if args.json:
        io.write_text(args.json, json.dumps(result, indent=1) + "\n")


def rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def detr(images: Sequence[Row], precision: float | Mapping[str, float] = 1.0) -> KnownObjects:
    objects = {row["image"]: row["detr"] for row in images}
    return KnownObjects(objects, exhaustive=False, precision=precision, name="DETR")


def ram(images: Sequence[Row]) -> KnownObjects:
    tags = {row["image"]: row["ram"] for row in images}
    vocabulary = {*COCO, *(tag for row in images for tag in row["ram"])}
    return KnownObjects(tags, vocabulary=vocabulary, exhaustive=False, precision=RAM_PRECISION, name="RAM++")


def captions(folder: Path, images: Sequence[Row]) -> dict[str, dict[str, str]]:
    """CHAIR of the published captions, corrected, and corrected and completed."""
    truth = {row["image"]: row["truth"] for row in images}
    plain = list(rows(folder / "captions_plain.jsonl.gz"))
    careful: dict[str, float] = {"": 1.0, **dict.fromkeys(OFTEN_MISSED, DOUBTFUL)}
    both = Ensemble([detr(images), ram(images)], "any")
    setups: dict[str, tuple[Detector, bool]] = {
        "DETR, corrected": (detr(images), False),
        "DETR, completed": (detr(images), True),
        "both, corrected": (both, False),
        "both, completed": (both, True),
        "both, completed, often mistaken labels confirmed": (
            Ensemble([detr(images, careful), ram(images)], "any"),
            True,
        ),
        "both, completed, all confirmed": (Ensemble([detr(images, ALONE), ram(images)], "any"), True),
    }
    table = {
        "plain": measured(plain, [row["caption"] for row in plain], truth),
        "MARINE": measured(*_published(folder / "captions_marine.jsonl.gz"), truth),
    }
    for name, (detector, complete) in setups.items():
        answers = list(
            correct_many(
                [row["caption"] for row in plain],
                [row["image"] for row in plain],
                detector,
                complete=COCO if complete else False,
                style="drop",
            )
        )
        table[name] = measured(plain, [answer.text for answer in answers], truth)
    return table


def _published(path: Path) -> tuple[list[Row], list[str]]:
    published = list(rows(path))
    return published, [row["caption"] for row in published]


def measured(captioned: Sequence[Row], texts: Sequence[str], truth: Mapping[str, list[str]]) -> dict[str, str]:
    pairs = [(row["image"], text) for row, text in zip(captioned, texts, strict=True)]
    score = chair.score(pairs, truth, protocol="fixed", keep_captions=False)
    words = sum(len(text.split()) for text in texts) / len(texts)
    return {name: percent(score[name], *score.intervals[name]) for name in ("CHAIRi", "CHAIRs", "recall")} | {
        "words": f"{words:.1f}"
    }


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def pope(folder: Path, images: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Accuracy and recall of the published yes/no answers, and after correction."""
    plain, guided = (list(rows(folder / f"pope_{name}.jsonl.gz")) for name in ("plain", "marine"))
    both = Ensemble([detr(images), ram(images)], "any")
    table = {"plain": answered(plain, [row["answer"] for row in plain])}
    table["MARINE"] = answered(guided, [row["answer"] for row in guided])
    for name, detector in (("DETR, corrected", detr(images)), ("both, corrected", both)):
        for published, of in ((plain, ""), (guided, " MARINE")):
            answers = correct_many(
                [row["answer"] for row in published],
                [row["image"] for row in published],
                detector,
                [row["question"] for row in published],
            )
            table[name + of] = answered(published, [answer.text for answer in answers])
    return table


def answered(questions: Sequence[Row], answers: Sequence[str]) -> dict[str, str]:
    said = [answer.lower().startswith("yes") for answer in answers]
    labels = [row["label"] == "yes" for row in questions]
    right = sum(a == b for a, b in zip(said, labels, strict=True))
    hits = sum(a and b for a, b in zip(said, labels, strict=True))
    return {
        "accuracy": percent(right / len(labels), *wilson(right, len(labels))),
        "recall": percent(hits / sum(labels), *wilson(hits, sum(labels))),
        "yes": f"{100 * sum(said) / len(said):.1f}",
    }


if __name__ == "__main__":
    main()
