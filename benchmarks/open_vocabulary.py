"""Fit and measure `metrics.open_vocabulary` on human labels of hallucinated words.

    python benchmarks/open_vocabulary.py evaluate --hat HAT.jsonl.gz --foil NOCAPS_FOIL.jsonl.gz --json OUT
    python benchmarks/open_vocabulary.py fit --hat HAT.jsonl.gz --foil NOCAPS_FOIL.jsonl.gz

HAT (human labels per word of model captions) and nocaps-FOIL (a noun of a human caption replaced by another) are
published with ALOHa, github:DavidMChan/aloha. `fit` writes the weights that come with the package. `evaluate` fits on
nine tenths of the images and scores the tenth, in turn, so that no image is scored by weights that saw it; intervals
are over images. A file that the shipped weights were not fitted on is scored by them with `--shipped`.

AP: average precision of the caption scores for "contains a hallucination". Localisation: share of captions with one
whose highest word is hallucinated. Flagged: share of clean captions at the threshold. "length" is the AP of the number
of words alone, and "unseen" that of the number of words that no reference has: what any method has to beat.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from halluguard.metrics import open_vocabulary
from halluguard.metrics.open_vocabulary import Weights, features

FOLDS = 10
CLEAN_FLAGGED = 0.15
"""Share of clean nocaps-FOIL captions that the threshold flags."""
HAT_WEIGHT = 3.0
"""A word of HAT counts as this many of nocaps-FOIL, which has ten times as many captions."""


@dataclass(frozen=True)
class Caption:
    """One labelled caption: the features of its words, and which of them are hallucinated."""

    source: str
    image: str
    text: str
    hallucinated: bool
    rows: list[dict[str, float]]
    wrong: list[bool]
    unseen: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["evaluate", "fit"], help="step to run")
    parser.add_argument("--hat", type=Path, required=True, help="file of HAT")
    parser.add_argument("--foil", type=Path, required=True, help="file of nocaps-FOIL")
    parser.add_argument("--shipped", action="store_true", help="evaluate the shipped weights")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals [0]")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    started = time.process_time()
    captions = [*read_hat(args.hat), *read_foil(args.foil)]
    seconds = time.process_time() - started
    print(f"{len(captions)} captions, {len(captions) / seconds:.0f} per CPU second with their references")
    if args.what == "fit":
        write(captions)
        return
    words = shipped(captions) if args.shipped else cross_validated(captions, args.seed)
    found = {source: measured(captions, words, source, args.seed) for source in ("hat", "foil")}
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_hat(path: Path) -> list[Caption]:
    captions = []
    for row in read_lines(path):
        spans, text = [], ""
        for word, wrong in row["grounding"]:
            spans.append((len(text), len(text) + len(word), wrong))
            text += word + " "
        captions.append(labelled("hat", row["image_path"], text.strip(), row["references"], spans))
    return captions


def read_foil(path: Path) -> list[Caption]:
    captions = []
    for row in read_lines(path):
        clean = set(row["baseline"].lower().replace(".", " ").split())
        for text, is_foil in ((row["baseline"], False), (row["foil"], True)):
            at, spans = 0, []
            for word in text.split():
                at = text.index(word, at)
                spans.append((at, at + len(word), is_foil and word.lower().strip(".,") not in clean))
                at += len(word)
            captions.append(labelled("foil", row["image_path"], text, row["references"], spans))
    return captions


def labelled(source: str, image: str, text: str, references: list[str], spans: list[tuple[int, int, bool]]) -> Caption:
    rows, wrong, at = [], [], 0
    seen = {word for reference in references for word in open_vocabulary.all_forms(reference)}
    unseen = 0
    for _, word, found in features(text, references):
        at = text.index(word, at)
        rows.append(found)
        wrong.append(any(bad for start, end, bad in spans if start <= at < end))
        unseen += word.lower() not in seen
        at += len(word)
    return Caption(source, image, text, any(bad for _, _, bad in spans), rows, wrong, unseen)


def fit(captions: list[Caption]) -> Weights:
    """Logistic regression over words, and the threshold that flags `CLEAN_FLAGGED` of the clean captions."""
    vectors = DictVectorizer(sparse=False)
    table = vectors.fit_transform([row for caption in captions for row in caption.rows])
    truth = [wrong for caption in captions for wrong in caption.wrong]
    weight = [HAT_WEIGHT if caption.source == "hat" else 1.0 for caption in captions for _ in caption.rows]
    model = LogisticRegression(C=0.3, max_iter=2000).fit(table, truth, weight)
    names = vectors.get_feature_names_out().tolist()
    weights = {name: round(float(value), 4) for name, value in zip(names, model.coef_[0], strict=True)}
    drawn = Weights(weights, round(float(model.intercept_[0]), 4), 0.5)
    clean = [caption_score(drawn, c) for c in captions if c.source == "foil" and not c.hallucinated]
    threshold = float(np.quantile(clean, 1 - CLEAN_FLAGGED))
    return Weights(drawn.weights, drawn.intercept, round(threshold, 4))


def word_scores(weights: Weights, caption: Caption) -> list[float]:
    return [weights.probability(row) for row in caption.rows]


def caption_score(weights: Weights, caption: Caption) -> float:
    return max(word_scores(weights, caption), default=0.0)


def shipped(captions: list[Caption]) -> list[tuple[list[float], bool]]:
    """Word scores of every caption, and whether it is flagged, by the weights of the package."""
    return scored(open_vocabulary.fitted(), captions)


def scored(weights: Weights, captions: list[Caption]) -> list[tuple[list[float], bool]]:
    every = [word_scores(weights, caption) for caption in captions]
    return [(words, max(words, default=0.0) >= weights.threshold) for words in every]


def cross_validated(captions: list[Caption], seed: int) -> list[tuple[list[float], bool]]:
    """The same by weights that were fitted on other images."""
    images = sorted({caption.image for caption in captions})
    folds = dict(zip(images, np.random.default_rng(seed).integers(0, FOLDS, len(images)).tolist(), strict=True))
    found: dict[int, tuple[list[float], bool]] = {}
    for fold in range(FOLDS):
        weights = fit([caption for caption in captions if folds[caption.image] != fold])
        left = [i for i, caption in enumerate(captions) if folds[caption.image] == fold]
        found.update(zip(left, scored(weights, [captions[i] for i in left]), strict=True))
    return [found[i] for i in range(len(captions))]


def measured(captions: list[Caption], words: list[tuple[list[float], bool]], source: str, seed: int) -> dict[str, Any]:
    rows = [(caption, *scores) for caption, scores in zip(captions, words, strict=True) if caption.source == source]
    images = np.unique([caption.image for caption, _, _ in rows], return_inverse=True)[1]
    truth = np.array([caption.hallucinated for caption, _, _ in rows])
    best = np.array([max(scores, default=0.0) for _, scores, _ in rows])
    hits = np.array([bool(scores) and caption.wrong[int(np.argmax(scores))] for caption, scores, _ in rows])
    flagged = np.array([flag for _, _, flag in rows])
    length = np.array([len(caption.rows) for caption, _, _ in rows], dtype=float)
    unseen = np.array([caption.unseen for caption, _, _ in rows], dtype=float)

    def shown(value: Any) -> list[float]:
        rng, drawn = np.random.default_rng(seed), []
        for _ in range(500):
            counts = np.bincount(rng.integers(0, images.max() + 1, images.max() + 1), minlength=images.max() + 1)
            drawn.append(value(counts[images].astype(float)))
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return [round(100 * float(x), 1) for x in (value(np.ones(len(rows))), low, high)]

    def share(of: np.ndarray, among: np.ndarray) -> Any:
        return lambda weight: float((weight * of * among).sum() / max(1.0, (weight * among).sum()))

    def precision(ranked: np.ndarray) -> Any:
        return lambda weight: float(average_precision_score(truth, ranked, sample_weight=weight))

    return {
        "captions": len(rows),
        "with a hallucination": int(truth.sum()),
        "AP": shown(precision(best)),
        "AP of length": shown(precision(length)),
        "AP of unseen words": shown(precision(unseen)),
        "localisation": shown(share(hits, truth)),
        "clean flagged": shown(share(flagged, ~truth)),
        "hallucinated flagged": shown(share(flagged, truth)),
    }


def write(captions: list[Caption]) -> None:
    found = fit(captions)
    path = Path(str(open_vocabulary.__file__)).with_suffix(".json")
    record = {
        "fitted on": {source: sum(c.source == source for c in captions) for source in ("hat", "foil")},
        "command": "python benchmarks/open_vocabulary.py fit",
        "threshold": found.threshold,
        "intercept": found.intercept,
        "weights": dict(sorted(found.weights.items())),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
