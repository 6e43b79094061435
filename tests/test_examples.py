"""The examples run as they stand, offline, on the sandbox, and print something to judge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("mitigate.py", (), "grounded draft:"),
        ("conversations.py", (), "A clip of eight frames"),
        ("compare_decoding.py", ("--methods", "VCD", "Nonsense"), "a decoding method is expected"),
    ],
)
def test_the_example_runs(script, arguments, told, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
