"""Nothing true is lost: a sentence that cannot be cut without a loss is flagged, or dropped if the style says so."""

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.detectors.precomputed import KnownObjects


def corrected(text, *absent, style="delete"):
    """The answer corrected by an expert that knows all its objects to be there, but those absent."""
    named = {c.name for c in extract(text) if c.kind == "existence" and c.polarity == "asserted"}
    gone = {name for name in named if name in absent or name.split()[-1] in absent}
    return correct(text, 1, KnownObjects({1: sorted(named - gone)}, vocabulary=named | set(absent)), style=style)


LOSSES = [
    # sentence, absent, how it reads after style "drop"
    ("The blue sky is filled with kites. A man walks.", "kite", "A man walks."),
    ("A dog lies on the green grass. A man walks.", "dog", "A man walks."),
    (
        "Two tabby cats rest on a pink fabric, with remotes nearby; soft lighting and cozy setting.",
        "cat",
        "There are some remotes.",
    ),
    ("The glass building is a skyscraper, and the Tower Bridge is seen from it. A man walks.", "skyscraper", None),
]


@pytest.mark.parametrize(("text", "absent", "dropped"), LOSSES)
def test_a_sentence_is_flagged_where_something_true_would_be_lost(text, absent, dropped):
    answer = corrected(text, absent)
    assert answer.text == text
    assert [edit.decision for edit in answer.edits] == ["flagged"]
    assert "would be lost" in answer.edits[0].reason
    if dropped is not None:
        assert corrected(text, absent, style="drop").text == dropped


@pytest.mark.parametrize(
    ("text", "absent", "expected"),
    [
        # what is said of the absent thing goes with it
        ("Two cats lie on a red couch.", "cat", "There is a red couch."),
        ("A man reads. A brown dog lies on the floor, looking happy.", "dog", "A man reads."),
        ("A man reads. A lamp stands in the corner, adding a touch of warmth to the room.", "lamp", "A man reads."),
        ("A man reads. There is a bench, possibly for the players to rest.", "bench", "A man reads."),
        ("A man reads. The presence of a bus suggests that the street is in a busy area.", "bus", "A man reads."),
        ("The plate is placed on a table, creating a cozy and inviting atmosphere.", "table", "There is a plate."),
        # what is said of other things stays
        ("A man is smiling and wearing a hat.", "hat", "A man is smiling."),
        ("A giraffe and a zebra standing in a field.", "zebra", "A giraffe standing in a field."),
        ("A remote is positioned close to the couch, and a bowl is located nearby.", "bowl", None),
    ],
)
def test_what_is_said_of_an_absent_thing_goes_with_it(text, absent, expected):
    answer = corrected(text, absent)
    assert answer.text == (expected or "A remote is positioned close to the couch.")
    assert all(edit.decision != "flagged" for edit in answer.edits)


def test_a_thing_that_is_flagged_once_is_flagged_everywhere():
    text = "The blue sky is filled with kites. The kites are red. A dog and kites are in the picture."
    answer = corrected(text, "kite")
    assert answer.text == text
    assert [edit.before for edit in answer.edits if edit.decision == "flagged"] == ["kites", "kites", "kites"]
    assert "kites" not in corrected(text, "kite", style="drop").text


def test_other_absent_things_of_a_flagged_sentence_are_cut():
    text = "The blue sky is filled with kites. A man holds some kites and a cup."
    answer = corrected(text, "kite", "cup")
    assert answer.text == "The blue sky is filled with kites. A man holds some kites."


def test_numbers_of_what_is_known_are_no_loss():
    text = "A cat and a dog sleep. A lamp stands between the two animals."
    assert corrected(text, "lamp").text == "A cat and a dog sleep."
