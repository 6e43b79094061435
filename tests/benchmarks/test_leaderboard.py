"""The page of published outputs: what is there is scored, what is missing is named."""

import gzip
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "leaderboard.py"


@pytest.fixture(scope="module")
def leaderboard():
    spec = importlib.util.spec_from_file_location("leaderboard", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_folder_with_one_file_gives_a_page(leaderboard, tmp_path, monkeypatch):
    (tmp_path / "captions").mkdir()
    rows = [{"image_id": image, "caption": text} for image, text in ((1, "A dog and a cat."), (2, "A bus."))]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / leaderboard.CAPTIONS[0].file).write_text(lines, encoding="utf-8")
    for name in (leaderboard.PATTERN, leaderboard.WORDNET):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            json.dump({"1": ["dog"], "2": ["bus"]}, file)
    monkeypatch.setattr(leaderboard, "PROTOCOLS", ("pattern", "fixed"))
    monkeypatch.setattr("sys.argv", ["leaderboard.py", str(tmp_path), "--write", str(tmp_path / "page.md")])
    leaderboard.main()
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| LLaVA-1.5-7B, greedy | OPERA | 2 | fixed | 50.0 [" in page
    assert "marine/captions_plain.jsonl.gz (MARINE, github:Linxi-ZHAO/MARINE) was not there" in page


@pytest.mark.reference
def test_the_committed_page_is_what_the_command_gives(leaderboard):
    """Only the rows of the fixed protocol, which needs no data of nltk, are scored again."""
    folder = os.environ.get("HALLUGUARD_REFERENCE_DATA")
    if not folder:
        pytest.skip("HALLUGUARD_REFERENCE_DATA names no folder with the reference data")
    run = leaderboard.CAPTIONS[3]
    score = leaderboard.captioned(Path(folder), run, "fixed", 0)
    row = leaderboard.caption_table({(run, "fixed"): score}).splitlines()[2]
    assert row in (SCRIPT.parents[1] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
