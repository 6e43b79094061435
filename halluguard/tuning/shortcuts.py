"""Measure whether rows can be solved without the image: classifiers of words or lengths should be at chance.

    question   from the prompt: is the chosen answer affirmative?          only for rows with a polarity
    answer     from two answers: which is the chosen one?                  only for preference rows

A classifier is fitted on rows of some images and tested on rows built separately from other images. Cross-validation
inside one balanced set would mislead: where every name has as many yes as no, the part left out of a fold tips the rest
to the other side, and accuracy falls below chance by construction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from halluguard.errors import InputError
from halluguard.metrics.stats import wilson
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.rows import InstructionRow, PreferenceRow
from halluguard.tuning.splits import EvaluationImages, image_key

Rows = Sequence[InstructionRow | PreferenceRow]


@dataclass(frozen=True)
class Accuracy:
    """Share of `n` that is right, in [0, 1]; ties count half."""

    value: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval. Rows of one image are not independent, so it is somewhat too narrow."""
        return wilson(self.value * self.n, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {self.n}"


@dataclass(frozen=True)
class ShortcutReport:
    """Accuracy of predictions without the image. A value is None where the rows have no such task.

    Args:
        rows: number of rows in the training and the test part.
        question_words, question_length: accuracy of the polarity from the words, or the length, of the prompt.
        answer_words, answer_length: accuracy of the choice from the words, or the lengths, of the two answers.
        yes_share: share of yes among rows with a polarity.
        words_chosen, words_rejected: mean lengths in words.
        imbalance: largest difference, over names, between rows with the name present and rows with it absent.
        leaked: rows that show an image of an evaluation.
        present_denied: rows that call a name absent although the image may hold it; None without annotations.
        split_images: images that occur in both parts.
    """

    rows: tuple[int, int]
    question_words: Accuracy | None
    question_length: Accuracy | None
    answer_words: Accuracy | None
    answer_length: Accuracy | None
    yes_share: float | None
    words_chosen: float
    words_rejected: float | None
    imbalance: int
    leaked: int
    present_denied: int | None
    split_images: int

    def failures(self, question: tuple[float, float] = (0.45, 0.55), answer: float = 0.60) -> list[str]:
        """Sentences about values outside the limits; empty when there are none."""
        sentences = []
        for name in ("question_words", "question_length"):
            accuracy = getattr(self, name)
            if accuracy is not None and not question[0] <= accuracy.value <= question[1]:
                sentences.append(f"{name} {accuracy} is not in {question}")
        for name in ("answer_words", "answer_length"):
            accuracy = getattr(self, name)
            if accuracy is not None and accuracy.value > answer:
                sentences.append(f"{name} {accuracy} is above {answer}")
        for name in ("imbalance", "leaked", "present_denied", "split_images"):
            if getattr(self, name):
                sentences.append(f"{name} is {getattr(self, name)}, not 0")
        return sentences


def shortcut_report(
    train: Rows,
    test: Rows,
    *,
    guard: EvaluationImages | None = None,
    items: Mapping[int | str, Annotated] | None = None,
    seed: int = 0,
) -> ShortcutReport:
    """Fit classifiers on `train` and test them on `test`: rows of one builder, built separately from different images.

    Args:
        train, test: the rows to fit on and to test on.
        guard: images of evaluations; by default those known by file name.
        items: image id -> annotations of all images, for `present_denied`.
        seed: seed of the classifiers.

    Raises:
        InputError: either part is empty.
    """
    if not train or not test:
        raise InputError(f"expected rows to fit on and rows to test on, got {len(train)} and {len(test)}; build more")
    guard = EvaluationImages() if guard is None else guard
    every = [*train, *test]
    train_pairs = [row for row in train if isinstance(row, PreferenceRow)]
    test_pairs = [row for row in test if isinstance(row, PreferenceRow)]
    pairs = len(train_pairs) + len(test_pairs) == len(every)
    polarities = [polarity(row) for row in every]
    balance: Counter[str] = Counter()
    for row in every:
        if row.truth is not None and row.kind != "retention":
            balance.update(row.truth.present)
            balance.subtract(row.truth.absent)
    one_sided = any(row.truth and row.truth.absent for row in every)
    known = {p for p in polarities if p is not None}
    return ShortcutReport(
        rows=(len(train), len(test)),
        question_words=_question(train, test, _words, seed) if len(known) == 2 else None,
        question_length=_question(train, test, _length, seed) if len(known) == 2 else None,
        answer_words=_answer(train_pairs, test_pairs, _words, seed) if pairs else None,
        answer_length=_answer(train_pairs, test_pairs, _length, seed) if pairs else None,
        yes_share=polarities.count(True) / (len(polarities) - polarities.count(None)) if known else None,
        words_chosen=_mean([len(_chosen(row).split()) for row in every]),
        words_rejected=_mean([len(row.rejected.split()) for row in (*train_pairs, *test_pairs)]) if pairs else None,
        imbalance=max(map(abs, balance.values()), default=0) if one_sided else 0,
        leaked=sum(map(guard.leaks, every)),
        present_denied=None if items is None else [_denies_present(row, items) for row in every].count(True),
        split_images=len({image_key(row.image_id) for row in train} & {image_key(row.image_id) for row in test}),
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def polarity(row: InstructionRow | PreferenceRow) -> bool | None:
    """Whether the chosen answer affirms, by its first word (yes or no), else by a truth that is one-sided.

    A truth is one-sided if it holds only present or only absent names. None where neither decides.
    """
    first = _chosen(row).split(maxsplit=1)[0].strip(".,:;!").lower()
    if first in ("yes", "no") and _chosen(row).strip(".").lower() != "no one":
        return first == "yes"
    if row.truth is None or bool(row.truth.present) == bool(row.truth.absent):
        return None
    return bool(row.truth.present)


def _chosen(row: InstructionRow | PreferenceRow) -> str:
    return row.chosen if isinstance(row, PreferenceRow) else row.completion


def _denies_present(row: InstructionRow | PreferenceRow, items: Mapping[int | str, Annotated]) -> bool:
    """Whether the row calls an object absent that may be there; an erased object is gone, though annotated."""
    if row.truth is None or row.kind.startswith("erased"):
        return False
    return any(not items[row.image_id].lacks(name) for name in row.truth.absent)


Features = Callable[[], CountVectorizer | FunctionTransformer]


def _words() -> CountVectorizer:
    return CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", binary=True)


def _length() -> FunctionTransformer:
    return FunctionTransformer(lambda texts: np.array([[len(text.split()) / 10, len(text) / 50] for text in texts]))


def _question(train: Rows, test: Rows, features: Features, seed: int) -> Accuracy:
    def examples(rows: Rows) -> tuple[list[str], list[bool]]:
        known = [(row.prompt, answer) for row in rows if (answer := polarity(row)) is not None]
        return [prompt for prompt, _ in known], [answer for _, answer in known]

    score = _fitted(*examples(train), features, seed)
    texts, labels = examples(test)
    right = [0.5 if s == 0 else float((s > 0) == label) for s, label in zip(score(texts), labels, strict=True)]
    return Accuracy(sum(right) / len(right), len(right))


def _answer(train: Sequence[PreferenceRow], test: Sequence[PreferenceRow], features: Features, seed: int) -> Accuracy:
    texts = [text for row in train for text in (row.chosen, row.rejected)]
    score = _fitted(texts, [True, False] * len(train), features, seed)
    chosen, rejected = score([row.chosen for row in test]), score([row.rejected for row in test])
    right = [0.5 if abs(a - b) < 1e-9 else float(a > b) for a, b in zip(chosen, rejected, strict=True)]
    return Accuracy(sum(right) / len(right), len(right))


def _fitted(
    texts: list[str], labels: list[bool], features: Features, seed: int
) -> Callable[[list[str]], Sequence[float]]:
    model = make_pipeline(features(), LogisticRegression(max_iter=2000, random_state=seed)).fit(texts, labels)
    return model.decision_function
