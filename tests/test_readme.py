"""The README's Python runs as it stands, offline."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_the_block_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(compile(block, str(README), "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_first_block_shows_an_edit(capsys):
    exec(BLOCKS[0], {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "A dog is sleeping on a couch."
    assert set(shown[1:]) >= {"dog supported", "cat contradicted", "couch supported"}
