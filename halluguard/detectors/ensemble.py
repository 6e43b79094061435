"""Combine several detectors, or several property experts, into one.

Each expert that covers a phrase gives a box a score, or 0 where it found nothing. The scores are joined by a rule:

    any        the largest score        one expert is enough
    all        the smallest score       every expert must find it
    votes      the median, rounded down  more than half must find it
    mean       sum of w_i s_i / sum of w_i, with equal weights w_i
    weighted   the same with the weights given

With "any", "all" and "votes" correction judges each expert apart, at its own thresholds, and counts their verdicts; the
silence of one is weighed by its recall (`correction/verification/voting.py`). With "mean" and "weighted" it judges the
joined scores.

An expert that fails makes the whole answer an error: a failed expert must not count as one that found nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from halluguard.boxes import iou
from halluguard.detectors.failures import expert_errors
from halluguard.errors import ExpertError, SettingsError
from halluguard.records import Box, Detector, ImageOrKey, PropertyExpert, Question
from halluguard.reliability import Rates, joint_recall, recall_of

Combination = Literal["any", "all", "votes", "mean", "weighted"]


class Ensemble:
    """Several detectors as one.

    Args:
        experts: at least one detector. Detectors that need images and detectors that need keys cannot be mixed.
        combination: "any", "all", "votes", "mean" or "weighted", as above.
        weights: one positive weight per detector, for "weighted".
        iou: boxes of one phrase from different detectors that overlap by at least this (IoU) are one object; in [0, 1].
        thresholds: (high, low) of the joined scores, which are then judged as one; default the mean of the detectors'
            own.
        mixed: allow detectors that need images beside detectors that need keys. The caller then calls each of them
            separately, as an audit does with "any", "all" and "votes".
    """

    def __init__(
        self,
        experts: Sequence[Detector],
        combination: Combination = "mean",
        *,
        weights: Sequence[float] | None = None,
        iou: float = 0.5,
        thresholds: tuple[float, float] | None = None,
        mixed: bool = False,
    ) -> None:
        self.experts = tuple(experts)
        self.weights = _weights(len(self.experts), combination, weights)
        if not 0.0 <= iou <= 1.0:
            raise SettingsError(f"iou must be in [0, 1], got {iou}; 0.5 is usual")
        if len({expert.needs_image for expert in self.experts}) > 1 and not mixed:
            raise SettingsError(
                "expected detectors that all need images or all need keys, got both; make two ensembles"
            )
        self.combination, self.iou = combination, iou
        self.agree = combination if combination in ("any", "all", "votes") and thresholds is None else None
        self.needs_image = any(expert.needs_image for expert in self.experts)
        self.name = _signature(self.experts, combination, weights)
        own = [getattr(expert, "thresholds", (0.35, 0.2)) for expert in self.experts]
        mean = tuple(sum(pair[i] for pair in own) / len(own) for i in (0, 1))
        self.thresholds = tuple(thresholds or mean)
        self.recall = _recall(self.experts, combination)

    def covers(self, phrase: str) -> bool:
        """Whether any detector covers the phrase."""
        return any(expert.covers(phrase) for expert in self.experts)

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases; each detector runs once, on the phrases that it covers.

        Raises:
            ExpertError: a detector failed, or none covers a phrase.
        """
        boxes: list[list[list[tuple[int, Box]]]] = [[[] for _ in row] for row in phrases]
        experts_of: list[list[list[int]]] = [[[] for _ in row] for row in phrases]
        for k, expert in enumerate(self.experts):
            covered = [[i for i, phrase in enumerate(row) if expert.covers(phrase)] for row in phrases]
            rows = [b for b, row in enumerate(covered) if row]
            if not rows:
                continue
            queries = [[phrases[b][i] for i in covered[b]] for b in rows]
            for b, detected in zip(rows, _detect(expert, [images[b] for b in rows], queries), strict=True):
                for i in covered[b]:
                    experts_of[b][i].append(k)
                for box in detected:
                    boxes[b][covered[b][_index(box, len(covered[b]), expert.name)]].append((k, box))
        uncovered = [phrases[b][i] for b, row in enumerate(experts_of) for i, experts in enumerate(row) if not experts]
        if uncovered:
            raise ExpertError(f"none of {self.name} covers {uncovered[0]!r}; ask covers() first")
        return [
            [box for i, detected in enumerate(row) for box in self._joined(detected, experts_of[b][i], i)]
            for b, row in enumerate(boxes)
        ]

    def _joined(self, detected: list[tuple[int, Box]], experts: list[int], phrase: int) -> list[Box]:
        """Boxes of one phrase, best first; those of one object, at most one per detector, become one box."""
        joined = []
        remaining = sorted(detected, key=lambda item: -item[1].score)
        while remaining:
            best = remaining[0][1]
            group: dict[int, Box] = {}
            others = []
            for k, box in remaining:
                if k not in group and _same_object(box, best, self.iou):
                    group[k] = box
                else:
                    others.append((k, box))
            remaining = others
            score = _combine(
                {k: group[k].score if k in group else 0.0 for k in experts}, self.combination, self.weights
            )
            if score > 0:
                joined.append(replace(best, score=score, phrase=phrase))
        return sorted(joined, key=lambda box: -box.score)


class PropertyEnsemble:
    """Several experts on attributes and relations as one.

    An expert that could not tell is left out; the answer is None when none could tell. "first" takes the answer of the
    first expert that covers the question and could tell: put cheap and reliable experts before a model.

    Args:
        experts: at least one expert.
        combination: "first", or a combination of `Ensemble`.
        weights: one positive weight per expert, for "weighted".
    """

    def __init__(
        self,
        experts: Sequence[PropertyExpert],
        combination: Combination | Literal["first"] = "first",
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.experts = tuple(experts)
        self.combination, self.first = combination, combination == "first"
        self._combination: Combination = "any" if combination == "first" else combination
        self.weights = _weights(len(self.experts), self._combination, weights)
        self.needs_image = any(expert.needs_image for expert in self.experts)
        self.name = _signature(self.experts, combination, weights)

    def covers(self, question: Question) -> bool:
        """Whether any expert covers the question."""
        return any(expert.covers(question) for expert in self.experts)

    def judge(self, images: Sequence[ImageOrKey], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """As `PropertyExpert.judge`; a failure of one expert is a failure of the ensemble."""
        scores: list[list[dict[int, float]]] = [[{} for _ in row] for row in questions]
        for k, expert in enumerate(self.experts):
            open_questions = [
                [i for i, question in enumerate(row) if expert.covers(question) and not (self.first and scores[b][i])]
                for b, row in enumerate(questions)
            ]
            rows = [b for b, row in enumerate(open_questions) if row]
            if not rows:
                continue
            queries = [[questions[b][i] for i in open_questions[b]] for b in rows]
            with expert_errors(expert.name):
                answers = expert.judge([images[b] for b in rows], queries)
            for b, row in zip(rows, answers, strict=True):
                for i, score in zip(open_questions[b], row, strict=True):
                    if score is not None:
                        scores[b][i][k] = score
        return [[_combine(of, self._combination, self.weights) if of else None for of in row] for row in scores]


def _combine(scores: dict[int, float], combination: Combination, weights: Sequence[float]) -> float:
    if combination == "any":
        return max(scores.values())
    if combination == "all":
        return min(scores.values())
    if combination == "votes":
        return sorted(scores.values())[(len(scores) - 1) // 2]
    total = sum(weights[k] for k in scores)
    return min(1.0, sum(weights[k] * score for k, score in scores.items()) / total)


def _recall(experts: Sequence[Detector], combination: Combination) -> Rates:
    """The recall of the joined scores: that of all experts together where one is enough, else the lowest."""
    rates = [recall_of(expert) for expert in experts]
    join = joint_recall if combination == "any" else min
    labels = {label for one in rates for label in one.labels}
    return Rates(
        join([one.default for one in rates]),
        {label: join([one.of(label) for one in rates]) for label in sorted(labels)},
    )


def _weights(experts: int, combination: Combination, weights: Sequence[float] | None) -> tuple[float, ...]:
    if not experts:
        raise SettingsError("expected at least one expert in an ensemble, got none; give a list of experts")
    if combination not in get_args(Combination):
        raise SettingsError(f"combination must be one of {get_args(Combination)}, got {combination!r}; choose one")
    if (weights is None) == (combination == "weighted"):
        raise SettingsError("weights are needed for 'weighted' and for no other combination; give one per expert")
    floats = tuple(float(w) for w in weights or [1.0] * experts)
    if len(floats) != experts or not all(0 < w < float("inf") for w in floats):
        raise SettingsError(f"expected {experts} positive weights, got {list(floats)}; give one per expert")
    return floats


def _signature(
    experts: Sequence[Detector] | Sequence[PropertyExpert], combination: str, weights: Sequence[float] | None
) -> str:
    weighting = combination if weights is None else f"{combination} {':'.join(f'{w:g}' for w in weights)}"
    return f"{weighting}({', '.join(expert.name for expert in experts)})"


def _detect(expert: Detector, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
    with expert_errors(expert.name):
        boxes = expert.detect(images, phrases)
    if len(boxes) != len(images):
        raise ExpertError(
            f"{expert.name} must return one list per image, got {len(boxes)} for {len(images)}; correct its detect()"
        )
    return boxes


def _index(box: Box, phrases: int, expert: str) -> int:
    if box.phrase is None or not 0 <= box.phrase < phrases:
        raise ExpertError(
            f"{expert} must point each box to one of {phrases} phrases, got {box.phrase}; correct its detect()"
        )
    return box.phrase


def _same_object(a: Box, b: Box, min_iou: float) -> bool:
    """Whether two boxes of one phrase mean one object; a tag without geometry matches any box."""
    return a.xyxy is None or b.xyxy is None or a.xyxy == b.xyxy or iou(a.xyxy, b.xyxy) >= min_iou
