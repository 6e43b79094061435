"""docs/limits.md names the limits of the code, with their values."""

import importlib
import re
from pathlib import Path

import pytest

ROWS = re.findall(
    r"\| `([\w.]+)\.(\w+)` \| ([\d,]+) \|", (Path(__file__).parents[1] / "docs" / "limits.md").read_text()
)


@pytest.mark.parametrize(("module", "name", "value"), ROWS, ids=[row[1] for row in ROWS])
def test_the_page_has_the_value_of_the_code(module, name, value):
    assert getattr(importlib.import_module(module), name) == int(value.replace(",", ""))


def test_the_page_has_every_limit():
    assert len(ROWS) >= 18
