"""Inputs written after public bug reports: denials, restrictions, likenesses, homographs, label names, lists.

Each row is one case of a kind. The objects are all that the image holds; a right answer is often the unchanged text.
"""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from halluguard.records import apply_edits

SAME = "the text as it was"

# kind, text, what is there, right answers (any of them)
CASES = [
    # E: a true denial is no claim that the thing is there
    ("E", "The dog is not visible.", [], [SAME]),
    ("E", "The dog is not visible.", ["dog"], ["The dog is visible.", "A dog is visible."]),
    ("E", "A cat is nowhere to be seen.", ["dog"], [SAME]),
    ("E", "Not a single dog is present.", ["cat"], [SAME]),
    ("E", "Hardly any people are there.", ["cat"], [SAME]),
    ("E", "The image fails to show a dog.", ["car"], [SAME]),
    ("E", "It is unclear whether there is a dog.", ["cat"], [SAME]),
    ("E", "- **Dogs:** none\n- **Cars:** 2", ["car"], [SAME]),
    ("E", '{"dog": 0, "cat": 1}', ["cat"], [SAME]),
    # F: "no other people" is not "no people"
    ("F", "A skier glides down the slope. There are no other people in sight.", ["person", "skis"], [SAME]),
    ("F", "There is a cat, and there is no other animal.", ["cat"], [SAME]),
    ("F", "There are no people other than the surfer.", ["person", "surfboard"], [SAME]),
    ("F", "There are no additional people.", ["person"], [SAME]),
    ("F", "A woman chops vegetables. There are no people sitting at the table.", ["person", "dining table"], [SAME]),
    # G: a denial turned round inflects its verb
    ("G", "We won't find a dog here.", ["dog"], ["We will find a dog here."]),
    ("G", "The image does not contain any cars.", ["car"], ["The image contains some cars."]),
    # H: what a picture, screen or likeness shows is not in the scene
    ("H", "The poster shows a cat and a dog.", [], [SAME]),
    ("H", "The painting on the wall depicts a horse.", ["person"], [SAME]),
    ("H", "A cup with a cat printed on it is on the table.", ["cup", "dining table"], [SAME]),
    ("H", "The hydrant is painted to resemble a train.", ["fire hydrant"], [SAME]),
    ("H", "A zebra is a type of wild horse that is native to Africa.", ["zebra"], [SAME]),
    ("H", "The word 'cat' is written on the wall.", ["dog"], [SAME]),
    ("H", "The TV screen shows a man playing tennis.", ["tv"], [SAME]),
    # I: homographs and brand names
    ("I", "A red Ford Mustang is parked on the street.", ["car"], [SAME]),
    ("I", "A bottle of Grey Goose and a can of Monster are on the counter.", ["bottle"], [SAME]),
    ("I", "Donald Duck and Bugs Bunny are printed on the cup.", ["cup"], [SAME]),
    ("I", "A train of camels crosses the desert.", [], [SAME]),
    ("I", "A hawk, a kite and an eagle sit on branches.", ["bird"], [SAME]),
    ("I", "A fork in the road.", [], [SAME]),
    ("I", "Zebras live in small herds led by a dominant male.", ["zebra"], [SAME]),
    # J: hyphenated names
    ("J", "A child hugs a teddy-bear.", ["person", "teddy bear"], [SAME]),
    ("J", "A hot-dog lies on a bench.", ["hot dog", "bench"], [SAME]),
    # K: label names written together
    ("K", "A potted plant stands on the dining table.", ["pottedplant", "diningtable"], [SAME]),
    ("K", "A traffic light and a fire hydrant.", ["trafficlight", "firehydrant"], [SAME]),
    # L: lists and casing around a cut
    ("L", "Oxen and dogs pull carts.", ["cow"], ["Oxen pull carts."]),
    ("L", "A hawk, a cat and an eagle sit on branches.", ["bird"], ["A hawk and an eagle sit on branches."]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "objects", "right"), CASES, ids=[f"{k}-{t[:40]}" for k, t, *_ in CASES])
def test_reported_inputs_get_their_right_value(kind, text, objects, right):
    answer = correct(text, 1, KnownObjects({1: objects}))
    assert apply_edits(text, answer.edits) == answer.text
    assert answer.text in [text if value == SAME else value for value in right]


def test_every_kind_of_reading_is_here():
    assert {kind for kind, *_ in CASES} == set("EFGHIJKL")
