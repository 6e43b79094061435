"""Every Python block of the documentation runs as it stands, offline, in an empty folder.

A block that cannot run here, because it names a large model, is marked as ```` ```text ```` or begins with the comment
`# not run:` and the reason.
"""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def cases():
    for page in sorted(DOCS.rglob("*.md")):
        if page.name == "extending.md":  # its blocks belong together: `test_extending.py`
            continue
        for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1):
            if not block.startswith("# not run:"):
                yield pytest.param(block, id=f"{page.relative_to(DOCS)}-{number}")


@pytest.mark.parametrize("block", cases())
def test_the_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(compile(block, "a block of the docs", "exec"), {"__name__": "__main__"})


def test_the_map_of_the_code_names_files_that_exist():
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`(halluguard/[^`]+)`", page)
    assert paths
    assert [path for path in paths if not (DOCS.parent / path).exists()] == []
