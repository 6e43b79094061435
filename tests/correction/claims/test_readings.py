"""Words that could name a thing and do not here, and the other way round: general statements, names, parts, homographs."""

import pytest

from halluguard.correction.claims import extract


def names(text):
    return [c.name for c in extract(text) if c.kind == "existence"]


@pytest.mark.parametrize(
    "text",
    [
        "Water is essential for hydration.",
        "Dobermans are known for their loyalty, making them excellent guard dogs.",
        "Dogs are often used in police work.",
        "You can use a map to find your way.",
    ],
)
def test_general_statements_and_advice_name_nothing(text):
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog is often walked in the park.", ["dog", "park"]),
        ("Two dogs are used in the scene.", ["dog"]),
        ("You can see a dog on the lawn.", ["dog", "lawn"]),
        ("A typical kitchen with a stove is shown.", ["kitchen", "stove"]),
    ],
)
def test_what_is_said_of_this_image_is_no_general_statement(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One cat is curled up with a remote beside it.", ["cat", "remote"]),
        ("The background features flames and smoke.", ["flame", "smoke"]),
        ("Ancient gravestones dot grassy field.", ["gravestone", "field"]),
        ("A silver can with a red design is visible.", ["can"]),
        ("The person is surrounded by a dense forest of pine trees.", ["person", "forest", "pine tree"]),
        ("His feet rest on a stool.", ["foot", "stool"]),
        ("A pole 20 feet high.", ["pole"]),
        ("Concrete steps lead to the door.", ["step", "door"]),
        ("They stand in front of a backdrop.", ["backdrop"]),
        ("A basketball flies towards the hoop.", ["basketball", "hoop"]),
        ('A large "living wall" or vertical garden.', ["wall", "garden"]),
        ("He wears a hat, a scarf, and black gloves.", ["hat", "scarf", "glove"]),
        ('alt="A duck beside a boat."', ["duck", "boat"]),
    ],
)
def test_things_that_the_tagger_or_a_stop_list_hid_are_read(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is adorned with a blue and white lattice pattern.", []),
        ("The atmosphere is a testament to the town's rich history.", []),
        ("High-key lighting fills the mid-ground.", []),
        ("Keywords: pub, The Cock, street lighting", ["pub"]),
        ("The grid has five rows and five columns.", []),
        ("The scene is dominated by greens and browns.", []),
        ("The text tells of a pedestrian area.", []),
    ],
)
def test_modifiers_names_and_grids_name_nothing(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Nouns that the tagger takes for verbs, adjectives or names, and the reverse.
        ("The image features a man in suit and tie, giving a talk.", ["man", "suit", "tie"]),
        ("The image features a red and white Virgin train traveling down the tracks.", ["train", "track"]),
        ("Brick base. Large glass windows on the right side.", ["window"]),
        ("A silver railing on its side.", ["railing"]),
        ("The second fruit is an orange, positioned in the middle of the row.", ["fruit", "orange"]),
        ("Further back, a low, arched bridge spans a section of the water.", ["bridge", "water"]),
        ("The dog is resting on the floor indoors.", ["dog", "floor"]),
        ("Each section contains rows and individual seats.", ["seat"]),
        ("One individual stands there.", ["individual"]),
        ("A dog with a small white and orange cat.", ["dog", "cat"]),
        ("Two platforms, each housing a different chair.", ["platform", "chair"]),
        ("A kitchen with an oven and sink.", ["kitchen", "oven", "sink"]),
        ("Title: descriptive and concrete.", []),
        ("Title: The Cock Inn, Hitchin, England", ["inn"]),
    ],
)
def test_words_that_only_look_like_another_part_of_speech(text, expected):
    assert names(text) == expected
