"""Experts that know the answers beforehand."""

import pytest

from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import ExpertError, InputError
from halluguard.vocabulary import COCO, plural


def test_an_image_has_a_largest_number_of_names():
    assert KnownObjects({1: ["dog"] * 10_000}).detect([1], [["dog"]])[0]
    with pytest.raises(InputError, match="at most 10,000 names of image 1, got 10,001"):
        KnownObjects({1: ["dog"] * 10_001})


def test_a_message_that_quotes_a_long_value_is_short():
    with pytest.raises(InputError) as refused:
        KnownObjects({1: [0] * 1_000_000})
    assert len(str(refused.value)) < 5_000
    assert str(refused.value).endswith("make it a list")


def found(objects, *phrases):
    (boxes,) = KnownObjects({1: objects}).detect([1], [phrases])
    return [phrases[box.phrase] for box in boxes]


@pytest.mark.parametrize("name", COCO)
def test_each_category_is_known_in_singular_and_plural(name):
    expert = KnownObjects({1: [name]})
    assert expert.covers(name)
    assert expert.covers(plural(name))
    assert found([name], name, plural(name)) == [name, plural(name)]


@pytest.mark.parametrize(
    ("listed", "claimed", "there"),
    [
        ("person", "man", True),
        ("couch", "sofa", True),
        ("tv", "television", True),
        ("bus", "vehicle", True),
        ("dog", "animal", True),
        ("person", "dog", False),
        ("bus", "car", False),
        ("cup", "bottle", False),
    ],
)
def test_a_listed_object_speaks_for_synonyms_and_wider_words(listed, claimed, there):
    assert (found([listed], claimed) == [claimed]) is there


def test_a_finer_word_is_answered_by_the_list_s_own_words():
    """A list that could have said 'man' and says 'woman' does not show a man."""
    expert = KnownObjects({1: ["woman"], 2: ["man"]}, vocabulary=["man", "woman", "person"])
    assert expert.detect([1, 2], [["man"], ["man"]])[0] == []
    assert expert.detect([1, 2], [["man"], ["person"]])[1][0].label == "man"


@pytest.mark.parametrize("phrase", ["unicorn", "sky", "happiness", ""])
def test_words_outside_the_vocabulary_are_not_covered(phrase):
    assert not KnownObjects({1: ["dog"]}).covers(phrase)


def test_an_unlisted_image_is_an_error_and_an_empty_one_is_not():
    expert = KnownObjects({"1": []})
    assert expert.detect([1], [["dog"]]) == [[]]
    with pytest.raises(ExpertError, match="not among them"):
        expert.detect([2], [["dog"]])


def test_a_string_in_place_of_a_list_is_refused():
    with pytest.raises(InputError, match="list of names"):
        KnownObjects({1: "dog"})


@pytest.mark.parametrize(
    ("names", "phrase", "score"),
    [
        (["pottedplant", "diningtable"], "potted plant", 1.0),
        (["black dog"], "dog", 1.0),
        (["Red Leather Handbag"], "handbag", 1.0),
        (["firehydr ##ant"], "fire hydrant", 1.0),
        (["chair table"], "chair", 0.275),
        (["chair table", "chair"], "chair", 1.0),
        (["N/A"], "dog", None),
    ],
)
def test_names_are_read_however_they_are_written(names, phrase, score):
    boxes = KnownObjects({1: names}).detect([1], [[phrase]])[0]
    assert [box.score for box in boxes] == ([] if score is None else [score])


def test_an_image_with_a_piece_of_a_word_is_an_error_and_other_languages_are_refused():
    with pytest.raises(ExpertError, match="piece of a word"):
        KnownObjects({1: ["##hy"]}).detect([1], [["dog"]])
    with pytest.raises(InputError, match="English"):
        KnownObjects({1: ["Hund"], 2: ["Katze"]})
