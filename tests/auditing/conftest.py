"""Small inputs on the spot: captions about pictures whose objects are known."""

import gzip
import json

import pytest

CAPTIONS = [
    {"image_id": 1, "caption": "A dog and a cat sit on a bench.", "source": "web", "stars": 4},
    {"image_id": 2, "caption": "Two people ride horses.", "source": "né", "stars": 5},
    {"image_id": 1, "caption": "There is a dog.", "source": "web", "stars": 1},
]
OBJECTS = {"1": ["dog", "bench"], "2": ["person", "horse"]}


@pytest.fixture
def objects_file(tmp_path):
    path = tmp_path / "objects.json.gz"
    path.write_bytes(gzip.compress(json.dumps(OBJECTS).encode()))
    return path


@pytest.fixture
def captions_file(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in CAPTIONS), encoding="utf-8")
    return path


@pytest.fixture
def read_lines():
    def read(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

    return read
