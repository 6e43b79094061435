"""The methods under the laws: every class of `halluguard.decoding` that has `.on`."""

import importlib.util
import sys
from pathlib import Path

import pytest

import halluguard.decoding
from halluguard.decoding import VCD, Imagination

# Each method: settings that have an effect on a tiny random model, and those of strength zero.
SETTINGS = {
    Imagination: ({"imagination": -1.0}, {"imagination": 0.0}),
    VCD: ({"alpha": 2.0, "step": 900}, {"alpha": 0.0}),
}
EVERY_METHOD = [cls for cls in map(halluguard.decoding.__dict__.get, halluguard.decoding.__all__) if hasattr(cls, "on")]


def pytest_generate_tests(metafunc):
    if "method_class" in metafunc.fixturenames:
        metafunc.parametrize("method_class", EVERY_METHOD, ids=lambda cls: cls.__name__)


@pytest.fixture
def method(method_class):
    return method_class(**SETTINGS[method_class][0])


@pytest.fixture
def method_of_strength_zero(method_class):
    return method_class(**SETTINGS[method_class][1])


@pytest.fixture(scope="session")
def tiny():
    name = "benchmarks_architectures"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "benchmarks" / "architectures.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name].llava(layers=3)
