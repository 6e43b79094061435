"""The methods under the laws: every class of `halluguard.decoding.METHODS`, at the strength that it states itself."""

import pytest

from halluguard.decoding import METHODS


def pytest_generate_tests(metafunc):
    if "method_class" in metafunc.fixturenames:
        metafunc.parametrize("method_class", METHODS.values(), ids=METHODS)


@pytest.fixture
def settings(method_class, tiny):
    return {**method_class.required_settings(tiny.model), **method_class.law_settings}


@pytest.fixture
def method(method_class, settings):
    return method_class(**settings)


@pytest.fixture
def method_of_strength_zero(method_class, settings):
    if method_class.__name__ == "Greedy":
        pytest.skip("greedy search has no strength")
    name = method_class.__name__
    assert "off" in method_class.PRESETS, f"{name} must have a preset 'off', at which it is plain generation"
    return method_class(**{**settings, **method_class.PRESETS["off"].settings})


@pytest.fixture(scope="session")
def tiny(architectures):
    return architectures.llava(layers=3)
