"""The methods under the laws: every class of `halluguard.decoding.METHODS`, found by its file."""

import pytest
import torch

from halluguard.decoding import METHODS
from halluguard.decoding.methods.vti import Directions

# Settings that change the answer of a tiny random model, where the defaults are too weak, or need what it lacks
# (a processor, pictures).
STRONG = {
    "AGLA": {"alpha": 4.0, "beta": 0.01},
    "Contrast": {"alpha": 4.0},
    "ICD": {"alpha": 4.0, "instruction": [20, 21, 22, 23]},
    "Imagination": {"imagination": -1.0},
    "M3ID": {"forgetting": 0.5, "gate": 1.0},
    "ONLY": {"b": 3.0},
    "PlausibilityOnly": {"beta": 0.95},
    "RITUAL": {"transform": "vertical flip", "beta": 0.01},
    "TemperatureMatched": {"method": "AGLA"},
    "VCD": {"alpha": 2.0, "step": 900},
    "VDD": {"alpha": 2.0},
    "VISTA": {"lam": 0.5},
    "VTI": {"directions": Directions(torch.randn(3, 64, generator=torch.Generator().manual_seed(0))), "text": 4.0},
    "YesBias": {"bias": 9.0, "yes": [7]},
}


def pytest_generate_tests(metafunc):
    if "method_class" in metafunc.fixturenames:
        metafunc.parametrize("method_class", METHODS.values(), ids=METHODS)


@pytest.fixture
def method(method_class):
    return method_class(**STRONG.get(method_class.__name__, {}))


@pytest.fixture
def method_of_strength_zero(method_class):
    presets = method_class.PRESETS
    if method_class.__name__ == "Greedy":
        pytest.skip("greedy search has no strength")
    assert "off" in presets, f"{method_class.__name__} must have a preset 'off', at which it is plain generation"
    rest = {k: v for k, v in STRONG.get(method_class.__name__, {}).items() if k not in presets["off"]}
    return method_class(**{**rest, **presets["off"]})


@pytest.fixture(scope="session")
def tiny(architectures):
    return architectures.llava(layers=3)
