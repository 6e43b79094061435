"""POPE's answers under corrected labels: matching, counts, what the labels alone change, and orders that turn."""

import random
from dataclasses import replace

import pytest

from halluguard.errors import InputError
from halluguard.metrics import pope
from halluguard.metrics.pope import build_questions
from halluguard.metrics.pope_labels import flips, relabel, score_both
from halluguard.metrics.pope_questions import file_version, read_questions

OBJECTS = {number: ["dog", "cat", "car"] if number % 2 else ["bus", "cup", "bowl"] for number in range(1, 21)}


@pytest.fixture
def questions():
    return build_questions(OBJECTS, "popular")


def flipped(question):
    return replace(question, label="no" if question.label == "yes" else "yes")


def test_labels_are_matched_by_image_and_object_in_any_order_and_with_other_ids(questions):
    corrected = [flipped(questions[0]), *questions[2:]]
    shuffled = [replace(q, question_id=f"x{i}") for i, q in enumerate(corrected)]
    random.Random(1).shuffle(shuffled)
    labels = relabel(questions, shuffled)
    assert labels.to_no == ("1",)
    assert labels.to_yes == ()
    assert labels.dropped == ("2",)
    assert [q.question_id for q in labels.questions] == [q.question_id for q in questions if q.question_id != "2"]


def test_the_same_labels_change_nothing(questions):
    both = score_both(questions, questions, {q.question_id: "Yes" for q in questions}, resamples=20)
    assert both.original.values == both.corrected.values
    assert all(change["difference"] == 0 and change["interval"] == (0, 0) for change in both.changes.values())


def test_the_corrected_score_is_pope_s_own_on_the_kept_questions(questions):
    draw = random.Random(3)
    corrected = [flipped(q) if draw.random() < 0.2 else q for q in questions if draw.random() < 0.9]
    answers = {q.question_id: draw.choice(["Yes", "No", "Yes, there is."]) for q in questions}
    both = score_both(questions, corrected, answers, resamples=20)
    kept = {q.question_id: answers[q.question_id] for q in corrected}
    assert both.corrected.values == pope.score(corrected, kept, resamples=0).values
    change = both.changes["f1"]
    assert change["difference"] == pytest.approx(both.corrected["f1"] - both.original["f1"])
    assert change["interval"][0] <= change["difference"] <= change["interval"][1]


def test_an_order_that_turns_round_is_named(questions):
    sure = {q.question_id: q.label for q in questions}
    honest = sure | {questions[0].question_id: "no", questions[1].question_id: "yes"}
    corrected = [flipped(questions[0]), flipped(questions[1]), *questions[2:]]
    runs = {
        name: score_both(questions, corrected, answers, resamples=5)
        for name, answers in {"sure": sure, "honest": honest}.items()
    }
    assert flips(runs) == [("sure", "honest")]
    assert flips({"sure": runs["sure"], "again": runs["sure"]}) == []


def test_labels_of_another_file_are_refused(questions):
    with pytest.raises(InputError, match="another set of questions: 0 of the 0"):
        relabel(questions, [replace(questions[0], image="999")])
    names = "dog cat car bus cup bowl fork tie kite boat bed oven".split()
    objects = {image: random.Random(image).sample(names, 4) for image in range(20)}
    kinds = [build_questions(objects, kind) for kind in ("popular", "random")]
    with pytest.raises(InputError, match=r"another set of questions: \d+ of the 120"):
        relabel(*kinds)


def test_answers_to_a_part_of_the_images_are_scored_on_that_part(questions):
    labels = relabel(questions[:12], questions)
    assert labels.questions == questions[:12]


def test_a_question_labelled_in_two_ways_is_refused(questions):
    with pytest.raises(InputError, match="must be clear"):
        relabel(questions, [questions[0], flipped(questions[0])])


@pytest.mark.parametrize(
    ("kind", "kept", "to_no", "to_yes"),
    [("random", 2774, 139, 5), ("popular", 2727, 139, 39), ("adversarial", 2684, 139, 33)],
)
def test_repope_s_files_are_known_by_content_and_correct_pope_s(reference_data, kind, kept, to_no, to_yes):
    corrected = read_questions(reference_data / f"repope/coco_repope_{kind}.jsonl.gz")
    assert file_version(corrected) == f"coco-repope-{kind}"
    labels = relabel(read_questions(reference_data / f"pope/coco_pope_{kind}.json"), corrected)
    assert (len(labels.questions), len(labels.to_no), len(labels.to_yes)) == (kept, to_no, to_yes)
    assert len(labels.dropped) == 3000 - kept
