"""Bound a rate while labels come in, and detect when new images no longer look like the calibration images.

Rate. Losses X_1, X_2, ... in [0, 1] of images in the order of a random draw. For a supposed mean m, bet against it:

    K_t(m) = 1/2 prod_i (1 + min(l_i, 1/(2 m_i)) (X_i - m_i)) + 1/2 prod_i (1 - min(l_i, 1/(2 - 2 m_i)) (X_i - m_i))
    m_i    = (N m - sum_{j<i} X_j) / (N - i + 1) drawn without replacement from N images; m_i = m if N is unknown
    l_i    = sqrt( 2 log(2/a) / (v_{i-1} i log(1 + i)) ),        v_i = (1/4 + sum_{j<=i} (X_j - mean_j)^2) / (i + 1)

At the true mean, K is a nonnegative martingale that starts at 1, so it reaches 1/a at any time with probability at most
a (Ville). The means with K_t(m) < 1/a for all t so far are a confidence sequence: it holds at all times at once,
however often it is read and whenever one stops (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random
variables by betting", theorems 3 and 4).

Shift. Each new image has a detector score; its rank among all scores so far, ties broken at random, gives a p-value

    p_t = ( #{s_i > s_t} + u #{s_i = s_t, s_t included} ) / t,      u uniform

If all images are exchangeable, the p_t are independent and uniform (Vovk, Nouretdinov and Gammerman 2003). The simple
jumper bets on e in {-1, 0, 1}: C_e <- (1 - J) C_e + J C / 3, then C_e <- C_e (1 + e (p_t - 1/2)), C = sum C_e, J = .01
(Vovk et al. 2021, "Retrain or not retrain"). C reaches 100 with probability at most .01 while nothing has changed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np

from halluguard.errors import InputError, SettingsError

GRID = 1001
"""Number of means on the grid, each of which is bet against."""
JUMP = 0.01
ALARM = 100.0
"""Capital at which a shift is announced; chance alone reaches it with probability at most 1/ALARM."""
_BINS = 10_000


class RateBound:
    """Bounds on a mean of losses that hold at all times at once.

    Args:
        confidence: chance that the bounds hold at all times; in (0, 1).
        population: number of images from which the labelled ones are drawn without replacement; None where it is
            unknown or unbounded.

    >>> bound = RateBound()
    >>> for _ in range(100):
    ...     bound.add(0.0)
    >>> bound.n, bound.low, round(bound.high, 3)
    (100, 0.0, 0.07)
    """

    def __init__(self, confidence: float = 0.95, population: int | None = None) -> None:
        if not 0 < confidence < 1:
            raise SettingsError(f"the confidence must be between 0 and 1, got {confidence:g}; 0.95 is usual")
        if population is not None and population < 1:
            raise SettingsError(f"a population has at least one image, got {population}; correct it")
        self.confidence, self.population = confidence, population
        self.n = 0
        self._sum = self._squares = 0.0
        self._grid = np.linspace(0, 1, GRID)
        self._up = np.zeros(GRID)  # logarithms of the two products, at each mean of the grid
        self._down = np.zeros(GRID)
        self._alive = np.ones(GRID, dtype=bool)

    def add(self, loss: float) -> None:
        """Add the loss of the next image of the draw."""
        if not 0 <= loss <= 1:
            raise InputError(f"a loss must be in [0, 1], got {loss}; rescale it")
        if self.population is not None and self.n >= self.population:
            raise InputError(f"all {self.population} images have been labelled, and none is left to draw; stop here")
        means = self._grid
        if self.population is not None:
            means = (self.population * self._grid - self._sum) / (self.population - self.n)
        possible = (means >= 0) & (means <= 1)
        variance = (0.25 + self._squares) / (self.n + 1)
        i = self.n + 1
        bet = math.sqrt(2 * math.log(2 / (1 - self.confidence)) / (variance * i * math.log(1 + i)))
        inside = np.clip(means, 1e-9, 1 - 1e-9)
        self._up += np.log1p(np.minimum(bet, 0.5 / inside) * (loss - means), where=possible, out=np.zeros(GRID))
        self._down += np.log1p(
            -np.minimum(bet, 0.5 / (1 - inside)) * (loss - means), where=possible, out=np.zeros(GRID)
        )
        capital = np.logaddexp(self._up, self._down) - math.log(2)
        self._alive &= possible & (capital < -math.log(1 - self.confidence))
        self.n += 1
        self._sum += loss
        self._squares += (loss - (0.5 + self._sum) / (self.n + 1)) ** 2

    @property
    def mean(self) -> float:
        """Mean of the losses so far; 0 without any."""
        return self._sum / self.n if self.n else 0.0

    @property
    def low(self) -> float:
        """Lower bound of the mean, on a grid of thousandths."""
        return self._ends()[0]

    @property
    def high(self) -> float:
        """Upper bound of the mean, on a grid of thousandths."""
        return self._ends()[1]

    def _ends(self) -> tuple[float, float]:
        """The bounds, widened by one step of the grid, because means between its points were not bet against."""
        places = np.flatnonzero(self._alive)
        if not len(places):
            return self.mean, self.mean
        step = 1 / (GRID - 1)
        low, high = self._grid[places[0]], self._grid[places[-1]]
        return (
            float(low - step if places[0] else 0.0),
            float(high + step if places[-1] < GRID - 1 else 1.0),
        )

    def words(self) -> str:
        """The bounds in a few words."""
        return (
            f"{100 * self.mean:.1f} % ({100 * self.confidence:g} %, at any time: {100 * self.low:.1f} to "
            f"{100 * self.high:.1f} %, of {self.n} labelled images)"
        )


class ShiftMonitor:
    """A conformal test martingale: large when new scores are no longer exchangeable with the calibration's.

    Args:
        scores: detector scores of the calibration images, in [0, 1]; see `outcomes.agreement`.
        seed: seed of the random order of equal scores.
    """

    def __init__(self, scores: Iterable[float], seed: int = 0) -> None:
        self._counts = [0] * (_BINS + 2)  # Fenwick tree: counts of scores, in bins of a ten-thousandth
        self._rng = random.Random(seed)
        self.seen = 0
        self.new = 0
        self.capital = self.highest = 1.0
        self.alarm_at: int | None = None
        self._bets = {-1: 1 / 3, 0: 1 / 3, 1: 1 / 3}
        for score in scores:
            self._insert(_bin(score))

    def add(self, score: float) -> float:
        """Add the score of the next new image, and return its p-value."""
        place = _bin(score)
        self._insert(place)
        above = self.seen - self._below(place + 1)
        equal = self.seen - above - self._below(place)
        p = (above + self._rng.random() * equal) / self.seen
        mixed = JUMP * self.capital / len(self._bets)
        self._bets = {e: ((1 - JUMP) * c + mixed) * (1 + e * (p - 0.5)) for e, c in self._bets.items()}
        self.capital = sum(self._bets.values())
        self.highest = max(self.highest, self.capital)
        self.new += 1
        if self.alarm_at is None and self.capital >= ALARM:
            self.alarm_at = self.new
        return p

    def _insert(self, place: int) -> None:
        self.seen += 1
        index = place + 1
        while index < len(self._counts):
            self._counts[index] += 1
            index += index & -index

    def _below(self, place: int) -> int:
        """Number of scores in lower bins."""
        total = 0
        while place > 0:
            total += self._counts[place]
            place -= place & -place
        return total

    def words(self) -> str:
        """The result of the monitor, in a sentence."""
        if self.alarm_at is None:
            return (
                f"{self.new} images look like the calibration's (evidence of a shift {self.highest:.3g}, alarm at "
                f"{ALARM:g})"
            )
        return (
            f"from about image {self.alarm_at} of {self.new} on, the images no longer look like the calibration's "
            f"(evidence {self.highest:.3g}, by chance with probability at most {1 / self.highest:.2g}): do not rely on "
            "the promise; label some of them and calibrate again"
        )


def _bin(score: float) -> int:
    if not 0 <= score <= 1:
        raise InputError(f"a detector score must be in [0, 1], got {score}; rescale it")
    return round(score * _BINS)
