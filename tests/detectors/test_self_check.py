"""A model that is asked about its own objects is a detector like any other."""

import pytest

from halluguard import Guard, correct, sandbox
from halluguard.detectors.self_check import SelfCheck
from halluguard.errors import SettingsError


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


@pytest.fixture(scope="module")
def expert(loaded):
    return SelfCheck(*loaded)


def test_what_is_there_scores_higher_than_what_is_not(expert):
    scene = sandbox.scenes(1)[0]
    absent = next(name for name in ("elephant", "dog", "cup") if name not in scene.names)
    ((there, missing),) = expert.detect([scene.image], [[scene.names[0], absent]])
    assert there.phrase == 0
    assert missing.phrase == 1
    assert there.xyxy is None
    assert there.score > missing.score


def test_its_score_is_that_of_the_yes_no_margin(loaded, expert):
    scene, name = sandbox.scenes(1)[0], "bus"
    ((box,),) = expert.detect([scene.image], [[name]])
    margin = Guard(*loaded).margins([scene.image], f"Is there a {name} in the image?")[0]
    assert (box.score > 0.5) == (margin > 0)


def test_it_corrects_alone_and_through_a_guard(loaded, expert):
    scene = sandbox.scenes(1)[0]
    absent = next(
        name for name in ("elephant", "bus", "cow") if expert.detect([scene.image], [[name]])[0][0].score < 0.4
    )
    answer = correct(f"There is a {scene.names[0]}. There is a {absent}.", scene.image, expert)
    assert answer.text == f"There is a {scene.names[0]}."
    assert answer.verdicts[0].expert.startswith("self-check:")
    assert Guard(*loaded, detector=expert)(scene.image).verdicts


def test_a_question_without_a_name_is_refused(loaded):
    with pytest.raises(SettingsError, match="name"):
        SelfCheck(*loaded, question="Is it there?")
    assert not SelfCheck(*loaded).covers("7")
