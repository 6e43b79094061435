"""Scores side by side: paired differences, p-values for many comparisons, tables that a paper can take as they are."""

import csv
import io
import random
import sys
from dataclasses import replace

import pytest

from halluguard.cli import main
from halluguard.errors import InputError
from halluguard.evaluation.comparing import compared, holm, table
from halluguard.metrics import mme, pope

OBJECTS = {number: ["dog", "cat", "car"] if number % 2 else ["bus", "cup", "bowl"] for number in range(1, 61)}
QUESTIONS = pope.build_questions(OBJECTS, "popular")


def scored(share_right, seed=1):
    draw = random.Random(seed)
    other = {"yes": "no", "no": "yes"}
    answers = {q.question_id: q.label if draw.random() < share_right else other[q.label] for q in QUESTIONS}
    return pope.score(QUESTIONS, answers, resamples=20)


@pytest.fixture(scope="module")
def scores():
    return {"plain": scored(0.8), "VCD & co_1": scored(0.95), "same": scored(0.8)}


def test_the_difference_is_that_of_the_scores_and_lies_in_its_interval(scores):
    rows = compared(scores, resamples=200)
    for row in rows:
        assert row.difference == pytest.approx(scores[row.run][row.value] - scores["plain"][row.value])
        assert row.low <= row.difference <= row.high
    assert {row.p for row in rows if row.run == "same"} == {1.0}
    assert next(row for row in rows if row.run == "VCD & co_1" and row.value == "acc").p < 0.05


def test_holm_is_the_textbook_s_and_never_below_the_raw_value():
    raw = [0.001, 0.02, 0.03, 0.5]
    assert holm(raw) == pytest.approx([0.004, 0.06, 0.06, 0.5])
    draw = random.Random(2)
    for _ in range(50):
        values = [draw.random() for _ in range(draw.randint(1, 9))]
        adjusted = holm(values)
        assert all(a >= v and a <= 1 for a, v in zip(adjusted, values, strict=True))
        assert sorted(range(len(values)), key=lambda i: (values[i], i)) == sorted(
            range(len(values)), key=lambda i: (adjusted[i], values[i], i)
        )


def test_the_three_forms_hold_the_same_numbers(scores):
    rows = compared(scores, resamples=200)
    markdown, latex = table(rows, "markdown"), table(rows, "latex")
    listed = list(csv.DictReader(io.StringIO(table(rows, "csv"))))
    assert len(listed) == len(rows) == 15
    accuracy = f"{100 * scores['VCD & co_1']['acc']:.1f}"
    assert f"**{accuracy}**" in markdown
    assert f"\\textbf{{{accuracy}}}" in latex
    assert "VCD \\& co\\_1" in latex
    assert "yes\\_ratio" in latex
    assert float(next(r for r in listed if r["run"] == "same" and r["value"] == "acc")["difference"]) == 0


def test_shares_are_in_percent_and_totals_as_they_are():
    """MME's total is at most 800; its accuracies are shares."""
    runs = {}
    for name, right in (("plain", 6), ("better", 9)):
        rows = [mme.Row("count", str(i), "?", label, label) for i in range(10) for label in ("yes", "no")]
        rows = [row if i < 2 * right else replace(row, answer="no") for i, row in enumerate(rows)]
        runs[name] = mme.score(rows, resamples=0)
    total = runs["better"]["total"]
    shown = table(compared(runs, resamples=100), "markdown")
    assert f" {total:.1f} (" in shown or f"**{total:.1f}** (" in shown
    assert f"{100 * runs['better']['count.acc']:.1f}" in shown
    assert f"{100 * total:.1f}" not in shown


def test_scores_that_do_not_belong_together_are_refused(scores):
    with pytest.raises(InputError, match="two scores or more"):
        compared({"plain": scores["plain"]})
    few = pope.score(QUESTIONS[:6], {q.question_id: "yes" for q in QUESTIONS[:6]}, resamples=0)
    with pytest.raises(InputError, match=r"same (settings|images)"):
        compared({"plain": scores["plain"], "few": few})


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["halluguard", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_line(scores, tmp_path, monkeypatch, capsys):
    files = []
    for name in ("plain", "same"):
        files.append(tmp_path / f"{name}.json")
        scores[name].save(files[-1])
    assert run(monkeypatch, "compare", *files, "--resamples", 50) == 0
    assert "| plain |" in capsys.readouterr().out
    assert run(monkeypatch, "compare", *files, "--format", "csv", "--out", tmp_path / "t.csv", "--resamples", 50) == 0
    assert (tmp_path / "t.csv").read_text().startswith("run,value")
    assert run(monkeypatch, "compare", *files, "--out", files[0]) == 3
    assert run(monkeypatch, "compare", files[0]) == 3
    assert run(monkeypatch, "compare", files[0], tmp_path / "none.json") == 3


@pytest.mark.parametrize("name", ["pope", "chair", "amber", "mme", "compare"])
def test_every_benchmark_has_its_help_under_one_command(name, monkeypatch, capsys):
    assert run(monkeypatch, name, "--help") == 0
    assert f"halluguard eval {name}" in capsys.readouterr().out


def test_names_and_options_that_are_none(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    assert run(monkeypatch, "bleu") == 2
    assert "expected one of pope" in capsys.readouterr().err
    assert run(monkeypatch, "pope", "--nonsense") == 2
    assert run(monkeypatch, "pope", "--answers", "none.jsonl", "--questions", "none.jsonl", "--json", "o.json") == 3
