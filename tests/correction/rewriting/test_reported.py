"""Failures reported of published correctors and of earlier versions of this one, each with its right value."""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from halluguard.records import apply_edits

# text, objects of the image, what may come out ("=" for the text itself)
DENIALS = [
    ("The dog is not visible.", [], ["="]),
    ("The dog is not visible.", ["dog"], ["The dog is visible.", "="]),
    ("No, the dog is not visible in the image.", ["dog"], ["Yes, the dog is visible in the image."]),
    ("A cat is nowhere to be seen.", ["dog"], ["="]),
    ("Not a single dog is present.", ["cat"], ["="]),
    ("Hardly any people are there.", ["cat"], ["="]),
    ("The image fails to show a dog.", ["car"], ["="]),
    ("- **Dogs:** none\n- **Cars:** 2", ["car"], ["="]),
    # a restricted denial is judged only when its restriction is
    (
        "A skier glides down the slope. There are no other people in sight.",
        ["person", "skis"],
        ["="],
    ),
    ("There is a cat, and there is no other animal.", ["cat"], ["="]),
    ("There are no people other than the surfer.", ["person", "surfboard"], ["="]),
    ("There are no additional people.", ["person"], ["="]),
    ("A woman chops vegetables. There are no people sitting at the table.", ["person", "dining table"], ["="]),
    # a denial that is turned round keeps its grammar
    ("We won't find a dog here.", ["dog"], ["We will find a dog here."]),
    ("The image does not contain any cars.", ["car"], ["The image contains some cars."]),
    ("The scene did not include a bus.", ["bus"], ["The scene included a bus."]),
]

DEPICTED = [
    ("The poster shows a cat and a dog.", [], ["="]),
    ("The painting on the wall depicts a horse.", ["person"], ["="]),
    ("A cup with a cat printed on it is on the table.", ["cup", "dining table"], ["="]),
    ("The hydrant is painted to resemble a train.", ["fire hydrant"], ["="]),
    ("A zebra is a type of wild horse that is native to Africa.", ["zebra"], ["="]),
    ("The word 'cat' is written on the wall.", ["dog"], ["="]),
    ("The TV screen shows a man playing tennis.", ["tv"], ["=", "There is a TV screen."]),
    ('A dog stands under a sign that reads "FREE KITE".', ["dog"], ["="]),
]

NAMES = [
    ("A red Ford Mustang is parked on the street.", ["car"], ["="]),
    ("A bottle of Grey Goose and a can of Monster are on the counter.", ["bottle"], ["="]),
    ("Donald Duck and Bugs Bunny are printed on the cup.", ["cup"], ["="]),
    ("A train of camels crosses the desert.", [], ["="]),
    ("A hawk, a kite and an eagle sit on branches.", ["bird"], ["="]),
    ("A fork in the road.", [], ["="]),
    ("Zebras live in small herds led by a dominant male.", ["zebra"], ["="]),
    ("A child hugs a teddy-bear.", ["person", "teddy bear"], ["="]),
    ("A potted plant stands on the dining table.", ["pottedplant", "diningtable"], ["="]),
]

AROUND_A_CUT = [
    ("A **cat** and a **dog** sit on a couch.", ["dog", "couch"], ["A **dog** sits on a couch."]),
    ("A `cat` and a `dog` sit on a couch.", ["dog", "couch"], ["A `dog` sits on a couch."]),
    (
        '```json\n[{"label": "dog", "bbox_2d": [1,2,3,4]}, {"label": "cat", "bbox_2d": [5,6,7,8]}]\n```',
        ["dog"],
        ['```json\n[{"label": "dog", "bbox_2d": [1,2,3,4]}]\n```'],
    ),
    (
        "The street is busy, with dogs and houses seen behind the fence.",
        ["person"],
        ["The street is busy, with houses seen behind the fence."],
    ),
    (
        "A hawk, a cat and an eagle sit on branches.",
        ["bird"],
        ["A hawk and an eagle sit on branches."],
    ),
    ("Oxen and dogs pull carts.", ["cow"], ["Oxen pull carts."]),
    (
        "A dog and a cat and a dog and a cat and a dog and a cat.",
        ["dog"],
        ["A dog, a dog and a dog.", "A dog and a dog and a dog.", "A dog."],
    ),
]

ROWS = [*DENIALS, *DEPICTED, *NAMES, *AROUND_A_CUT]


@pytest.mark.parametrize(("text", "objects", "right"), ROWS, ids=[text[:60] for text, *_ in ROWS])
def test_a_reported_failure_stays_mended(text, objects, right):
    answer = correct(text, 1, KnownObjects({1: objects}))
    assert apply_edits(text, answer.edits) == answer.text
    assert answer.text in [text if value == "=" else value for value in right]
