"""The folder of an audit is a dataset: its card names the tables, and a card of somebody's own is left alone."""

import json

import pytest

from halluguard.auditing import audit
from halluguard.auditing.outputs.card import MARK


@pytest.fixture
def run(tmp_path, objects_file):
    rows = [{"image_id": 1, "caption": "A dog and a cat."}, {"image_id": 1, "caption": "A dog \ud83d\ude00."}]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit(tmp_path / "captions.jsonl", tmp_path / "out", detector=f"objects:{objects_file}")
    return tmp_path / "out"


def test_the_folder_loads_as_a_dataset(run, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    def load(*names):
        return datasets.load_dataset(str(run), *names, split="train", cache_dir=str(tmp_path / "cache"))

    captions, claims = load(), load("claims")
    assert captions["corrected"][:] == ["A dog.", "A dog \U0001f600."]
    assert captions["contradicted"][:] == [1, 0]
    assert claims["decision"][:] == ["supported", "contradicted", "supported"]
    assert claims["phrase"][:] == ["dog", "cat", "dog"]


def test_the_card_says_what_was_found_without_paths(run, tmp_path):
    card = (run / "README.md").read_text(encoding="utf-8")
    assert "2 rows, 2 audited, 0 skipped. Of 3 claims 2 are supported, 1 are contradicted" in card
    assert str(tmp_path) not in card


def test_a_card_of_somebodys_own_is_left_as_it_is(tmp_path, objects_file):
    (tmp_path / "captions.jsonl").write_text('{"image_id": 1, "caption": "A dog."}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    audit(tmp_path / "captions.jsonl", tmp_path / "out", detector=f"objects:{objects_file}")
    assert (tmp_path / "out" / "README.md").read_text() == "mine"
    assert MARK not in "mine"
