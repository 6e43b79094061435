"""Cuts that leave one of several things, wider places, sorts of people, denials: what stays must still be true."""

import pytest

from halluguard.correction import correct
from halluguard.detectors.precomputed import KnownObjects
from tests.absent_objects import without


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("A red car and a blue truck are parked side by side.", "truck", "A red car is parked."),
        ("The room has a bed and a couch, each covered in dust.", "bed", "The room has a couch."),
        (
            "Parked at the curb are a red bus and a white truck, the latter with its doors open.",
            "truck",
            "Parked at the curb is a red bus.",
        ),
    ],
)
def test_words_for_several_things_go_with_all_but_one(text, absent, expected):
    assert without(text, absent).text == expected


def test_the_other_stays_beside_the_one():
    text = "One cat is on the left side of the blanket and the other is on the right side."
    assert without(text, "blanket").text == "One cat is on the left side and the other is on the right side."


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        ("A man sits on a bench in a park near a fountain.", "bench", "A man sits in a park near a fountain."),
        ("Two cats are sleeping on a blanket on a red couch.", "blanket", "Two cats are sleeping on a red couch."),
        ("A book lies on a table in the kitchen.", "table", "A book lies in the kitchen."),
    ],
)
def test_a_wider_place_stays_without_the_place_in_it(text, absent, expected):
    assert without(text, absent).text == expected


def test_a_denial_does_not_widen_beyond_what_was_said():
    text = "A dog sleeps. The cat is not sitting on the couch."
    answer = correct(text, 1, KnownObjects({1: ["dog", "cat"]}))
    assert "is not sitting." not in answer.text


def test_a_window_with_a_sign_on_it_does_not_rest_on_another_thing():
    text = "There is also a fan in the center of the image, and a door with a window that has a sign on it."
    assert without(text, "fan").text == "There is also a door with a window that has a sign on it."


def test_animals_without_a_plural_ending_are_read_as_subjects():
    assert without("Sheep graze in the field. A barn is here.", "sheep").text == "A barn is here."


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("Is there a dog?", "I see a cat on a couch. Therefore, yes.", "I see a cat on a couch. Therefore, no."),
        (
            "Is there a dog?",
            "I see a cat on a couch. So the answer is: yes, there is a dog.",
            "I see a cat on a couch. So the answer is: no, there is no dog.",
        ),
        ("Are there any dogs?", "Yes, there are two dogs: one brown and one white.", "No, there is no dog."),
    ],
)
def test_an_answer_after_its_reasons_is_judged(question, text, expected):
    objects = KnownObjects({1: ["cat", "couch"]})
    assert correct(text, 1, objects, question=question).text == expected


def test_a_kind_is_not_cut_out_of_what_is_said_of_it():
    text = "A dog and a hedgehog are here. Hedgehogs are small mammals that are popular as pets."
    assert without(text, "mammal").text == text


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        (
            "A cat is here. There are also some flowers near a window.",
            "cat",
            "There are some flowers near a window.",
        ),
        (
            "The picture shows a picturesque beach scene with a man and a dog.",
            "beach",
            "The picture shows a picturesque scene with a man and a dog.",
        ),
        (
            "A skateboarder performs a trick on a ramp while a cat watches, seemingly unimpressed.",
            "cat",
            "A skateboarder performs a trick on a ramp.",
        ),
    ],
)
def test_nothing_is_left_of_what_was_said_of_an_absent_thing(text, absent, expected):
    assert without(text, absent).text == expected


def test_a_woman_beside_a_man_is_not_lost():
    text = "A man pours coffee while a woman at the window looks at her phone."
    assert "woman" in without(text, "phone").text


def test_a_part_keeps_what_says_how_it_is_held():
    text = "A dog is here. The cat on the left has its head resting on a white remote control."
    assert "has its head." not in without(text, "control").text


def test_a_quotation_with_a_mark_does_not_tear_its_sentence():
    text = 'A bus is here. A truck is adorned with a flag with the phrase "USE IT NOW!" in bold black letters.'
    assert "in bold black letters" not in without(text, "truck", "flag").text


def test_apart_goes_with_what_it_sets_apart():
    text = "Apart from two boats moored here, the harbor is empty."
    assert without(text, "boat").text == "The harbor is empty."
