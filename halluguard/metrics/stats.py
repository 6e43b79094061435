"""Compute bootstrap intervals over images, paired comparisons, Wilson intervals, McNemar's test and ROC areas.

A metric is a function of totals: columns counted per image, then summed over images. Images are resampled, not
questions or mentions, because the mentions of one image are not independent.

If a share has few hits, the percentiles of resamples lie too close together: with 5 % of 40 images, a 95 % interval
contains the truth 87 times in 100. So a share p in [0, 1] with fewer than `FEW` effective hits n p, or misses, has
Wilson's interval for n trials and a t quantile instead, where n = p (1 - p) / (standard error)^2 (Dean and Pagano 2015,
Survey Methodology 41). The standard error is the jackknife's. If a few images contribute most of it, it is itself
uncertain, so the t quantile has the degrees of freedom of Satterthwaite's rule for the images' influence. Other values
have percentiles of resamples, widened for few images (Hesterberg 2015, The American Statistician 69).

A difference of two runs on the same images has the interval of Bonett and Price (2012, Journal of Educational and
Behavioral Statistics 37) for paired shares, extended to sums over images: two images are added, one in favour of each
run, with the weight of an image on which the runs differ. `benchmarks/intervals.py` measures the coverage of all
intervals.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from halluguard.errors import InputError, SettingsError

# The import of scipy takes up to half a second, so the two functions that need it import it.

Columns = Mapping[str, Sequence[float]]
"""Column name -> one number per image."""
Totals = Mapping[str, np.ndarray]
"""Column name -> sum over images, or one sum per resample."""
Metric = Callable[[Totals], dict[str, np.ndarray]]


FEW = 20
"""A share with fewer effective hits or misses than this has Wilson's interval."""

LEAST_DEGREES = 6.0
"""Smallest number of degrees of freedom of a standard error, if there are enough images."""


class UndefinedScoreWarning(UserWarning):
    """A score is 0/0; it is reported as 0."""


class Change(TypedDict):
    """Difference of one value between two runs, with its 95 % interval and two-sided p-value."""

    difference: float
    interval: tuple[float, float]
    p: float


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """`numerator / denominator`, and 0 where the denominator is 0, for numbers or arrays of one shape."""
    top, bottom = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def warn_undefined(names: Sequence[str], because: str) -> str:
    """Warn that the values `names` are 0/0 and were set to 0. Returns the sentence, for `Score.warnings`."""
    sentence = f"{', '.join(names)} would be 0/0 ({because}) and is reported as 0"
    warnings.warn(sentence, UndefinedScoreWarning, stacklevel=3)
    return sentence


def _matrix(columns: Columns) -> np.ndarray:
    """The columns as one float array (images, columns)."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values()), 0):
        raise InputError(f"columns must have one length, at least 1, got {lengths}; count them over the same images")
    return np.column_stack([np.asarray(values, dtype=float) for values in columns.values()])


def _resampled(matrix: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Totals over images drawn with replacement, (resamples, columns). One seed always draws the same images."""
    if resamples < 1:
        raise SettingsError(f"resamples must be at least 1, got {resamples}; 1000 is usual")
    rng = np.random.default_rng(seed)
    images = len(matrix)
    drawn = (rng.integers(0, images, images) for _ in range(resamples))
    if np.array_equal(matrix, np.rint(matrix)):  # sums of whole numbers are exact in any order
        return np.stack([np.bincount(places, minlength=images) @ matrix for places in drawn])
    return np.stack([matrix[places].sum(axis=0) for places in drawn])


def totals(columns: Columns) -> dict[str, np.ndarray]:
    """Column sums, as 0-d arrays."""
    return _by_name(columns, _matrix(columns).sum(axis=0))


def _by_name(columns: Columns, sums: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(columns, sums.T, strict=True))


def bootstrap(
    columns: Columns, metric: Metric, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Bootstrap interval of every value of `metric`, resampling images; see the module for shares with few hits.

    Args:
        columns: column name -> one number per image.
        metric: totals -> values; it must work on arrays of any shape.
        seed: seed of the random draws.
        resamples: number of draws.
        level: coverage in (0, 1).

    Returns:
        value name -> (low, high).
    """
    if not 0 < level < 1:
        raise SettingsError(f"level must be between 0 and 1, got {level}; 0.95 is usual")
    matrix = _matrix(columns)
    points = metric(_by_name(columns, matrix.sum(axis=0)))
    values = metric(_by_name(columns, _resampled(matrix, resamples, seed)))
    influence = _influence(columns, matrix, metric)
    return {name: _interval(float(points[name]), values[name], influence[name], level) for name in values}


def _influence(columns: Columns, matrix: np.ndarray, metric: Metric) -> dict[str, np.ndarray]:
    """Value name -> (images,) jackknife influence: the change of the value if an image is left out; it sums to 0."""
    without = metric(_by_name(columns, matrix.sum(axis=0) - matrix))
    return {name: values.mean() - values for name, values in without.items()}


def _interval(point: float, drawn: np.ndarray, influence: np.ndarray, level: float) -> tuple[float, float]:
    """Percentiles of resamples; for a share with few hits, Wilson's interval with the jackknife's standard error."""
    images = len(influence)
    if 0 <= point <= 1 and drawn.min() >= 0 and drawn.max() <= 1:
        variance = (images - 1) / images * float(influence @ influence)
        trials = point * (1 - point) / variance if variance > 0 and 0 < point < 1 else float(images)
        if trials * min(point, 1 - point) < FEW:
            return effective_wilson(point, trials, degrees_of_freedom(influence), level=level)
    tail = _expanded_tail(images, level)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _expanded_tail(images: int, level: float) -> float:
    """Share of resamples beyond either end: (1 - level) / 2, made smaller for few images."""
    from scipy.special import ndtr, stdtrit

    few = max(1, images - 1)
    return float(ndtr(-math.sqrt((few + 1) / few) * stdtrit(few, (1 + level) / 2)))


def degrees_of_freedom(influence: np.ndarray) -> float:
    """Degrees of freedom of the variance of a sum of influences, at least 6 and at most one less than their number.

    Satterthwaite's rule, 2 E[v]^2 / Var[v] for v = sum z^2: few when a few large values make up the sum. Fewer than 6
    would make an interval about three hits too wide, by the coverage that `benchmarks/intervals.py` measures.

    Args:
        influence: one number per independent unit, such as an image, with mean 0.

    >>> round(degrees_of_freedom(np.array([1.0, -1.0] * 20))), degrees_of_freedom(np.array([19.0] + [-1.0] * 19))
    (39, 6.0)
    """
    most = max(1, len(influence) - 1)
    squares = influence**2
    total = float(squares.sum())
    spread = float(squares @ squares) - total**2 / max(1, len(influence))
    return min(most, max(LEAST_DEGREES, 2 * total**2 / spread)) if spread > 1e-12 * total**2 else float(most)


def effective_wilson(share: float, trials: float, degrees: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of dependent trials, with a t quantile.

    Args:
        share: the share, in [0, 1].
        trials: number of independent trials whose share would vary as much; at least 1 is used.
        degrees: degrees of freedom of the share's standard error, at least 1.
        level: coverage in (0, 1).

    >>> tuple(round(bound, 4) for bound in effective_wilson(0.15, 20, 9))
    (0.0451, 0.3976)
    """
    from scipy.special import stdtrit

    n = max(1.0, trials)
    t = float(stdtrit(max(1.0, degrees), (1 + level) / 2))
    shrink = 1 + t * t / n
    middle = (share + t * t / (2 * n)) / shrink
    half = t / shrink * math.sqrt(share * (1 - share) / n + t * t / (4 * n * n))
    return (middle - half if share > 0 else 0.0), (middle + half if share < 1 else 1.0)


def clustered_share(hits: ArrayLike, trials: ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """A share of trials that depend on each other within clusters, with its interval.

    The linearised variance of a ratio of sums over clusters gives the number of independent trials that would vary as
    much, for `effective_wilson`. Without a hit or without a miss, that number is one trial per cluster.

    Args:
        hits, trials: one number per cluster, such as an image; not all trials may be 0.
        level: coverage in (0, 1).

    Returns:
        (share, low, high).

    >>> tuple(round(value, 3) for value in clustered_share([1, 0, 4, 0], [4, 4, 4, 4]))
    (0.312, 0.031, 0.866)
    """
    c, j = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    c, j = c[j > 0], j[j > 0]
    clusters, total = len(j), float(j.sum())
    share = float(c.sum()) / total
    influence = (c - share * j) / total
    variance = clusters / max(1, clusters - 1) * float(influence @ influence)
    worth = share * (1 - share) / variance if variance > 0 and 0 < share < 1 else float(clusters)
    return share, *effective_wilson(share, min(worth, total), degrees_of_freedom(influence), level=level)


def paired(
    first: Columns, second: Columns, metric: Metric, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> dict[str, Change]:
    """Compare two runs on the same images: `second` minus `first`.

    Args:
        first: columns of the first run.
        second: columns of the second run, images in the same order.
        metric: totals -> values; it must work on arrays of any shape.
        seed: seed of the random draws.
        resamples: number of draws.
        level: coverage of the intervals, in (0, 1).

    Returns:
        value name -> `difference`, its `interval` (see the module; 0 to 0 if the runs agree on every image), and `p`:
        two-sided, from exchanging the two runs image by image at random (approximate randomisation), never below
        1/(resamples + 1).
    """
    a, b = _matrix(first), _matrix(second)
    if list(first) != list(second) or a.shape != b.shape:
        raise InputError(
            f"the runs must have the same columns and images, got {list(first)} of {len(a)} images "
            f"and {list(second)} of {len(b)}; "
            "score both on the same images"
        )
    value_a, value_b = (metric(_by_name(first, m.sum(axis=0))) for m in (a, b))
    influence_a, influence_b = (_influence(first, m, metric) for m in (a, b))
    differs = (a != b).any(axis=1)

    rng = np.random.default_rng([seed, 1])
    change, base = b - a, a.sum(axis=0)
    swapped = np.stack([(rng.random(len(a)) < 0.5) @ change for _ in range(resamples)])
    null_a = metric(_by_name(first, base + swapped))
    null_b = metric(_by_name(first, b.sum(axis=0) - swapped))

    changes: dict[str, Change] = {}
    for name in value_a:
        difference = float(value_b[name] - value_a[name])
        extreme = int(np.sum(np.abs(null_b[name] - null_a[name]) >= abs(difference) - 1e-12))
        apart = influence_b[name] - influence_a[name]
        one_image = math.sqrt(float(np.mean(apart[differs] ** 2))) if differs.any() else 0.0
        changes[name] = {
            "difference": difference,
            "interval": _paired_interval(difference, apart, one_image, level),
            "p": (extreme + 1) / (resamples + 1),
        }
    return changes


def _paired_interval(difference: float, apart: np.ndarray, one_image: float, level: float) -> tuple[float, float]:
    """Interval of a difference, from the change due to each image, with `one_image` added in favour of each run."""
    from scipy.special import stdtrit

    images = len(apart)
    augmented = np.r_[apart, one_image, -one_image]
    half = math.sqrt((images + 1) / (images + 2) * float(augmented @ augmented))
    half *= float(stdtrit(degrees_of_freedom(augmented), (1 + level) / 2))
    middle = difference * images / (images + 2)
    return middle - half, middle + half


def wilson(successes: float, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, for independent trials.

    Args:
        successes: number of successful trials; a tie may count as one half.
        trials: number of trials, at least 1.
        level: coverage in (0, 1).

    Returns:
        (low, high), both in [0, 1].

    >>> tuple(round(bound, 4) for bound in wilson(3, 20))
    (0.0524, 0.3604)
    """
    from scipy.special import ndtri

    if not 0 <= successes <= trials or trials < 1:
        raise SettingsError(
            f"successes must be between 0 and trials, trials at least 1, got {successes} of {trials}; correct them"
        )
    share, z = successes / trials, float(ndtri((1 + level) / 2))
    shrink = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return (middle - half if successes else 0.0), (middle + half if successes < trials else 1.0)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test.

    Args:
        only_first: number of questions that only the first run answers rightly.
        only_second: number of questions that only the second run answers rightly.

    Returns:
        The p-value: the probability of a split at least this uneven if both runs are equally good; 1 if they never
        disagree.

    >>> round(mcnemar(10, 2), 4)
    0.0386
    """
    from scipy.stats import binomtest

    if only_first < 0 or only_second < 0:
        raise SettingsError(f"counts must be >= 0, got {only_first} and {only_second}; correct them")
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0


def auc(labels: Sequence[bool], scores: Sequence[float], weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve: the probability that a positive outscores a negative; ties count half.

    Args:
        labels: n truths, True for yes.
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
            f"({int((~np.isfinite(value)).sum())} not finite) for {len(truth)} labels; "
            "correct the scores"
        )
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(value[order]) != 0])
    positive = np.add.reduceat(np.where(truth, weight, 0.0)[order], starts)
    negative = np.add.reduceat(np.where(truth, 0.0, weight)[order], starts)
    if not positive.sum() or not negative.sum():
        raise InputError("auc needs both a yes and a no among the labels; it is undefined on one class")
    below = np.cumsum(negative) - negative
    return float(((below + negative / 2) * positive).sum() / (positive.sum() * negative.sum()))
