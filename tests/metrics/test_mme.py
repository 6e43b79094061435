"""MME by hand: four characters decide an answer, two answers an image."""

import pytest

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import mme


def pair(task, image, yes, no):
    return [mme.Row(task, image, "?", "yes", yes), mme.Row(task, image, "?", "no", no)]


@pytest.mark.parametrize(
    ("answer", "official", "lmms_eval", "vlmevalkit"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("No.", "no", "no", "no"),
        ("none", "no", "no", "other"),
        ("not sure", "no", "no", "other"),
        ("\n\n\nyes", "other", "yes", "yes"),
        ("The answer is no", "other", "other", "no"),
        ("y", "other", "yes", "other"),
        ("", "other", "other", "other"),
        ("Yes or no", "yes", "yes", "other"),
    ],
)
def test_three_ways_to_read_an_answer(answer, official, lmms_eval, vlmevalkit):
    read = [mme.parse(answer, parser) for parser in ("official", "lmms-eval", "vlmevalkit")]
    assert read == [official, lmms_eval, vlmevalkit]


def test_the_definition_by_hand():
    """existence: 3 of 4 questions, 1 of 2 images; count: all. Total 75 + 50 + 200."""
    rows = pair("existence", "a", "Yes", "No") + pair("existence", "b", "Yes", "Yes") + pair("count", "a", "yes", "no")
    score = mme.score(rows, resamples=0)
    assert score["existence.acc"] == 3 / 4
    assert score["existence.acc+"] == 1 / 2
    assert score["count.score"] == 200
    assert score["total"] == 325
    assert score.settings["split"] == "existence+count"


def test_one_answer_to_everything_gets_half_and_no_pair():
    rows = [row for i in range(5) for row in pair("color", str(i), "Yes", "Yes")]
    score = mme.score(rows, resamples=50)
    assert score["total"] == 50
    assert score.intervals["total"] == (50, 50)


def test_the_order_of_the_file_moves_nothing():
    rows = pair("count", "a", "Yes", "No") + pair("count", "b", "No", "No")
    assert mme.score(rows, resamples=20).intervals == mme.score(rows[::-1], resamples=20).intervals


@pytest.mark.parametrize("rows", [[], pair("count", "a", "Yes", "No")[:1], pair("count", "a", "Yes", "No") * 2])
def test_an_image_without_its_two_questions_is_told(rows):
    with pytest.raises(InputError, match="two questions"):
        mme.score(rows)


def test_an_unknown_parser_is_told():
    with pytest.raises(SettingsError, match="parser must be"):
        mme.parse("yes", "loose")  # type: ignore[arg-type]


def test_the_eval_tools_text_and_json_lines_are_one(tmp_path, write_lines):
    text = tmp_path / "existence.txt"
    text.write_text("1.jpg\tIs there a dog?\tYes\tYes\n1.jpg\tIs there a cat?\tNo\tno it is not\n", encoding="utf-8")
    lines = write_lines(
        [
            {"category": "existence", "image": "1.jpg", "question": "Is there a dog?", "gt": "Yes", "response": "Yes"},
            {
                "task": "existence",
                "image": "1.jpg",
                "question": "Is there a cat?",
                "label": "no",
                "answer": "no it is not",
            },
        ]
    )
    assert mme.read_rows_of(text) == mme.read_rows_of(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "at least one line"),
        ("1.jpg\tIs there a dog?\tYes\n", "line 1: expected image, question, label and answer"),
        ("1.jpg\tIs there a dog?\tMaybe\tYes\n", "line 1: label must be yes or no"),
    ],
)
def test_a_bad_text_file_is_told_with_its_line(tmp_path, content, message):
    path = tmp_path / "count.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        mme.read_rows_of(path)
