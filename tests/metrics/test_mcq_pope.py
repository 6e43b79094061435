"""MCQ-POPE: four letters, what is read as one of them, and questions made from POPE's own."""

import json
import random

import pytest

from halluguard.cli import main
from halluguard.errors import InputError
from halluguard.metrics import mcq_pope
from halluguard.metrics.pope_questions import Question, ask


def row(answer, label="B", number=1, **more):
    return mcq_pope.Row(str(number), str(number), label, answer, **more)


# --- laws -----------------------------------------------------------------------------------------------------


def test_a_constant_letter_has_the_accuracy_of_its_share_and_a_quarter_of_its_f1():
    rows = [row("A", label, i) for i, label in enumerate("AABCDDCB")]
    score = mcq_pope.score(rows, resamples=0)
    assert score["accuracy"] == 0.25
    assert score["macro_f1"] == pytest.approx((2 * 2 / (8 + 2)) / 4)


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = random.Random(0)
    labels = [rng.choice("ABCD") for _ in range(200)]
    answers = [label if rng.random() < 0.6 else rng.choice(["A", "B", "C", "D", "?"]) for label in labels]
    score = mcq_pope.score([row(a, x, i) for i, (a, x) in enumerate(zip(answers, labels, strict=True))], resamples=0)
    assert score["macro_f1"] == pytest.approx(f1_score(labels, answers, labels=list("ABCD"), average="macro"))
    assert score.counts["unread"] == answers.count("?")


def test_kinds_have_an_accuracy_of_their_own():
    rows = [row("B", kind="present"), row("C", number=2, kind="absent"), row("B", number=3, kind="absent")]
    score = mcq_pope.score(rows, resamples=0)
    assert (score["present"], score["absent"]) == (1, 0.5)


def test_questions_are_made_by_the_rule_of_the_paper():
    objects = {"yes": ["dog", "cat", "cup"], "no": ["bus", "car", "bed"]}
    asked = [
        Question(str(i), "7.jpg", ask(name), label)
        for i, (label, name) in enumerate((label, name) for label, names in objects.items() for name in names)
    ]
    rows = mcq_pope.build_questions(asked, seed=3)
    assert [r["question_id"] for r in rows] == [q.question_id for q in asked]
    for made, question in zip(rows, asked, strict=True):
        right = made["options"]["ABCD".index(made["label"])]
        others = {*made["options"]} - {right}
        assert right == question.object
        assert others == {*objects["no" if question.label == "yes" else "yes"]}
        assert f"{made['label']}. {right}" in made["text"]
    assert mcq_pope.build_questions(asked, seed=3) == rows
    with pytest.raises(InputError, match="three questions of each label"):
        mcq_pope.build_questions(asked[:5])


# --- tables ---------------------------------------------------------------------------------------------------

OPTIONS = ("cat", "dog", "bus", "cup")


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("B", "B"),
        (" b)", "B"),
        ("(C) bus", "C"),
        ("**D**", "D"),
        ("The answer is C.", "C"),
        ("Answer: A", "A"),
        ("The answer is (B) dog, not A.", "B"),
        ("A dog is there, so B", "B"),
        ("A", "A"),
        ("A or B", None),
        ("It is a dog.", "B"),
        ("A cat and a dog", None),
        ("None of them", None),
        ("", None),
        ("<think>A? No, C.</think>D", "D"),
        ("<think>It must be A", None),
        ('{"answer": "C"}', "C"),
        ("\\boxed{B}", "B"),
    ],
)
def test_a_letter_is_read_where_one_is_stated(answer, read):
    assert mcq_pope.read(answer, OPTIONS) == read


# --- errors ---------------------------------------------------------------------------------------------------


def test_bad_rows_are_refused_and_unread_answers_are_counted():
    with pytest.raises(InputError, match="label from A to D"):
        mcq_pope.score([row("B", "E")])
    with pytest.raises(InputError, match="and 'colour'"):
        mcq_pope.score([row("B", kind="colour")])
    with pytest.raises(InputError, match="got 1 twice; score one file"):
        mcq_pope.score([row("B"), row("C")])
    with pytest.raises(InputError, match="at least one answer"):
        mcq_pope.score([])
    score = mcq_pope.score([row(""), row("B", number=2)], resamples=0)
    assert score["accuracy"] == 0.5
    assert score.warnings == ("answers with no letter from A to D or with several, counted as wrong: 1",)


# --- end to end -----------------------------------------------------------------------------------------------


def test_the_command_scores_a_file(tmp_path, monkeypatch, capsys):
    file = tmp_path / "answers.jsonl"
    rows = [
        {"question_id": i, "image": "1.jpg", "label": label, "kind": "present", "options": OPTIONS, "said": "the dog"}
        for i, label in enumerate("BBC")
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    arguments = ["--answers", str(file), "--answer-key", "said", "--json", str(tmp_path / "s.json")]
    monkeypatch.setattr("sys.argv", ["halluguard", "eval", "mcq-pope", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "accuracy       66.7" in shown
    assert "baseline: always B | 66.7" in shown
    assert "mcq_pope|forms:final|split:given|n:1|" in shown
