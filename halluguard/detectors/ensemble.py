"""Several experts as one, combined in a stated way.

Of the experts that cover a phrase, each gives a box its score, 0 where it found nothing there:

    any        the largest          one expert's word is enough
    all        the smallest         every expert must see it
    mean       sum of w_i s_i / sum of w_i, with equal weights w_i
    weighted   the same with the weights given

An expert that fails makes the whole answer an error: a silent expert must not count as one that saw nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from halluguard.boxes import iou
from halluguard.errors import ExpertError, HalluguardError, SettingsError
from halluguard.records import Box, Detector, PropertyExpert, Question

Combination = Literal["any", "all", "mean", "weighted"]


class Ensemble:
    """Detectors as one detector.

    Args:
        experts: at least one. Experts that look at pictures and experts that are asked by key cannot be mixed.
        combination: see above.
        weights: one per expert, for "weighted"; positive.
        iou: boxes of one phrase from different experts that overlap by at least this are one thing, in [0, 1].
        thresholds: (high, low); default the mean of the experts' own.
    """

    def __init__(
        self,
        experts: Sequence[Detector],
        combination: Combination = "mean",
        *,
        weights: Sequence[float] | None = None,
        iou: float = 0.5,
        thresholds: tuple[float, float] | None = None,
    ) -> None:
        self.experts = tuple(experts)
        self.weights = _weights(self.experts, combination, weights)
        if not 0.0 <= iou <= 1.0:
            raise SettingsError(f"iou must be in [0, 1], got {iou}")
        if len({expert.needs_image for expert in self.experts}) > 1:
            raise SettingsError("experts that look at pictures and experts asked by key cannot be mixed")
        self.combination, self.iou = combination, iou
        self.needs_image = self.experts[0].needs_image
        self.name = _signed(self.experts, combination, weights)
        own = [getattr(expert, "thresholds", (0.35, 0.2)) for expert in self.experts]
        mean = tuple(sum(pair[i] for pair in own) / len(own) for i in (0, 1))
        self.thresholds = tuple(thresholds or mean)

    def covers(self, phrase: str) -> bool:
        """Whether any expert covers the phrase."""
        return any(expert.covers(phrase) for expert in self.experts)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Each expert is asked for what it covers, once.

        Raises:
            ExpertError: any expert failed, or none covers a phrase.
        """
        answers: list[list[list[tuple[int, Box]]]] = [[[] for _ in row] for row in phrases]
        asked: list[list[list[int]]] = [[[] for _ in row] for row in phrases]
        for k, expert in enumerate(self.experts):
            mine = [[i for i, phrase in enumerate(row) if expert.covers(phrase)] for row in phrases]
            rows = [b for b, row in enumerate(mine) if row]
            if not rows:
                continue
            wanted = [[phrases[b][i] for i in mine[b]] for b in rows]
            for b, boxes in zip(rows, _ask(expert, [images[b] for b in rows], wanted), strict=True):
                for i in mine[b]:
                    asked[b][i].append(k)
                for box in boxes:
                    answers[b][mine[b][_index(box, len(mine[b]), expert.name)]].append((k, box))
        uncovered = [phrases[b][i] for b, row in enumerate(asked) for i, experts in enumerate(row) if not experts]
        if uncovered:
            raise ExpertError(f"none of {self.name} covers {uncovered[0]!r}; ask covers() first")
        return [
            [box for i, found in enumerate(row) for box in self._joined(found, asked[b][i], i)]
            for b, row in enumerate(answers)
        ]

    def _joined(self, found: list[tuple[int, Box]], asked: list[int], phrase: int) -> list[Box]:
        """Boxes of one phrase: those that mean one thing become one, best first."""
        joined = []
        left = sorted(found, key=lambda item: -item[1].score)
        while left:
            _, best = left[0]
            group: dict[int, Box] = {}
            rest = []
            for k, box in left:
                same = k not in group and _same_thing(box, best, self.iou)
                if same:
                    group[k] = box
                else:
                    rest.append((k, box))
            left = rest
            scores = {k: group[k].score if k in group else 0.0 for k in asked}
            score = self._combined(scores)
            if score > 0:
                joined.append(replace(best, score=score, phrase=phrase))
        return sorted(joined, key=lambda box: -box.score)

    def _combined(self, scores: dict[int, float]) -> float:
        return _combine(scores, self.combination, self.weights)


class PropertyEnsemble:
    """Experts on attributes and relations as one; arguments and combinations as in `Ensemble`.

    An expert that could not tell is left out; the answer is None when none could. "first" takes the answer of the first
    expert that covers the question and could tell: the cheap and sure ones in front, a model behind them.
    """

    def __init__(
        self,
        experts: Sequence[PropertyExpert],
        combination: Combination | Literal["first"] = "first",
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.experts = tuple(experts)
        first = combination == "first"
        self.weights = _weights(self.experts, "any" if combination == "first" else combination, weights)
        self.combination, self.first = combination, first
        self.needs_image = any(expert.needs_image for expert in self.experts)
        self.name = _signed(self.experts, combination, weights)

    def covers(self, question: Question) -> bool:
        """Whether any expert covers the question."""
        return any(expert.covers(question) for expert in self.experts)

    def judge(self, images: Sequence[Any], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """As `PropertyExpert.judge`; one expert's failure is the ensemble's."""
        scores: list[list[dict[int, float]]] = [[{} for _ in row] for row in questions]
        for k, expert in enumerate(self.experts):
            mine = [
                [i for i, question in enumerate(row) if expert.covers(question) and not (self.first and scores[b][i])]
                for b, row in enumerate(questions)
            ]
            rows = [b for b, row in enumerate(mine) if row]
            if not rows:
                continue
            wanted = [[questions[b][i] for i in mine[b]] for b in rows]
            try:
                answers = expert.judge([images[b] for b in rows], wanted)
            except HalluguardError:
                raise
            except Exception as error:
                raise ExpertError(f"{expert.name} failed: {type(error).__name__}: {error}") from error
            for b, row in zip(rows, answers, strict=True):
                for i, score in zip(mine[b], row, strict=True):
                    if score is not None:
                        scores[b][i][k] = score
        how: Combination = "any" if self.combination == "first" else self.combination
        return [[_combine(of, how, self.weights) if of else None for of in row] for row in scores]


def _combine(scores: dict[int, float], combination: Combination, weights: Sequence[float]) -> float:
    if combination == "any":
        return max(scores.values())
    if combination == "all":
        return min(scores.values())
    total = sum(weights[k] for k in scores)
    return min(1.0, sum(weights[k] * score for k, score in scores.items()) / total)


def _weights(experts: Sequence[Any], combination: str, weights: Sequence[float] | None) -> tuple[float, ...]:
    if not experts:
        raise SettingsError("an ensemble needs at least one expert, got none")
    if combination not in get_args(Combination):
        raise SettingsError(f"combination must be one of {get_args(Combination)}, got {combination!r}")
    if (weights is None) == (combination == "weighted"):
        raise SettingsError("weights are needed for 'weighted' and for no other combination; one per expert")
    found = tuple(float(w) for w in weights or [1.0] * len(experts))
    if len(found) != len(experts) or not all(0 < w < float("inf") for w in found):
        raise SettingsError(f"expected {len(experts)} positive weights, got {list(found)}; give one per expert")
    return found


def _signed(experts: Sequence[Any], combination: str, weights: Sequence[float] | None) -> str:
    how = combination if weights is None else f"{combination} {':'.join(f'{w:g}' for w in weights)}"
    return f"{how}({', '.join(expert.name for expert in experts)})"


def _ask(expert: Detector, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
    try:
        found = expert.detect(images, phrases)
    except HalluguardError:
        raise
    except Exception as error:  # foreign code: whatever it raises is its failure
        raise ExpertError(f"{expert.name} failed: {type(error).__name__}: {error}") from error
    if len(found) != len(images):
        raise ExpertError(f"{expert.name} must return one list per image, got {len(found)} for {len(images)}")
    return found


def _index(box: Box, phrases: int, expert: str) -> int:
    if box.phrase is None or not 0 <= box.phrase < phrases:
        raise ExpertError(f"{expert} must point each box to one of {phrases} phrases, got {box.phrase}")
    return box.phrase


def _same_thing(a: Box, b: Box, min_iou: float) -> bool:
    """Whether two boxes of one phrase mean one thing; a tag without geometry goes with any box."""
    return a.xyxy is None or b.xyxy is None or a.xyxy == b.xyxy or iou(a.xyxy, b.xyxy) >= min_iou
