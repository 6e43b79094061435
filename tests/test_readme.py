"""The Python blocks of the README run as they stand, offline."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


BLOCKS = blocks((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_block_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(compile(block, "a page", "exec"), {})
    shown = capsys.readouterr().out
    assert shown.strip()
    assert "USER:" not in shown, "the prompt is printed with the answer"


def test_the_first_block_shows_an_edit(capsys):
    exec(BLOCKS[0], {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "A dog is sleeping on a couch."
    assert set(shown[1:]) >= {"dog supported", "cat contradicted", "couch supported"}
