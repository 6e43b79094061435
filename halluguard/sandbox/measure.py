"""Measure the sandbox models: captions (CHAIR), yes/no questions (POPE), the detector against the true boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from halluguard.boxes import iou
from halluguard.decoding import DecodingMethod
from halluguard.guard import Guard
from halluguard.metrics import chair, pope, stats
from halluguard.metrics.score import Score
from halluguard.records import DEFAULT_PROMPT, Box, Detector
from halluguard.sandbox import CATEGORIES, Sample
from halluguard.sandbox.world import PARTNERS

SPLITS: tuple[pope.Kind, ...] = ("random", "popular", "adversarial")

T = TypeVar("T")
Progress: TypeAlias = Callable[[int], None]
"""Called with the number of items done since the last call."""

Pair: TypeAlias = tuple[int, str]
"""An image id and a question."""


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of `size` items, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def truth(samples: Sequence[Sample]) -> dict[int, list[str]]:
    """image id -> names of what is there."""
    return {sample.image_id: list(sample.names) for sample in samples}


def captions(
    guard: Guard,
    samples: Sequence[Sample],
    *,
    decoding: DecodingMethod | None = None,
    prompt: str = DEFAULT_PROMPT,
    batch_size: int = 50,
    progress: Progress = lambda done: None,
) -> list[str]:
    """The model's caption of each image, greedy, before any correction."""
    texts: list[str] = []
    for batch in batches(samples, batch_size):
        texts += guard.drafts([sample.image for sample in batch], [prompt] * len(batch), decoding=decoding)
        progress(len(batch))
    return texts


def chair_of(texts: Sequence[str], samples: Sequence[Sample], *, seed: int = 0) -> Score:
    """CHAIR of one caption per sample, protocol "fixed" (the sandbox has no quirks to reproduce)."""
    pairs = [(sample.image_id, text) for sample, text in zip(samples, texts, strict=True)]
    return chair.score(pairs, truth(samples), protocol="fixed", seed=seed, ground_truth="sandbox")


def partner_share(score: Score, samples: Sequence[Sample]) -> float:
    """The share of hallucinated mentions that are partners of something in the image, in [0, 1]."""
    present = truth(samples)
    strays = [(image, category) for image, _, wrong in score.details["per_caption"] for _, category in wrong]
    return float(np.mean([any(name in PARTNERS[there] for there in present[image]) for image, name in strays]))


@dataclass(frozen=True)
class Exam:
    """POPE's three splits over the samples with three or more kinds of objects; equal questions are asked once."""

    samples: dict[int, Sample]
    questions: dict[str, list[pope.Question]]

    @classmethod
    def of(cls, samples: Sequence[Sample], seed: int = 0) -> Exam:
        """The exam about these samples."""
        objects = truth(samples)
        questions = {str(split): pope.build_questions(objects, split, seed=seed) for split in SPLITS}
        ids = {int(question.image) for split in SPLITS for question in questions[split]}
        return cls({sample.image_id: sample for sample in samples if sample.image_id in ids}, questions)

    @property
    def distinct(self) -> list[Pair]:
        """The pairs of all splits, each once, in a fixed order."""
        return list(dict.fromkeys((int(q.image), q.text) for split in SPLITS for q in self.questions[split]))

    def margins(
        self,
        guard: Guard,
        *,
        decoding: DecodingMethod | None = None,
        batch_size: int = 100,
        progress: Progress = lambda done: None,
    ) -> dict[Pair, float]:
        """logit(Yes) - logit(No) of every distinct question."""
        margins: list[float] = []
        for batch in batches(self.distinct, batch_size):
            images = [self.samples[image].image for image, _ in batch]
            margins += guard.margins(images, [text for _, text in batch], decoding=decoding)
            progress(len(batch))
        return dict(zip(self.distinct, margins, strict=True))

    def answers(self, margins: dict[Pair, float]) -> dict[Pair, str]:
        """The answers of greedy decoding: Yes where the margin is positive."""
        return {pair: "Yes." if margin > 0 else "No." for pair, margin in margins.items()}

    def score(
        self,
        split: str,
        answers: dict[Pair, str],
        margins: dict[Pair, float] | None = None,
        *,
        seed: int = 0,
    ) -> Score:
        """POPE of one split by the official parser; with margins, also the AUC."""
        keys = {q.question_id: (int(q.image), q.text) for q in self.questions[split]}
        return pope.score(
            self.questions[split],
            {question: answers[key] for question, key in keys.items()},
            logits=None if margins is None else {question: margins[key] for question, key in keys.items()},
            split=split,
            seed=seed,
        )


def detector_quality(
    detector: Detector, samples: Sequence[Sample], threshold: float, *, batch_size: int = 50, seed: int = 0
) -> dict[str, tuple[float, tuple[float, float]]]:
    """Presence recall and precision over all categories, and mean IoU of hits; each with its 95 % interval over images.

    A category is detected where its best box scores `threshold` or more. A hit is an object whose category is detected;
    its IoU is that of the best of the category's boxes over the threshold.
    """
    columns: dict[str, list[float]] = {name: [] for name in ("right", "detected", "present", "overlap", "hits")}
    for batch in batches(samples, batch_size):
        detections = detector.detect([sample.image for sample in batch], [list(CATEGORIES)] * len(batch))
        for sample, boxes in zip(batch, detections, strict=True):
            by_name: dict[str, list[Box]] = {}
            for box in boxes:
                if box.score >= threshold and box.phrase is not None:
                    by_name.setdefault(CATEGORIES[box.phrase], []).append(box)
            overlaps = [
                max(iou(box.xyxy, thing.box) for box in by_name[thing.name])
                for thing in sample.objects
                if thing.name in by_name
            ]
            columns["right"].append(len(set(by_name) & set(sample.names)))
            columns["detected"].append(len(by_name))
            columns["present"].append(len(sample.names))
            columns["overlap"].append(sum(overlaps))
            columns["hits"].append(len(overlaps))

    def values(totals: stats.Totals) -> dict[str, np.ndarray]:
        return {
            "presence recall": stats.ratio(totals["right"], totals["present"]),
            "presence precision": stats.ratio(totals["right"], totals["detected"]),
            "mean IoU of hits": stats.ratio(totals["overlap"], totals["hits"]),
        }

    point, spread = values(stats.totals(columns)), stats.bootstrap(columns, values, seed=seed)
    return {name: (float(point[name]), spread[name]) for name in point}
