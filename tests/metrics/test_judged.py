"""Benchmarks with a judge of the caller's: HallusionBench, MMHal-Bench, CCEval. No verdict is ever guessed."""

import pytest

from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.metrics import cceval, hallusionbench, mmhal

# --- HallusionBench -------------------------------------------------------------------------------------------


def question(figure, number, said, category="VD", visual_input="1"):
    return {
        "category": category,
        "subcategory": "chart",
        "set_id": "0",
        "figure_id": str(figure),
        "question_id": str(number),
        "visual_input": visual_input,
        "question": "?",
        "gt_answer_details": "the truth",
        "model_prediction": said,
    }


def obeying(prompt):
    """A judge that replies with the given answer."""
    return prompt.rsplit("Given answer: ", 1)[1].split("\n")[0]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("Correct", "correct"), ("incorrect.", "incorrect"), ("Unclear", "unclear"), ("I cannot say", "unclear")],
)
def test_incorrect_is_looked_for_before_correct(reply, verdict):
    assert hallusionbench.read_verdict(reply) == verdict


def test_questions_figures_and_pairs_by_hand():
    rows = [
        question(0, 0, "correct"),
        question(0, 1, "correct"),
        question(1, 0, "correct"),
        question(1, 1, "incorrect"),
    ]
    score = hallusionbench.score(rows, obeying, judge_name="obeying", resamples=0)
    assert score["aAcc"] == 3 / 4
    assert score["fAcc"] == 1 / 2, "figure 0 is right, figure 1 is not"
    assert score["qAcc"] == 1 / 2, "question 0 is right on both figures"
    assert (score["easy"], score["hard"]) == (1, 1 / 2)


def test_not_knowing_is_right_without_a_figure():
    rows = [question(0, 0, "unclear", "VS"), question(1, 0, "unclear", "VS")]
    score = hallusionbench.score(rows, obeying, judge_name="obeying", resamples=0)
    assert score["aAcc"] == 1 / 2
    assert score["fAcc"] == 0
    assert score.counts["figures"] == 1, "no figure is no figure"


def test_what_is_easy_is_said_in_the_signature():
    rows = [question(2, 0, "correct", visual_input="1"), question(2, 1, "incorrect", visual_input="2")]
    by_input = hallusionbench.score(rows, obeying, judge_name="j", easy="visual_input", resamples=0)
    assert (by_input["easy"], by_input["hard"]) == (1, 0)
    assert "easy:visual_input" in by_input.signature
    with pytest.raises(SettingsError, match="easy must be"):
        hallusionbench.score(rows, obeying, judge_name="j", easy="both")  # type: ignore[arg-type]


def test_a_question_asked_twice_is_told():
    with pytest.raises(InputError, match="row 2 repeats VD_chart_0_0_0"):
        hallusionbench.score([question(0, 0, "correct")] * 2, obeying, judge_name="j")


def test_a_missing_field_is_told():
    row = question(0, 0, "correct")
    del row["figure_id"]
    with pytest.raises(InputError, match=r"row 1 must have .*figure_id"):
        hallusionbench.score([row], obeying, judge_name="j")


# --- MMHal-Bench ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Rating: 6", 6),
        ("rating: 0, no", 0),
        ("Rating: 5\nRating: 5", 5),
        ("Rating: 5 or Rating: 2", None),
        ("6", None),
    ],
)
def test_one_rating_or_none(reply, rating):
    assert mmhal.read_rating(reply) == rating


def test_ratings_by_hand():
    """Ten answers: the types turn every eight, an unread reply is 0, below 3 is a hallucination."""
    replies = [f"Rating: {n}" for n in (6, 6, 6, 6, 6, 6, 6, 6, 2)] + ["hard to say"]
    said = iter(replies)
    score = mmhal.score(["p"] * 10, lambda prompt: next(said), judge_name="fixed", resamples=0)
    assert score["score"] == 50 / 10
    assert score["hallucination_rate"] == 2 / 10
    assert score["score.attribute"] == (6 + 2) / 2
    assert score["score.adversarial"] == 6 / 2
    assert score.warnings == ("1 replies had no rating or several, and count as 0",)


def test_a_judge_that_says_nothing_is_an_error():
    with pytest.raises(ExpertError, match="correct the judge"):
        mmhal.score(["p"], lambda prompt: None, judge_name="mute")  # type: ignore[arg-type,return-value]
    with pytest.raises(InputError, match="at least one"):
        mmhal.score([], lambda prompt: "", judge_name="j")


# --- CCEval ---------------------------------------------------------------------------------------------------


class Judge:
    """Replies by what is asked, from three lists."""

    def __init__(self, objects, hallucinated, uncovered):
        self.replies = {"List the physical": objects, "Not in the image:": hallucinated, "Not named:": uncovered}

    def __call__(self, prompt):
        return next(reply for key, reply in self.replies.items() if prompt.startswith(key) or prompt.endswith(key))


def test_objects_and_coverage_by_hand():
    judge = Judge("[dog, ball]", "[ball, sky]", "[tree]")
    score = cceval.score(
        [(7, "A dog with a ball and a [kite]."), (8, "A dog with a ball.")],
        {7: ["dog", "tree"], 8: ["dog", "tree"]},
        judge,
        judge_name="lists",
        resamples=0,
    )
    assert score["CHAIRi"] == 2 / 5, "the bracketed kite is an object too"
    assert score["CHAIRs"] == 1
    assert score["coverage"] == 2 / 4
    assert score["objects_per_caption"] == 5 / 2
    assert any("sky" in warning for warning in score.warnings), "a word outside the list it chose from does not count"


def test_a_reply_without_a_list_is_an_error_not_an_empty_list():
    with pytest.raises(ExpertError, match="list in square brackets"):
        cceval.read_list("There are none.")
    assert cceval.read_list("Here: ['a dog', \"cat\"]") == ["a dog", "cat"]
    assert cceval.read_list("[]") == []


def test_images_are_matched_by_id():
    with pytest.raises(InputError, match="no objects on record for 9"):
        cceval.score([(9, "A dog.")], {7: ["dog"]}, Judge("[dog]", "[]", "[]"), judge_name="j")
    with pytest.raises(InputError, match="a second caption for 7"):
        cceval.score([(7, "A dog."), (7, "A dog.")], {7: ["dog"]}, Judge("[dog]", "[]", "[]"), judge_name="j")
