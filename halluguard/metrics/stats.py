"""How sure a score is: bootstrap intervals over images, paired comparison, McNemar's test, AUC. numpy only.

A metric is a function of totals: columns counted per image, summed over images. Resampling images, not questions or
mentions, respects that mentions of one image are not independent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from halluguard.errors import InputError, SettingsError

Columns = Mapping[str, Any]
Totals = Mapping[str, np.ndarray]
Metric = Callable[[Totals], dict[str, np.ndarray]]


class UndefinedScoreWarning(UserWarning):
    """A score is 0/0; it is reported as 0."""


def ratio(numerator: Any, denominator: Any) -> np.ndarray:
    """`numerator / denominator`, and 0 where the denominator is 0. Arrays of one shape, or numbers."""
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def warn_undefined(names: Sequence[str], because: str) -> str:
    """Say that `names` are 0/0 and were set to 0; returns the sentence, for the record."""
    sentence = f"{', '.join(names)} would be 0/0 ({because}) and is reported as 0"
    warnings.warn(sentence, UndefinedScoreWarning, stacklevel=3)
    return sentence


def _matrix(columns: Columns) -> np.ndarray:
    """(images, columns) as floats."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values()), 0):
        raise InputError(f"columns must have one length, at least 1, got {lengths}; count them over the same images")
    return np.column_stack([np.asarray(values, dtype=float) for values in columns.values()])


def _resampled(matrix: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, columns): totals over images drawn with replacement; the same images for the same seed."""
    if resamples < 1:
        raise SettingsError(f"resamples must be at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    images = len(matrix)
    return np.stack([matrix[rng.integers(0, images, images)].sum(axis=0) for _ in range(resamples)])


def totals(columns: Columns) -> dict[str, np.ndarray]:
    """Column sums, as 0-d arrays."""
    return dict(zip(columns, _matrix(columns).sum(axis=0), strict=True))


def _named(columns: Columns, sums: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(columns, sums.T, strict=True))


def bootstrap(
    columns: Columns, metric: Metric, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap interval of every value of `metric`, resampling images.

    Args:
        columns: name -> one number per image.
        metric: totals -> values, working on arrays of any shape.
        level: coverage in (0, 1).

    Returns:
        value name -> (low, high).
    """
    if not 0 < level < 1:
        raise SettingsError(f"level must be between 0 and 1, got {level}; 0.95 is usual")
    tail = 50 * (1 - level)
    values = metric(_named(columns, _resampled(_matrix(columns), resamples, seed)))
    return {
        name: (float(low), float(high))
        for name, drawn in values.items()
        for low, high in [np.percentile(drawn, [tail, 100 - tail])]
    }


def paired(
    first: Columns, second: Columns, metric: Metric, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, dict[str, Any]]:
    """Compare two runs on the same images: `second` minus `first`.

    Args:
        first, second: columns of the two runs, images in the same order.

    Returns:
        value name -> `difference`, its bootstrap `interval` (both runs resampled together), and `p`: two-sided, from
        exchanging the two runs image by image at random (approximate randomisation), never below 1/(resamples + 1).
    """
    a, b = _matrix(first), _matrix(second)
    if list(first) != list(second) or a.shape != b.shape:
        raise InputError(
            f"the runs must have the same columns and images, got {list(first)} of {len(a)} images "
            f"and {list(second)} of {len(b)}"
        )
    value_a, value_b = (metric(_named(first, m.sum(axis=0))) for m in (a, b))
    drawn_a, drawn_b = (metric(_named(first, _resampled(m, resamples, seed))) for m in (a, b))

    rng = np.random.default_rng([seed, 1])
    change, base = b - a, a.sum(axis=0)
    swapped = np.stack([(rng.random(len(a)) < 0.5) @ change for _ in range(resamples)])
    null_a = metric(_named(first, base + swapped))
    null_b = metric(_named(first, b.sum(axis=0) - swapped))

    tail = 50 * (1 - level)
    found = {}
    for name in value_a:
        difference = float(value_b[name] - value_a[name])
        low, high = np.percentile(drawn_b[name] - drawn_a[name], [tail, 100 - tail])
        extreme = int(np.sum(np.abs(null_b[name] - null_a[name]) >= abs(difference) - 1e-12))
        found[name] = {
            "difference": difference,
            "interval": (float(low), float(high)),
            "p": (extreme + 1) / (resamples + 1),
        }
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test.

    Args:
        only_first: questions that only the first run answers rightly.
        only_second: questions that only the second run answers rightly.

    Returns:
        p: how likely so uneven a split is if both runs are equally good; 1 when they never disagree.

    >>> round(mcnemar(10, 2), 4)
    0.0386
    """
    if only_first < 0 or only_second < 0:
        raise SettingsError(f"counts must be >= 0, got {only_first} and {only_second}")
    n, k = only_first + only_second, min(only_first, only_second)
    log_half = n * math.log(0.5)
    below = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + log_half for i in range(k + 1))
    return min(1.0, 2 * math.fsum(math.exp(term) for term in below))


def auc(labels: Sequence[bool], scores: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Area under the ROC curve: how often a positive outscores a negative, ties counting half.

    Args:
        labels: n truths.
        scores: n numbers, higher meaning yes.
        weights: n weights, 1 by default.

    Raises:
        InputError: lengths differ, a score is not finite, or one of the classes is missing.
    """
    truth, value = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=float)
    weight = np.ones(len(value)) if weights is None else np.asarray(weights, dtype=float)
    if not len(truth) == len(value) == len(weight) or not np.isfinite(value).all():
        raise InputError(
            f"auc needs as many finite scores as labels, got {len(value)} scores "
            f"({int((~np.isfinite(value)).sum())} not finite) for {len(truth)} labels"
        )
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(value[order]) != 0])
    positive = np.add.reduceat(np.where(truth, weight, 0.0)[order], starts)
    negative = np.add.reduceat(np.where(truth, 0.0, weight)[order], starts)
    if not positive.sum() or not negative.sum():
        raise InputError("auc needs both a yes and a no among the labels; it is undefined on one class")
    below = np.cumsum(negative) - negative
    return float(((below + negative / 2) * positive).sum() / (positive.sum() * negative.sum()))
