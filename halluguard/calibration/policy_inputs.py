"""Check the data to which a policy is fitted, and give the default path of settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from halluguard.calibration.losses import LossCounter
from halluguard.calibration.outcomes import Outcome, Setting
from halluguard.correction.verification import thresholds_of
from halluguard.errors import InputError, SettingsError
from halluguard.metrics.ground_truth import ById, image_key
from halluguard.records import Detector


def default_path(detector: Detector, imaginations: Sequence[float] = ()) -> tuple[Setting, ...]:
    """The default settings to test, from plain to strictest.

    They depend only on the detector's own thresholds (high, low), never on labels. First, nothing is contradicted. Then
    claims are contradicted below low/4, low/2, low, (low + high)/2, high, and high + (1 - high) times 1/4, 2/4, 3/4.
    Then come the same settings with the filter "confirmed". With several imagination settings, the first setting of the
    path uses the first one, and all others use the last one, which stays closest to the image.
    """
    limits = thresholds_of(detector)
    high, low = min(limits.high, 1.0), limits.low
    values = [
        low / 4,
        low / 2,
        low,
        (low + high) / 2,
        high,
        *(high + share * (1 - high) for share in (0.25, 0.5, 0.75)),
    ]
    scores = list(dict.fromkeys(round(value, 4) for value in values if 0 < value <= 1))
    plain, strict = (imaginations[0], imaginations[-1]) if imaginations else (None, None)
    filters = ("all", "confirmed")
    return (
        Setting(0.0, "all", plain),
        *([Setting(0.0, "all", strict)] if strict != plain else []),
        *(Setting(score, kind, strict) for kind in filters for score in scores),  # type: ignore[arg-type]
    )


def check_labels(
    captions: Sequence[str], keys: Sequence[str], truth: ById[Iterable[str]], groups: Sequence[str] | None
) -> None:
    """Refuse captions and labels that do not fit together."""
    if not captions:
        raise InputError("a policy needs captions to be fitted on, got none; give captions of labelled images")
    if len(keys) != len(captions) or (groups is not None and len(groups) != len(captions)):
        raise SettingsError(
            f"one image key (and group) per caption is needed, got {len(captions)} captions, {len(keys)} keys"
            + (f" and {len(groups)} groups" if groups is not None else "")
        )
    labelled = dict.fromkeys(image_key(key) for key in truth)
    if not labelled:
        raise InputError("a policy needs labelled images, got no labels; check the file of labels")
    missing = list(dict.fromkeys(key for key in keys if key not in labelled))
    if len(missing) == len(set(keys)):
        raise InputError(
            f"no caption is of a labelled image: the labels name images such as {next(iter(labelled))!r}, the "
            f"captions {missing[0]!r}; use the same names in both"
        )
    if missing:
        raise InputError(
            f"{len(missing)} images have captions and no labels, such as {missing[0]!r}; label them (an empty list "
            "where there is no object), or leave their captions out"
        )


def check_path(path: Sequence[Setting], captions: Mapping[Any, Sequence[object]]) -> None:
    if len(set(path)) < len(path):
        raise SettingsError("the path names a setting twice; name each once, from plain to strictest")
    if len({len(texts) for texts in captions.values()}) != 1:
        raise SettingsError(
            "captions of every imagination setting must be of the same images, in the same order; "
            "caption the same images"
        )
    for setting in path:
        if setting.imagination not in captions:
            have = ", ".join(str(key) for key in captions)
            raise SettingsError(
                f"the path has the imagination setting {setting.imagination}, and captions were given for {have}; add "
                "captions made with it"
            )


def checked_units(counter: LossCounter, outcomes: Sequence[Sequence[Outcome]]) -> np.ndarray:
    """Boolean mask of the units that could be checked at every setting."""
    failed = {i for one in outcomes for i, outcome in enumerate(one) if outcome.error}
    checked = np.array([not failed & set(members) for members in counter.members])
    if not checked.any():
        reason = next(outcome.withheld for outcome in outcomes[0] if outcome.error)
        raise InputError(f"no image could be checked ({reason}); correct the captions or the detector")
    return checked


def mean_of(values: Iterable[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return round(sum(known) / len(known), 6) if known else None


def agreements_of(counter: LossCounter, outcomes: Sequence[Outcome], checked: np.ndarray) -> tuple[float, ...]:
    """One detector score per checked unit, from its first caption, as the monitor of shifts uses it."""
    firsts = (outcomes[members[0]].agreement for members, good in zip(counter.members, checked, strict=True) if good)
    return tuple(score for score in firsts if score is not None)
