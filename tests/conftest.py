"""What tests of several folders share."""

import importlib.util
import sys
from pathlib import Path

import pytest


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
