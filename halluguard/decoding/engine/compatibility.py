"""Differences between the supported versions of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CACHES = ("past_key_values", "cache", "cache_params")
"""Names of the cache among a model's inputs and outputs: from transformers 5.24 on, all are `cache`."""


def cache_name(inputs: Mapping[str, Any]) -> str | None:
    """The name under which `inputs` have a cache; None if they have none."""
    return next((name for name in CACHES if inputs.get(name) is not None), None)


def without_cache(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """All of `inputs` but the cache."""
    return {name: value for name, value in inputs.items() if name not in CACHES}
