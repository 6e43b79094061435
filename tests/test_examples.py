"""The examples run as they stand, offline, on the sandbox, and print something to judge."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script, *arguments, folder):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
    )


def test_the_scene_of_the_first_example_shows_what_each_layer_does(tmp_path):
    done = run("mitigate.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    plain, grounded, corrected = [line.partition(":")[2] for line in done.stdout.splitlines()[:3]]
    absent = [[name for name in ("tv", "bottle", "pizza") if name in text] for text in (plain, grounded, corrected)]
    assert len(absent[0]) > len(absent[1]) > len(absent[2]) == 0


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("conversations.py", (), "A clip of eight frames"),
        ("compare_decoding.py", ("--methods", "VCD", "Nonsense"), "a decoding method is expected"),
    ],
)
def test_the_example_runs(script, arguments, told, tmp_path):
    done = run(script, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
