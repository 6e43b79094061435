"""Fixtures that tests of several folders share."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

with contextlib.suppress(ImportError):  # the same examples every time, where a run decides on a change
    from hypothesis import settings

    settings.register_profile("same", derandomize=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def architectures():
    """`benchmarks/architectures.py`: tiny random models of many families."""
    name = "benchmarks_architectures"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "benchmarks" / "architectures.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
