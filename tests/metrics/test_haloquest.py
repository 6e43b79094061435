"""HaloQuest: what is right without a judge, what goes to a judge, and what is refused."""

import json

import pytest

from halluguard.cli import main
from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.metrics import compare, haloquest

REFERENCES = ("The man is not wearing a hat", "There is no hat.")


def row(answer, kind="false premises", number=1):
    return haloquest.Row(str(number), f"{number}.png", kind, "What color is his hat?", REFERENCES, answer)


# --- laws -----------------------------------------------------------------------------------------------------


def test_without_a_judge_only_answers_that_equal_a_reference_are_right():
    rows = [
        row("there is no hat"),
        row("He wears none.", number=2),
        row("Red.", "visual challenge", 3),
        row("The man isn’t wearing hats", "insufficient context", 4),
    ]
    score = haloquest.score(rows, resamples=0)
    assert (score["exact"], score["exact.false_premise"], score["exact.visual_challenge"]) == (0.25, 0.5, 0)
    assert score["denied"] == 1, "of the two questions with a false premise"
    assert "accuracy" not in score.values
    assert "3 answers equal no reference" in score.warnings[0]


def test_a_judge_is_asked_only_about_what_equals_no_reference():
    asked = []

    def judge(prompt):
        asked.append(prompt)
        return "correct" if "none" in prompt else "incorrect"

    rows = [row("There is no hat"), row("He wears none.", number=2), row("Red", number=3), row("", number=4)]
    score = haloquest.score(rows, judge, judge_name="mine", resamples=0)
    assert len(asked) == 2
    assert "The man is not wearing a hat; There is no hat." in asked[0]
    assert (score["accuracy"], score["exact"]) == (0.5, 0.25)
    assert score.warnings == ("answers without a word outside their reasoning, counted as wrong: 1",)
    assert score.signature.startswith("haloquest|judge:mine|forms:final|n:4|")


def test_thoughts_are_neither_references_nor_denials():
    rows = [row("<think>No hat? There is one.</think>Red."), row("<think>There is no hat.", number=2)]
    score = haloquest.score(rows, resamples=0)
    assert (score["exact"], score["denied"], score.counts["unread"]) == (0, 0, 1)
    assert haloquest.score(rows, forms="raw", resamples=0)["denied"] == 1


def test_two_runs_are_compared_over_images():
    rows = [row("There is no hat", number=i) for i in range(20)]
    wrong = [row("Red", number=i) for i in range(20)]
    change = compare(haloquest.score(wrong, resamples=0), haloquest.score(rows, resamples=0), resamples=100)
    assert change["exact"]["difference"] == 1


# --- errors ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="must be one of"):
        haloquest.score([row("x", "riddle")])
    with pytest.raises(InputError, match="got 1 twice"):
        haloquest.score([row("x"), row("y")])
    with pytest.raises(InputError, match="at least one answer"):
        haloquest.score([])
    with pytest.raises(SettingsError, match="a judge needs a name"):
        haloquest.score([row("x")], lambda prompt: "correct")
    with pytest.raises(ExpertError, match="reply with text"):
        haloquest.score([row("x")], lambda prompt: None, judge_name="mine")


# --- end to end -----------------------------------------------------------------------------------------------

HEADER = ",image_name,url,image type,hallucination type,question,groundtruth responses,split"


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["halluguard", "eval", "haloquest", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_scores_the_published_table_with_a_column_of_answers(tmp_path, monkeypatch, capsys):
    file = tmp_path / "haloquest-eval.csv"
    lines = [
        f"{HEADER},prediction",
        "0,a.png,http://x/a.png,generated,false premises,What is on the mat?,There is no mat; no mat,eval,No mat.",
        "1,a.png,http://x/a.png,generated,visual challenge,How many legs?,Four; 4,eval,<think>5?</think>four",
        "2,b.png,http://x/b.png,real,insufficient context,Who took it?,It is not shown;,eval,A man",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert not run(monkeypatch, "--answers", file, "--json", tmp_path / "s.json")
    shown = capsys.readouterr().out
    assert "exact          66.7" in shown
    assert "| baseline: always denies | 0.0" in shown
    assert json.loads((tmp_path / "s.json").read_text())["questions"] == 3
    file.write_text("\n".join([HEADER, lines[1].rpartition(",")[0]]) + "\n", encoding="utf-8")
    assert run(monkeypatch, "--answers", file, "--json", tmp_path / "t.json")
    assert "line 2: expected the field 'prediction'" in capsys.readouterr().err
