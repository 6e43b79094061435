"""Records: exact, frozen, and the same after JSON."""

import dataclasses
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from halluguard import Answer, Box, Claim, Edit, InputError, Verdict, correct
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import OutputError
from halluguard.records import Question, apply_edits

CLAIM = Claim("count", "two dogs", "dog", 0, 8, count=2)


def test_an_answer_survives_json():
    answer = Answer(
        "two dogs",
        "a dog",
        question="How many?",
        claims=(CLAIM,),
        verdicts=(Verdict(0, "contradicted", 0.8, evidence=(Box("dog", 0.9, (0, 1, 2, 3), 0),), expert="e"),),
        edits=(Edit(0, 8, "two dogs", "a dog", (0,), "one found"),),
        timings={"detect": 0.1},
        settings={"seed": 0},
    )
    assert Answer.from_json(answer.to_json()) == answer


def test_a_question_survives_json():
    box = Box("cup", 0.9, (0, 1, 2, 3))
    question = Question("relation", "cup", "on", box, "table", Box("table", 0.8))
    assert Question.from_json(question.to_json()) == question


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLAIM.name = "cat"


@pytest.mark.parametrize(
    "build",
    [
        lambda: Box("dog", 1.5),
        lambda: Box("dog", float("nan")),
        lambda: Claim("wish", "dog", "dog", 0, 3),
        lambda: Claim("existence", "dog", "dog", 3, 3),
        lambda: Verdict(0, "maybe"),
        lambda: Box.from_dict({"label": "dog", "score": 1, "colour": "red"}),
        lambda: Question("count", "dog", "two"),
        lambda: Question("relation", "dog", "left of"),
        lambda: apply_edits("a dog", [Edit(2, 5, "cat", "")]),
        lambda: apply_edits("a dog", [Edit(2, 5, "dog", ""), Edit(0, 1, "a", "")]),
    ],
)
def test_what_cannot_be_true_is_refused(build):
    with pytest.raises(InputError):
        build()


@given(st.text(min_size=1), st.data())
def test_edits_replay_to_the_text_they_describe(draft, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(draft)), min_size=2, max_size=6, unique=True)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    edits = [Edit(a, b, draft[a:b], data.draw(st.text(max_size=3))) for a, b in spans]
    expected = draft
    for edit in reversed(edits):
        expected = expected[: edit.start] + edit.after + expected[edit.end :]
    assert apply_edits(draft, edits) == expected
    assert apply_edits(draft, []) == draft


def test_a_claim_of_two_subjects_has_a_title_without_the_other():
    """Its phrase is a piece of the answer: "dog and a cat are sleeping"."""
    detector = KnownObjects({"photo.jpg": ["dog", "couch"]})
    claims = correct("A dog and a cat are sleeping on a couch.", "photo.jpg", detector).claims
    assert [claim.title for claim in claims[:3]] == ["dog", "cat", "couch"]
    assert {claim.title for claim in claims[3:]} == {"dog: sleeping", "cat: sleeping", "dog on couch", "cat on couch"}


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_an_answer_is_saved_whole_or_not_at_all(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"answer{suffix}"
    answer = Answer("A dog.", "A dog.", image=Image.new("RGB", (8, 8)))
    answer.save(path)
    before = path.read_bytes()
    assert before

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        dataclasses.replace(answer, text="Something else.").save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_half_a_surrogate_pair_can_be_saved(tmp_path, suffix):
    path = tmp_path / f"answer{suffix}"
    answer = Answer("A dog \ud83d.", "A dog \ud83d.", image=Image.new("RGB", (8, 8)))
    answer.save(path)
    assert path.read_text(encoding="utf-8")
    assert Answer.from_json(answer.to_json()) == answer
