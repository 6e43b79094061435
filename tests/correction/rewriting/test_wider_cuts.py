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
    ("text", "objects", "expected"),
    [
        ("Nobody is using a phone.", "person", "Nobody is using a phone."),
        ("There is no one at the dining table, and no dog can be seen.", "person", "No dog can be seen."),
        ("Nobody sits on the bench in the park, but a man walks by.", "person", "A man walks by."),
        ("There is no dog on the couch, only a cat.", "cat", "There is no dog, only a cat."),  # no dog anywhere
        (
            "Neither the boy nor the girl is holding a phone, but the girl has a handbag.",
            "person",
            "Neither the boy nor the girl is holding a phone.",
        ),
    ],
)
def test_a_denial_never_denies_more_than_it_did(text, objects, expected):
    assert correct(text, 1, KnownObjects({1: [objects]})).text == expected


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


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("The shelf holds books, as well as cups and a clock.", "book", "The shelf holds cups and a clock."),
        ("A dog, along with a cat and a bird, sits on the mat.", "dog", "A cat and a bird sit on the mat."),
        ("A dog is here. It has a mane, as well as a star on its side.", "mane", "A dog is here. It has a star on its side."),
        ("Both cats are curled up with their tails tucked in.", "tail", "Both cats are curled up."),
        (
            "The closed eyes, furrowed brow, and hand resting on the chin suggest a sense of calm.",
            "hand",
            "The closed eyes and furrowed brow suggest a sense of calm.",
        ),
        (
            'They stand before a backdrop that features the text "2023" and the logo of a school.',
            "logo",
            'They stand before a backdrop that features the text "2023".',
        ),
    ],
)  # fmt: skip
def test_true_members_of_a_list_stay(text, absent, expected):
    assert without(text, absent) == expected


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "It is a basket or a bowl containing two pieces of orange fruit, possibly melons or cantaloupes.",
            "fruit",
            "It is a basket or a bowl.",
        ),
        ("Two cats sleep on a bed, one with a toy, the other with a collar.", "toy", "Two cats sleep on a bed."),
        (
            "Rafting might not be ideal directly near the dam due to safety concerns. A boat is here.",
            "dam",
            "Rafting might not be ideal due to safety concerns. A boat is here.",
        ),
        (
            "Both cats are sleeping on a pink blanket. One cat is on the left side of the blanket.",
            "cat",
            "There is a pink blanket.",
        ),
    ],
)
def test_what_belongs_to_a_deleted_word_goes_with_it(text, absent, expected):
    assert without(text, absent) == expected


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("I don't know who the artist is. The image shows a board.", "artist"),
        ("People create art like this for various reasons. A wall is here.", "person"),
    ],
)
def test_what_is_not_said_of_the_image_stays(text, absent):
    assert without(text, absent) == text
