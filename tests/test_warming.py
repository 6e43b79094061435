"""Two questions of a program: whether all is loaded before the first request, and whether an answer was checked."""

import pytest
from PIL import Image

import halluguard
from halluguard import Answer
from halluguard.detectors.precomputed import KnownObjects


class Counting:
    name, needs_image = "counting", True

    def __init__(self):
        self.images = []

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        self.images += images
        return [[] for _ in images]


def test_warming_up_asks_a_detector_once_about_a_blank_image():
    detector = Counting()
    halluguard.warm_up(detector)
    assert detector.images
    assert all(isinstance(image, Image.Image) for image in detector.images)


def test_warming_up_needs_no_detector_and_no_image():
    assert halluguard.warm_up() is None
    assert halluguard.warm_up(KnownObjects({})) is None


@pytest.mark.parametrize(("known", "checked"), [({"1": ["dog"]}, True), ({}, False)])
def test_an_answer_says_whether_an_expert_judged_it(known, checked):
    assert halluguard.correct("A dog and a cat.", "1", KnownObjects(known)).checked is checked


def test_an_answer_without_claims_was_not_checked():
    assert not Answer("Well.", "Well.").checked
