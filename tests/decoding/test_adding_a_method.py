"""A method is one new file: it is found, named, and in the tables of the docs without an edit elsewhere."""

import importlib.util
import sys
from pathlib import Path

from halluguard import decoding
from halluguard.decoding import METHODS, DecodingMethod, methods

ROOT = Path(__file__).parents[2]

MINE = '''
from dataclasses import dataclass
from typing import ClassVar

from halluguard.decoding.base import Cost, DecodingMethod, Preset
from halluguard.decoding.setting_checks import check_alpha
from halluguard.decoding.negative_inputs import NoImage


@dataclass(frozen=True)
class Mine(DecodingMethod):
    """Contrast with the prompt without its image."""

    PRESETS: ClassVar = {"off": Preset({"alpha": 0.0}), "paper": Preset({"alpha": 2.0}, "table 1")}
    reference = "Nobody 2030. Code: none"
    cost = Cost(branches=2)

    alpha: float = 1.0

    def __post_init__(self):
        check_alpha(self.alpha)

    @property
    def negative_branches(self):
        return (NoImage(),)

    def combine_logits(self, branches, step):
        return branches[0] + self.alpha * (branches[0] - branches[1]), None
'''


def load(path):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load(ROOT / "benchmarks" / "method_tables.py")


def test_a_new_file_is_found_by_name_and_in_the_tables(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    found = decoding._find_methods()
    assert set(found) == {*METHODS, "Mine"}
    monkeypatch.setattr(decoding, "METHODS", found)
    assert decoding.get_method("Mine:paper").alpha == 2.0
    assert "| Mine | 2 | 1 | 0 | nothing |" in tables.costs(found)
    assert "### Mine\n\nNobody 2030. Code: none.\n" in tables.presets(found)
    assert "| paper | alpha 2 | table 1 |" in tables.presets(found)


def test_the_shipped_methods_are_exported_with_their_types():
    assert all(getattr(decoding, name) is cls for name, cls in METHODS.items())
    assert set(METHODS) | {"METHODS", "DecodingMethod", "get_method"} == set(decoding.__all__)
    assert all(issubclass(cls, DecodingMethod) for cls in METHODS.values())


def test_docs_papers_is_made_from_the_methods():
    text = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert tables.page(text) == text, "run: python benchmarks/method_tables.py"
