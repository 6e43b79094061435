"""Cuts that do not read well give way to wider ones, and what stays agrees with what is left."""

import pytest

from halluguard.correction import correct
from halluguard.correction.claims import extract
from halluguard.detectors.precomputed import KnownObjects


def without(text, *absent):
    """The text corrected by a detector that knows all its objects to be there, but those absent."""
    named = {claim.name for claim in extract(text) if claim.kind == "existence"}
    gone = {name for name in named if name.split()[-1] in absent} | set(absent)
    return correct(text, 1, KnownObjects({1: sorted(named - gone)}, vocabulary=named | gone)).text


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "A black car is parked here, while a pedestrian with a child walks through the archway, looking up.",
            "archway",
            {
                "A black car is parked here, while a pedestrian with a child walks, looking up.",
                "A black car is parked here, while a pedestrian with a child walks.",
                "A black car is parked here. There is a pedestrian with a child.",
            },
        ),
        ("The door's presence adds depth. A cat sits on a chair.", "door", {"A cat sits on a chair."}),
        ("The dog's bowl is full.", "dog", {"The bowl is full."}),
        (
            "Two boys and a kite are on the beach. The boys hold it by a string.",
            "kite",
            {"Two boys are on the beach."},
        ),
        ("A cat and a dog are on the rug. Both are asleep.", "cat", {"A dog is on the rug."}),
        (
            "There are three animals: a cat, a dog and a horse.",
            "dog",
            {"There are two animals: a cat and a horse."},
        ),
        ("A horse, a cow, and a pig stand behind the fence.", "horse", {"A cow and a pig stand behind the fence."}),
        ("A duck and a goose swim near a boat.", "duck", {"A goose swims near a boat."}),
        (
            "The man wearing a hat and the woman with a scarf are talking.",
            "hat",
            {"The man and the woman with a scarf are talking."},
        ),
        (
            "The horse on the left is larger than the cow on the right.",
            "horse",
            {
                "There is a cow on the right.",
                "The horse on the left is larger than the cow on the right.",
            },  # or flagged
        ),
        (
            "The base of the monument is multi-tiered and adorned with several dark plaques.",
            "plaque",
            {"The base of the monument is multi-tiered."},
        ),
        ("Water is essential for hydration. A dog runs.", "water", {"Water is essential for hydration. A dog runs."}),
    ],
)
def test_the_smallest_sound_cut_is_taken(text, absent, expected):
    assert without(text, absent) in expected
