"""Check the settings of decoding methods, and say what is allowed."""

from __future__ import annotations

import math

from halluguard.errors import SettingsError


def check_range(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False, advice: str
) -> None:
    """Raise SettingsError unless a setting is in [low, high], or in (low, high] with `above`.

    >>> check_range("beta", 2.0, 0, 1, advice="use 0 to allow every token")
    Traceback (most recent call last):
    halluguard.errors.SettingsError: beta must be in [0, 1], got 2.0; use 0 to allow every token
    """
    if not low <= value <= high or (above and value == low):
        bounds = f"in {'(' if above else '['}{low}, {high}]"
        if high == math.inf:
            bounds = f"{'>' if above else '>='} {low}"
        raise SettingsError(f"{name} must be {bounds}, got {value}; {advice}")


def check_alpha(alpha: float, advice: str = "use 0 to switch the contrast off") -> None:
    """Raise SettingsError unless the strength of a contrast is >= 0."""
    check_range("alpha", alpha, 0, advice=advice)


def check_beta(beta: float) -> None:
    """Raise SettingsError unless a plausibility bound is in [0, 1]."""
    check_range("beta", beta, 0, 1, advice="use 0 to allow every token")


def check_whole(name: str, value: int, least: int, *, advice: str) -> None:
    """Raise SettingsError unless a setting is a whole number >= least."""
    if not (isinstance(value, int) and value >= least):
        raise SettingsError(f"{name} must be a whole number >= {least}, got {value}; {advice}")
