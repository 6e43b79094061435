"""Editing by rules: lists, phrases, clauses, sentences, and what must never get lost."""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from halluguard.records import apply_edits


def corrected(text, *objects, question=None):
    answer = correct(text, 1, KnownObjects({1: objects}), question)
    assert apply_edits(text, answer.edits) == answer.text
    return answer.text


@pytest.mark.parametrize(
    ("text", "objects", "expected"),
    [
        ("There is a dog, a cat, and a bird.", ["dog", "bird"], "There is a dog and a bird."),
        ("A fork and a knife are on the counter.", ["knife"], "A knife is on the counter."),
        ("A dog, a cat, a horse and a bird are here.", ["dog", "cat", "bird"], "A dog, a cat and a bird are here."),
        ("The kitchen has many items, including a cup.", ["person"], "The kitchen has many items."),
        ("A man is sitting on a bench.", ["person"], "A man is sitting."),
        ("A table, which is covered with bowls, is here.", ["dining table"], "A table is here."),
        ("A man wearing a tie and a backpack.", ["person", "tie"], "A man wearing a tie."),
        ("The scene is nice. There are two dogs.", [], "The scene is nice."),
        ("A man stands. There is a car. It is red.", ["person"], "A man stands."),
        ("The dog's bowl is full.", ["bowl"], "The bowl is full."),
    ],
)
def test_smallest_edit(text, objects, expected):
    assert corrected(text, *objects) == expected


def test_a_true_object_is_stated_again_rather_than_lost():
    assert corrected("There are two bottles on the table.", "dining table") == "There is a table."


def test_bytes_outside_the_edits_stay():
    text = "# Things\r\n\r\n- A  dog 🐕\r\n- a cat\r\n- **A bird**!\n"
    assert corrected(text, "dog", "bird") == "# Things\r\n\r\n- A  dog 🐕\r\n- **A bird**!\n"
