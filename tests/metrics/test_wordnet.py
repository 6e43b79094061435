"""The wordnet protocol says what it lacks, and never fetches it."""

import subprocess
import sys

import pytest

CODE = """
import sys
from halluguard.errors import MissingExtraError
from halluguard.metrics import chair
try:
    chair.mentions("A dog.", "wordnet")
except MissingExtraError as error:
    print(error)
"""


def test_missing_data_are_named_with_the_way_to_get_them(tmp_path):
    nltk = pytest.importorskip("nltk")
    assert nltk
    env = {"NLTK_DATA": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env)
    if not run.stdout:
        pytest.skip("nltk's data are installed where every process finds them")
    assert "nltk.download" in run.stdout
    assert "'pattern' needs no data" in run.stdout


@pytest.mark.reference
def test_verbs_become_objects_as_in_opera(nltk_with_data):
    from halluguard.metrics.wordnet import lemmas

    assert lemmas("two women seated near buses.") == ["two", "woman", "seat", "near", "bus", "."]
