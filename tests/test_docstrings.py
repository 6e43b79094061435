"""Every example in a docstring gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import halluguard

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(halluguard.__path__, "halluguard.")
    if not info.name.endswith("__main__") and not info.name.startswith("halluguard.sandbox.train")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
