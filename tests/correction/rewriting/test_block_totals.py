"""Totals follow the items, rows and elements that were deleted, and whole entries go with what they are about."""

import json

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects


def without(text, absent, present, question=None):
    known = KnownObjects({1: present}, vocabulary={absent, *present})
    return correct(text, 1, known, question=question).text


def test_a_total_beside_an_array_counts_what_is_left():
    text = '{"objects": ["dog", "kite", "car"], "num_objects": 3, "total_frames": 3}'
    assert json.loads(without(text, "kite", ["dog", "car"])) == {
        "objects": ["dog", "car"],
        "num_objects": 2,
        "total_frames": 3,
    }


def test_a_total_that_was_wrong_before_stays():
    text = '{"objects": ["dog", "kite"], "total": 7}'
    assert json.loads(without(text, "kite", ["dog"])) == {"objects": ["dog"], "total": 7}


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "| Object | Count | Place |\n|---|---|---|\n| Dog | 3 | left |\n| Kite | 1 | held by the dog |\n| Total | 4 | |",
            "kite",
            "| Object | Count | Place |\n|---|---|---|\n| Dog | 3 | left |\n| Total | 3 | |",
        ),
        ("Objects (3):\n1. Dog\n2. Kite\n3. Car", "kite", "Objects (2):\n1. Dog\n2. Car"),
        (
            "objects:\n  - name: dog\n    color: brown\n  - name: kite\n    color: red\ncount: 2",
            "kite",
            "objects:\n  - name: dog\n    color: brown\ncount: 1",
        ),
        (
            "# Scene\n\n## Dog\nA dog sleeps.\n\n## Kite\nA kite is up. It has a tail. The frame is black.\n\n## Car\nA car.",
            "kite",
            "# Scene\n\n## Dog\nA dog sleeps.\n\n## Car\nA car.",
        ),
    ],
)
def test_structures_agree_with_what_is_left(text, absent, expected):
    assert without(text, absent, ["dog", "car"]) == expected


def test_a_boxed_yes_at_the_end_answers_the_question():
    text = "The image shows a street with houses.\n\n\\boxed{Yes}"
    assert without(text, "truck", ["house"], "Is there a truck in the image?").endswith("\\boxed{No}")
