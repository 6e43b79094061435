"""Fit thresholds and probabilities to the scores of a detector.

    s                best score of a phrase in an image; 0 if nothing was detected
    low              the k-th smallest s of present objects, k = floor(alpha (n + 1))
    high             just above the k-th smallest s of absent objects, k = ceil((1 - beta) (n + 1))

A claim is contradicted where s < low and supported where s >= high. So on data like the rows, averaged over draws of
independent rows, at most alpha of the true claims are contradicted and at most beta of the false ones supported (split
conformal prediction: Vovk et al. 2005; Papadopoulos et al. 2002). This is a heuristic: the rows of one image are not
independent, half of all draws exceed the average, and false claims of captions are harder than absent objects at random
(`negatives.py`). A promise at a stated confidence needs a policy (`policy.py`).

Between low and high the verdict is "unsure"; where low lies above high, one threshold in the middle of the gap keeps
both shares. With too few rows for alpha, low is 0, so that no score contradicts. With too few rows for beta, or if
absent objects score 1, high is `NEVER`, above 1, so that no score supports.

A confidence is the probability that the object is present, by isotonic regression or Platt's logistic curve
(scikit-learn).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Literal, TypedDict, get_args

import numpy as np

from halluguard.calibration.labelled_rows import Scored
from halluguard.calibration.negatives import Negatives, absent_rows
from halluguard.calibration.record import Calibration, Curve
from halluguard.errors import InputError, SettingsError

Method = Literal["isotonic", "platt"]


class Ratios(TypedDict):
    """Precision and recall of a verdict; None without rows to count."""

    precision: float | None
    recall: float | None


_BLIND = 0.3
"""Least share of a label's present objects without a box at which the detector counts as nearly blind to the label."""
_BLIND_IMAGES = 10
"""Least number of images with the label for this."""


class Measures(TypedDict):
    """Measures of thresholds and confidences on rows; see `measure`."""

    rows: int
    images: int
    present: int
    no_box: float | None
    supported: Ratios
    contradicted: Ratios
    true_contradicted: float | None
    false_supported: float | None
    unsure: float | None
    ece: float
    ece_raw: float


def fit(
    scored: Sequence[Scored],
    *,
    detector: str,
    alpha: float = 0.05,
    beta: float = 0.05,
    min_images: int = 50,
    negatives: Negatives = "random",
    claims: Mapping[str, Sequence[str]] | None = None,
    method: Method = "isotonic",
    holdout: float = 0.5,
) -> Calibration:
    """Fit thresholds and curves, and measure them on held-out images.

    Args:
        scored: rows from `score_rows`.
        detector: name of the detector.
        alpha: largest fraction of true claims that may be contradicted, in (0, 1).
        beta: largest fraction of false claims that may be supported, in (0, 1).
        min_images: number of images (or groups) in which a label must be present, and in which it must be absent, to
            get its own thresholds and curve.
        negatives: absent objects that set the upper threshold: "random", "co-occurring" or "claims".
        claims: image -> captions of a model, for the negatives "claims".
        method: "isotonic" for many rows, "platt" for few.
        holdout: fraction of the images held out for the report, in [0, 1), chosen by a hash of their names. With 0, the
            report uses the rows of the fit, and states this.

    Raises:
        SettingsError: a fraction is out of range.
        InputError: a score is not finite, or the rows to fit on are all present or all absent, or all have one score.
    """
    _check_settings({"alpha": alpha, "beta": beta}, holdout, min_images, method, negatives)
    wrong = next((row for row in scored if not math.isfinite(row.score)), None)
    if wrong is not None:
        raise InputError(
            f"scores must be finite, got {wrong.score} for {wrong.label!r} in {wrong.image!r}; correct them"
        )
    used = [row for row in scored if _part(row.unit) >= holdout]
    kept = [row for row in scored if _part(row.unit) < holdout] or list(scored)
    used = _usable(used, negatives, claims)
    enough = {
        label: rows
        for label, rows in _by_label(used).items()
        if min(len({r.unit for r in rows if r.present == there}) for there in (True, False)) >= min_images
    }
    high, low = thresholds(used, alpha, beta)
    calibration = Calibration(
        detector=detector,
        high=high,
        low=low,
        labels={label: thresholds(rows, alpha, beta) for label, rows in enough.items()},
        curve=curve(used, method),
        curves={label: curve(rows, method) for label, rows in enough.items()},
        settings={
            "alpha": alpha,
            "beta": beta,
            "min_images": min_images,
            "method": method,
            "holdout": holdout,
            "rows": len(used),
            "images": len({row.unit for row in used}),
            "negatives": negatives,
            "smallest_alpha": smallest_alpha(used),
            "nearly_blind": _nearly_blind(scored),
            "report_on": "held-out images" if holdout and kept != list(scored) else "the rows of the fit",
        },
    )
    parts = {"": kept} | _by_label(kept)
    report = {label: dict(measure(rows, calibration)) for label, rows in parts.items() if rows}
    report[""]["false_supported_by"] = {
        kind: {"share": measure(rows, calibration)["false_supported"], "rows": len(rows)}
        for kind, rows in absent_rows(kept, claims).items()
        if rows
    }
    return replace(calibration, report=report)


def _check_settings(
    shares: Mapping[str, float], holdout: float, min_images: int, method: Method, negatives: Negatives
) -> None:
    """Raise SettingsError for a setting of `fit` that is out of range."""
    for setting, value in shares.items():
        if not 0 < value < 1:
            raise SettingsError(f"{setting} must be above 0 and below 1, got {value:g}; 0.05 is usual")
    if not 0 <= holdout < 1:
        raise SettingsError(f"holdout must be at least 0 and below 1, got {holdout:g}; 0.5 is usual")
    if min_images < 1:
        raise SettingsError(f"min_images must be at least 1, got {min_images}; 50 is usual")
    if method not in get_args(Method):
        raise SettingsError(f"method must be one of {get_args(Method)}, got {method!r}; choose one")
    if negatives not in get_args(Negatives):
        raise SettingsError(f"negatives must be one of {get_args(Negatives)}, got {negatives!r}; choose one")


def _by_label(rows: Iterable[Scored]) -> dict[str, list[Scored]]:
    """Label -> its rows, by label."""
    by_label: dict[str, list[Scored]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    return dict(sorted(by_label.items()))


def _usable(rows: Sequence[Scored], negatives: Negatives, claims: Mapping[str, Sequence[str]] | None) -> list[Scored]:
    """The rows for the fit: the present rows, and the absent rows of the chosen kind.

    Raises:
        InputError: no thresholds can be fitted to them.
    """
    if negatives == "claims" and claims is None:
        raise SettingsError("the negatives 'claims' come from captions, got none; give the captions too")
    present = [row for row in rows if row.present]
    absent = absent_rows(rows, claims)[negatives]
    if not present or not absent:
        lacking = "present" if not present else f"absent ({negatives})" if negatives != "random" else "absent"
        raise InputError(
            f"expected rows of present and of absent objects, got {len(rows)} rows to fit on and none of an object "
            f"that is {lacking}; label more images"
        )
    if len({row.score for row in [*present, *absent]}) == 1:
        raise InputError(
            f"every row has the score {present[0].score:g}, so no threshold separates present from absent objects; "
            "use another detector"
        )
    return [*present, *absent]


def smallest_alpha(rows: Sequence[Scored]) -> float:
    """The smallest alpha at which any claim can be contradicted; it exceeds the share of present objects without a box.

    >>> smallest_alpha([Scored(str(i), "dog", True, 0.0 if i < 6 else 0.5) for i in range(99)])
    0.07
    """
    present = [row.score for row in rows if row.present]
    return math.ceil(1e4 * (sum(score == 0 for score in present) + 1) / (len(present) + 1) - 1e-9) / 1e4


def _nearly_blind(rows: Sequence[Scored]) -> dict[str, float]:
    """Label -> share of its present objects without a box, for labels where it is large."""
    shares = {
        label: sum(row.score == 0 for row in of_label) / len(of_label)
        for label, of_label in _by_label(row for row in rows if row.present).items()
        if len({row.unit for row in of_label}) >= _BLIND_IMAGES
    }
    return {label: round(share, 4) for label, share in shares.items() if share >= _BLIND}


def _part(unit: str) -> float:
    """A number in [0, 1) for an image or group, the same on every machine and in every run."""
    return int.from_bytes(blake2b(unit.encode("utf-8", "replace"), digest_size=4).digest(), "big") / 2**32


def thresholds(rows: Sequence[Scored], alpha: float, beta: float) -> tuple[float, float]:
    """(high, low) by the rule at the top of this file; high may be `NEVER`."""
    present = sorted(row.score for row in rows if row.present)
    absent = sorted(row.score for row in rows if not row.present)
    k = math.floor(alpha * (len(present) + 1) + 1e-9)
    low = present[k - 1] if k >= 1 else 0.0
    k = math.ceil((1 - beta) * (len(absent) + 1) - 1e-9)
    below_high = absent[k - 1] if k <= len(absent) else 1.0
    if low > below_high:
        high = math.nextafter(below_high, 2.0)
        middle = round((high + low) / 2, 4)
        return (middle, middle) if high <= middle <= low else (high, high)
    # Four digits, rounded to the safe side: high is strictly above the score.
    high = math.ceil(below_high * 1e4) / 1e4
    return (high if high > below_high else round(high + 1e-4, 4)), math.floor(low * 1e4) / 1e4


def curve(rows: Sequence[Scored], method: Method) -> Curve:
    """Fit a curve from score to probability, by scikit-learn."""
    score = np.array([row.score for row in rows])
    present = np.array([row.present for row in rows], dtype=float)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, present)
        x, y = fitted.X_thresholds_, fitted.y_thresholds_
    else:
        from sklearn.linear_model import LogisticRegression

        # Platt's targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) keep few rows from giving probabilities of 0 or 1.
        ones, zeros = present.sum(), len(present) - present.sum()
        target = np.where(present > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))
        features = np.concatenate([score, score])[:, None]
        classes, weights = np.repeat([1, 0], len(score)), np.concatenate([target, 1 - target])
        fitted = LogisticRegression(C=1e6).fit(features, classes, sample_weight=weights)
        x = np.linspace(0, 1, 101)
        y = fitted.predict_proba(x[:, None])[:, 1]
        y = np.maximum.accumulate(y)
    return Curve(tuple(round(float(v), 9) for v in x), tuple(round(float(v), 6) for v in y))


def measure(rows: Sequence[Scored], calibration: Calibration) -> Measures:
    """Count each verdict on rows, and compute its precision and recall, and the calibration error of the confidences.

    Returns:
        "supported" is right for present objects, "contradicted" for absent ones. "ece" and "ece_raw" are the expected
        calibration error of the curve and of the raw score, in [0, 1], over 10 bins.
    """
    verdicts = []
    for row in rows:
        high, low = calibration.of(row.label)
        verdicts.append("supported" if row.score >= high else "contradicted" if row.score < low else "unsure")
    pairs = list(zip(rows, verdicts, strict=True))
    present = sum(row.present for row in rows)
    count = Counter((verdict, row.present) for row, verdict in pairs)

    def ratio(part: int, whole: int) -> float | None:
        return round(part / whole, 4) if whole else None

    supported, contradicted = verdicts.count("supported"), verdicts.count("contradicted")
    fitted = [calibration.probability(row.label, row.score) or 0.0 for row in rows]
    return {
        "rows": len(rows),
        "images": len({row.unit for row in rows}),
        "present": present,
        "no_box": ratio(sum(row.present and row.score == 0 for row in rows), present),
        "supported": {
            "precision": ratio(count["supported", True], supported),
            "recall": ratio(count["supported", True], present),
        },
        "contradicted": {
            "precision": ratio(count["contradicted", False], contradicted),
            "recall": ratio(count["contradicted", False], len(rows) - present),
        },
        "true_contradicted": ratio(count["contradicted", True], present),
        "false_supported": ratio(count["supported", False], len(rows) - present),
        "unsure": ratio(verdicts.count("unsure"), len(rows)),
        "ece": _ece(fitted, rows),
        "ece_raw": _ece([row.score for row in rows], rows),
    }


def _ece(probabilities: Sequence[float], rows: Sequence[Scored]) -> float:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, row in zip(probabilities, rows, strict=True):
        bins.setdefault(min(9, int(p * 10)), []).append((p, row.present))
    gaps = (abs(sum(p for p, _ in members) - sum(there for _, there in members)) for members in bins.values())
    return round(sum(gaps) / len(rows), 4)
