"""`docs/extending.md`: every file it shows, put where it says, is found and works; nothing else is edited.

The package is linked file by file into a scratch folder. A block whose first line is a path is written there, and edits
that the page shows as a diff are made there. A block without a path then runs on that copy, in an empty folder and a
process of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").split("\n## ")[1:]
DIFF = re.compile(r"^```diff\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_the_example_works(section, tmp_path):
    package, empty = tmp_path / "halluguard", tmp_path / "empty"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "halluguard", package, copy_function=os.symlink, ignore=ignored)
    empty.mkdir()
    runs = []
    for block in BLOCK.findall(section):
        path = re.match(r"# (halluguard/\S+\.py)\n", block)
        if path is None:
            runs.append(block)
        else:
            assert not (tmp_path / path[1]).exists(), f"{path[1]} is a file of the package already"
            (tmp_path / path[1]).write_text(block, encoding="utf-8")
    for diff in DIFF.findall(section):
        apply_edits(diff, tmp_path)
    assert runs, "a section ends with a block that uses what it added"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(runs)],
        cwd=empty,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr


def apply_edits(diff, root):
    """Make the replacements of a diff block: under a line `--- path`, every `-` line becomes the `+` line after it."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, _, edits = part.partition("\n")
        text = (root / name).read_text(encoding="utf-8")
        for before, after in re.findall(r"^-(.*)\n\+(.*)$", edits, re.MULTILINE):
            assert text.count(before) == 1, f"{name} holds {before!r} {text.count(before)} times"
            text = text.replace(before, after)
        (root / name).unlink()
        (root / name).write_text(text, encoding="utf-8")
