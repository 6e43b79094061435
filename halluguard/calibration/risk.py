"""Certify settings whose risk is below a limit at a stated confidence, by Learn then Test.

A setting s has n images with losses L_1..L_n in [0, 1]. The hypothesis of image-level risk E[L] > a is tested by

    losses of 0 and 1     p = P(Binomial(n, a) <= sum L)                                        (exact)
    losses in [0, 1]      p = min( exp(-n h(min(r, a), a)),  e P(Binomial(n, a) <= ceil(n r)) ),  r = mean L
                          h(x, y) = x log(x/y) + (1 - x) log((1 - x)/(1 - y))                   (Hoeffding-Bentkus)

(Bates et al. 2021, "Distribution-free, risk-controlling prediction sets"; Angelopoulos et al. 2021, "Learn then Test".)
Settings are tested in an order declared before the data are seen, each at the full level; the first that fails ends the
sequence. So the chance that any certified setting has a risk above its limit is at most the level, for any order.

At the strict end few captions may be released. A setting may release so few images that they could not show the limit
even without an error. Such a setting is never certified, and is skipped without ending the sequence. Whether a setting
is skipped depends on captions and images, not on labels.

Several risks that fall as settings get stricter share one sequence, which begins at the strictest setting: a setting
passes if every one of its tests passes at the full level. No correction is needed, because its hypothesis "some risk is
above its limit" is false only if all are rejected (intersection-union test; Berger 1982). Risks that rise as settings
get stricter, such as lost objects, would end that sequence at its first step. They have a second sequence, which begins
at the plainest setting. Each of two sequences has half of the level, because a setting must be certified by both and
either may err.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from halluguard.errors import InputError, PromiseError, SettingsError

RISING = ("lost", "withheld", "words_lost")
"""Losses that rise as settings get stricter; the others usually fall."""
PROMISES = {
    "chair_s": "of the images with released captions, at most {} % have one that names an object that is not there",
    "chair_i": "of the object words in released captions, at most {} % name what is not there (mean over images)",
    "wrong_additions": "of the images with released captions, at most {} % were given an object that is not there",
    "lost": "of the true objects that the drafts named, at most {} % are lost (mean over images)",
    "withheld": "at most {} % of the images have no released caption",
    "words_lost": "of the words of the drafts, at most {} % are lost (mean over images)",
}
"""Loss -> the promise of a limit on it, in words."""
_TERM = r"(?:[0-9.]+\*)?[a-z_]+"
LARGEST = 1_000_000
"""The largest number of images that an error message recommends."""


@dataclass(frozen=True)
class Risk:
    """A limit on the mean of a loss per image.

    Args:
        weights: loss -> its weight in (0, 1]; the weights sum to at most 1, so that the mix stays in [0, 1].
        limit: largest mean that may be promised, in (0, 1).

    >>> Risk.parse("chair_s=0.03"), Risk.parse("0.7*chair_s + 0.3*lost = 0.05").name
    (Risk(weights={'chair_s': 1.0}, limit=0.03), '0.7*chair_s+0.3*lost')
    """

    weights: Mapping[str, float]
    limit: float

    def __post_init__(self) -> None:
        unknown = [name for name in self.weights if name not in PROMISES]
        if unknown or not self.weights:
            raise SettingsError(
                f"a risk is one of {', '.join(PROMISES)}, or a weighted sum of them, got {unknown or ''}; "
                "choose from these"
            )
        if min(self.weights.values()) <= 0 or sum(self.weights.values()) > 1 + 1e-9:
            raise SettingsError(
                f"the weights of a risk must be above 0 and sum to at most 1, got {dict(self.weights)}; scale them"
            )
        if not 0 < self.limit < 1:
            raise SettingsError(
                f"the limit of {self.name} must be between 0 and 1, got {self.limit:g}; no data can show a limit of 0, "
                "and 1 promises nothing; 0.05 is usual"
            )

    @property
    def name(self) -> str:
        """The loss, or the weighted sum in the form that `parse` reads."""
        if list(self.weights.values()) == [1.0]:
            return next(iter(self.weights))
        return "+".join(f"{weight:g}*{loss}" for loss, weight in self.weights.items())

    @property
    def rises(self) -> bool:
        """Whether most of its weight is on losses that rise as settings get stricter."""
        rising = sum(weight for loss, weight in self.weights.items() if loss in RISING)
        return rising > sum(self.weights.values()) / 2

    def of(self, losses: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weighted sum of the losses, one per image; NaN where a part of the sum is not defined."""
        return np.asarray(sum(weight * losses[loss] for loss, weight in self.weights.items()), dtype=float)

    def words(self) -> str:
        """The promise in words."""
        return PROMISES.get(self.name, f"the mean of {self.name} over images is at most {{}} %").format(
            f"{100 * self.limit:.4g}"
        )

    @classmethod
    def parse(cls, text: str) -> Risk:
        """Read a risk from a text such as "chair_s=0.03".

        Raises:
            SettingsError: the text has another form, names an unknown loss, or has an impossible limit.
        """
        written = re.fullmatch(rf"({_TERM}(?:\+{_TERM})*)=([^=]+)", text.replace(" ", ""))
        try:
            if written is None:
                raise ValueError("it is not a sum of losses with a limit")
            terms = re.findall(r"(?:([0-9.]+)\*)?([a-z_]+)", written[1])
            weights, limit = {loss: float(weight or 1) for weight, loss in terms}, float(written[2])
        except ValueError:
            raise SettingsError(
                f"a risk is written LOSS=LIMIT, as in chair_s=0.03 or 0.7*chair_s+0.3*lost=0.05, got {text!r}"
            ) from None
        return cls(weights, limit)


def p_value(losses: ArrayLike, limit: float) -> float:
    """Upper bound on the probability of losses this small if their expectation is above the limit; 1 without losses.

    Args:
        losses: n independent losses in [0, 1], one per image.
        limit: limit on the expectation, in (0, 1).

    >>> round(p_value([0] * 59, 0.05), 4), round(p_value([0.02] * 100, 0.1), 4)
    (0.0485, 0.0053)
    """
    from scipy.special import bdtr

    values = np.asarray(losses, dtype=float)
    n = len(values)
    if not n:
        return 1.0
    if values.min() < 0 or values.max() > 1:
        raise InputError(f"losses must be in [0, 1], got {values.min():g} to {values.max():g}; scale them")
    if np.isin(values, (0.0, 1.0)).all():
        return float(bdtr(values.sum(), n, limit))
    mean = values.mean()
    hoeffding = math.exp(-n * _divergence(min(mean, limit), limit))
    return min(1.0, hoeffding, math.e * float(bdtr(math.ceil(n * mean - 1e-9), n, limit)))


def _divergence(x: float, y: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions with means x and y."""
    return (x * math.log(x / y) if x else 0.0) + ((1 - x) * math.log((1 - x) / (1 - y)) if x < 1 else 0.0)


def upper_bound(losses: ArrayLike, level: float) -> float:
    """The smallest limit that these losses certify at a level, for one setting that was not chosen among several.

    >>> round(upper_bound([0] * 59, 0.05), 3)
    0.05
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if middle > 0 and p_value(losses, middle) <= level else (middle, high)
    return high


def images_needed(limit: float, level: float, mean: float = 0.0) -> int | None:
    """The smallest number of images that certifies a limit if their mean loss is `mean`; None if no number does.

    >>> images_needed(0.05, 0.05), images_needed(0.05, 0.05, 0.06)
    (59, None)
    """
    from scipy.special import bdtr

    if mean >= limit:
        return None
    first = math.ceil(math.log(level) / math.log1p(-limit))
    if mean == 0:
        return first
    n = first
    while n <= LARGEST:
        if bdtr(math.ceil(n * mean - 1e-9), n, limit) <= level:
            return n
        n = max(n + 1, int(n * 1.01))
    return None


@dataclass(frozen=True)
class Certificate:
    """The result of the tests of all settings of a path.

    Args:
        passed: indices of the certified settings, plainest first.
        level: the level of each test.
        p_values: risk -> one p-value per setting. Values after the end of a sequence were not used.
        means: risk -> mean loss per setting; NaN where the loss is undefined on all images.
        counts: risk -> number of images on which the loss is defined, per setting.
    """

    passed: tuple[int, ...]
    level: float
    p_values: Mapping[str, tuple[float, ...]]
    means: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, tuple[int, ...]]


def level_of(risks: Sequence[Risk], confidence: float) -> float:
    """The level of each test: 1 - confidence, halved where both falling and rising risks are limited.

    Raises:
        SettingsError: there are no risks, one is given twice, or the confidence is out of range.
    """
    if not 0 < confidence < 1:
        raise SettingsError(f"the confidence must be between 0 and 1, got {confidence:g}; 0.95 is usual")
    if not risks:
        raise SettingsError("a promise needs at least one risk, got none; name one such as chair_s=0.05")
    names = [risk.name for risk in risks]
    if len(set(names)) < len(names):
        raise SettingsError(f"each risk has one limit, got {', '.join(names)}; name each once")
    return (1 - confidence) / (2 if len({risk.rises for risk in risks}) == 2 else 1)


def check_enough(risks: Sequence[Risk], images: int, confidence: float) -> None:
    """Refuse a number of images that is too small to certify a risk even if no image has an error.

    Raises:
        PromiseError: there are too few images; the message states how many are needed.
    """
    level = level_of(risks, confidence)
    for risk in risks:
        least = images_needed(risk.limit, level) or LARGEST
        if images < least:
            halved = (
                ", with half of the error for each of two opposed promises" if level < 1 - confidence - 1e-9 else ""
            )
            raise PromiseError(
                f"{images} image{'s' if images != 1 else ''} cannot show this ({risk.words()}): 0 errors need {least} "
                f"images for "
                f"{100 * risk.limit:.4g} % at {100 * confidence:g} %{halved}; label {least - images} more, or allow a "
                "higher limit"
            )


def certify(losses: Sequence[Mapping[str, ArrayLike]], risks: Sequence[Risk], confidence: float) -> Certificate:
    """Test every setting of a path.

    Args:
        losses: per setting, from the plainest to the strictest, loss -> one number per image; NaN where a loss is not
            defined, such as that of an image without a released caption.
        risks: limits to promise.
        confidence: chance, over the draw of the images, that the promise holds; in (0, 1).
    """
    values = {
        risk.name: [_defined(risk.of({k: np.asarray(v, float) for k, v in row.items()})) for row in losses]
        for risk in risks
    }
    level = level_of(risks, confidence)
    p_values = {risk.name: tuple(p_value(row, risk.limit) for row in values[risk.name]) for risk in risks}
    passed = set(range(len(losses)))
    for rises in (False, True):
        together = [p_values[risk.name] for risk in risks if risk.rises == rises]
        if together:
            order = range(len(losses)) if rises else range(len(losses) - 1, -1, -1)
            tested = [
                i for i in order if all(_testable(values[r.name][i], r, level) for r in risks if r.rises == rises)
            ]
            passed &= set(fixed_sequence({i: max(p[i] for p in together) for i in tested}, level))
    means = {name: tuple(float(row.mean()) if len(row) else math.nan for row in rows) for name, rows in values.items()}
    counts = {name: tuple(len(row) for row in rows) for name, rows in values.items()}
    return Certificate(tuple(sorted(passed)), level, p_values, means, counts)


def _testable(losses: np.ndarray, risk: Risk, level: float) -> bool:
    """Whether the number of images is large enough to certify the risk if none of them has a loss."""
    return len(losses) >= (images_needed(risk.limit, level) or LARGEST)


def _defined(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def fixed_sequence(p_values: Mapping[int, float], level: float) -> list[int]:
    """The settings that pass before the first one that fails, in the order of the mapping.

    >>> fixed_sequence({3: 0.01, 2: 0.02, 1: 0.2, 0: 0.01}, 0.05)
    [3, 2]
    """
    passed: list[int] = []
    for setting, p in p_values.items():
        if p > level:
            break
        passed.append(setting)
    return passed


def refuse(certificate: Certificate, risks: Sequence[Risk], images: int, confidence: float) -> PromiseError:
    """The error that states why no setting was certified, and what would be enough."""
    at = f"at {100 * confidence:g} %"
    for risk in risks:
        p_values, means = certificate.p_values[risk.name], certificate.means[risk.name]
        best = min(range(len(p_values)), key=lambda i: (p_values[i], means[i]))
        if p_values[best] <= certificate.level:
            continue
        enough = images_needed(risk.limit, certificate.level, means[best])
        advice = (
            f"about {enough} images would show it if the share stays"
            if enough is not None
            else "no number of images would show that: allow a higher limit, or use a better detector"
        )
        counts = certificate.counts[risk.name]
        tested = [count >= (images_needed(risk.limit, certificate.level) or LARGEST) for count in counts]
        few = f", and {tested.count(False)} settings release captions of too few images" if not all(tested) else ""
        return PromiseError(
            f"no setting shows this {at} ({risk.words()}): the best one has {100 * means[best]:.3g} % on "
            f"{counts[best]} images{few}; {advice}"
        )
    return PromiseError(
        f"some settings keep each promise {at}, but none keeps all ({'; '.join(risk.words() for risk in risks)}); "
        f"allow higher limits, or label more than {images} images"
    )
