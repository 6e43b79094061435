"""A cut takes nothing true with it and leaves nothing that hangs in the air; where it would, the words are flagged."""

import pytest

from halluguard.correction import correct
from halluguard.correction.claims import extract
from halluguard.detectors.precomputed import KnownObjects
from tests.absent_objects import without


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "A street runs through the scene, with several cars visible on it.",
            "car",
            "A street runs through the scene.",
        ),
        # what a list shares stays
        ("A sofa stands there, with a lamp and a vase in the background.", "vase", "with a lamp in the background"),
        ("They work near a truck and some crates in the distance.", "crate", "near a truck in the distance."),
        (
            "The bare branches frame the view, while the white fence and green lawn add to the charm of the scene.",
            "fence",
            "while the green lawn adds to the charm",
        ),
        ("The backdrop is a wide stretch of sand and tall palms.", "sand", "stretch of tall palms."),
        ("A woman, dressed in a grey coat and red scarf, waits.", "scarf", "A woman, dressed in a grey coat, waits."),
        # what a part of a body does goes with it
        ("A boy waits on the steps with his head down.", "head", "A boy waits on the steps."),
        ("A dog lies on the rug with its paws up.", "paw", "A dog lies on the rug."),
        # a caption without a verb keeps its noun
        ("A close view of a white horse that is standing near a fence.", "fence", "A close view of a white horse"),
        # pronouns that point at nothing go with their phrase
        ("Two dogs are asleep. Both are brown. Two bowls stand on the floor behind them.", "dog", "on the floor."),
        (
            "A man waits at the door. The wall is bright, in contrast to his hat.",
            "man",
            "The wall is bright",
        ),
        # phrases that say nothing alone
        ("A horse grazes, creating a contrast between the animal and a modern car.", "car", "A horse grazes."),
        ("The ground is blanketed in leaves, with two mushrooms beside a log.", "leaf", "mushrooms"),
        # the relative clause goes, not the sentence
        (
            "The presence of a drum, which is a toy of the child, along with a flute, suggests music.",
            "toy",
            "The presence of a drum, along with a flute, suggests music.",
        ),
    ],
)
def test_a_clean_cut_keeps_what_is_true(text, absent, expected):
    answer = without(text, absent)
    assert expected in answer.text
    assert absent not in answer.text


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("There are no leaves on the trees and a grey sky.", "tree"),
        ("The tool is a hammer, and it appears to rest on a stone.", "hammer"),
    ],
)
def test_what_cannot_be_cut_cleanly_is_flagged_and_left(text, absent):
    answer = without(text, absent)
    assert answer.text == text
    assert {edit.decision for edit in answer.edits} == {"flagged"}


def test_a_thing_that_is_flagged_once_is_not_cut_later():
    text = "The image shows a tall guard at a gate. He holds a spear, and the gate is open. The guard looks at a horse."
    answer = without(text, "guard")
    flagged = [edit for edit in answer.edits if edit.decision == "flagged"]
    assert not flagged or (answer.text == text and len(flagged) == text.count("guard"))


def test_what_is_stated_again_keeps_its_fullest_words():
    text = "Two cats sleep on a bright green sofa. Two toys lie on the sofa between them."
    assert without(text, "cat", "toy").text == "There is a bright green sofa."


def test_a_mix_of_one_thing_is_not_left():
    answer = without("The path is made of a mix of gravel and old planks.", "gravel")
    assert answer.text == answer.draft or "mix" not in answer.text


def test_the_image_shows_no_bare_scene():
    text = "The image shows a kitchen scene with a kettle hung on a tiled wall."
    assert "shows a scene." not in without(text, "kitchen", "kettle").text


def test_a_modal_verb_is_no_can():
    assert not any(claim.name == "can" for claim in extract("A dog runs. This can be seen by its legs."))
    assert any(claim.name == "can" for claim in extract("A red can stands on the table."))


@pytest.mark.parametrize("verb", ["shared", "uploaded", "shown"])
def test_an_image_that_the_reader_sent_is_the_image(verb):
    (claim, *_) = [c for c in extract(f"You've {verb} an image of a dog on a sofa.") if c.name == "dog"]
    assert claim.modality == "asserted"


def test_a_denial_of_a_list_keeps_its_other_members():
    assert "grey sky" in without("There are no leaves on the trees and a grey sky.", "tree").text


def test_a_possessive_of_a_person_far_above_is_not_left():
    text = "A woman smiles at the camera. It is sunny. It is hard to tell what her plan is."
    answer = without(text, "woman", "person")
    assert answer.text == text or "her" not in answer.text.split()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are no people in sight.", "There are people in sight."),
        (
            "The street is quiet, with no visible people, adding to the calm.",
            "The street is quiet, adding to the calm.",
        ),
        ("The street is quiet, with no traffic or people.", "The street is quiet, with no traffic."),
        ("old house, no people, grey sky, pavement", "old house, grey sky, pavement"),
    ],
)
def test_a_false_denial_goes_with_its_phrase(text, expected):
    assert correct(text, "1", KnownObjects({"1": ["person"]})).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "The photo lacks any people.",
        "The image is devoid of people.",
        "* **People:** None visible\n* **Sky:** grey",
        "A quiet beach without people, umbrellas or boats.",
        "A table with no people, cars or plates.",
    ],
)
def test_a_false_denial_that_has_no_clean_cut_is_flagged(text):
    answer = correct(text, "1", KnownObjects({"1": ["person", "dining table"]}))
    assert answer.text == text
    assert [(edit.before.lower(), edit.decision) for edit in answer.edits] == [("people", "flagged")]


def test_a_sentence_that_was_flagged_is_not_deleted_as_one_that_follows_another():
    text = (
        "The image depicts a whimsical scene featuring a dog. The dog appears to be lying on the floor with a somewhat "
        "cartoonish expression. Its eyes are wide open, and its tongue is sticking out, holding an egg. A cup is nearby."
    )
    answer = correct(text, "1", KnownObjects({"1": ["cup"]}))
    assert "Its eyes" not in answer.text or "The dog" in answer.text


def test_a_denial_that_is_turned_names_its_thing():
    """So that a second pass finds nothing to change."""
    answer = correct(
        "There is a dog. No, there is no person. It may be a person.", "1", KnownObjects({"1": ["person"]})
    )
    assert answer.text == "No, there is a person."
