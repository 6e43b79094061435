import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference_data():
    """Published captions, answers and what the official code gives on them."""
    folder = os.environ.get("HALLUGUARD_REFERENCE_DATA")
    if not folder:
        pytest.skip("HALLUGUARD_REFERENCE_DATA names no folder with the reference data")
    return Path(folder)


@pytest.fixture(scope="session")
def nltk_with_data():
    nltk = pytest.importorskip("nltk")
    try:
        nltk.pos_tag(nltk.word_tokenize("a dog."))
        nltk.corpus.wordnet.ensure_loaded()
    except LookupError:
        pytest.skip("nltk's data (wordnet, punkt_tab, averaged_perceptron_tagger_eng) are not on its search path")
    return nltk


@pytest.fixture
def write_lines(tmp_path):
    """Write rows as JSON lines; a string is written as it is."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text(
            "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8"
        )
        return path

    return write
