"""Published answer files of DASH-B and HumbleBench: the authors' counts, what nobody may guess, what is refused."""

import json

import pytest

from halluguard.cli import main
from halluguard.errors import InputError
from halluguard.metrics import dash_b, humblebench


def dash_rows(yes_right=1158, no_right=354, each=1341):
    """Answers with the counts of the published results file of PaliGemma-3B."""
    rows = [dash_b.Row(f"p{i}.png", "banana", "yes", "yes" if i < yes_right else "no") for i in range(each)]
    return rows + [dash_b.Row(f"n{i}.png", "banana", "no", "no" if i < no_right else "yes") for i in range(each)]


def humble(answer, label="B", kind="object", number=1):
    return humblebench.Row(str(number), str(number), kind, label, answer)


# --- laws -----------------------------------------------------------------------------------------------------


def test_dash_b_gives_the_published_values_from_their_counts():
    score = dash_b.score(dash_rows(), resamples=0)
    assert score["acc"] == pytest.approx(0.5637583892617449)
    assert score["TNR"] == pytest.approx(0.2639821029082774)
    assert score["TPR"] == pytest.approx(0.8635346756152126)
    assert score["harmonic_mean"] == pytest.approx(0.40435353858172646)


def test_saying_yes_always_has_no_harmonic_mean():
    score = dash_b.score([dash_b.Row(row.image, row.object, row.label, "Yes.") for row in dash_rows()], resamples=0)
    assert (score["acc"], score["TPR"], score["TNR"], score["harmonic_mean"]) == (0.5, 1, 0, 0)


def test_saying_none_always_is_right_exactly_where_none_is():
    rows = [humble("E", label, "relation", i) for i, label in enumerate("ABEEC")]
    score = humblebench.score(rows, resamples=0)
    assert (score["accuracy"], score["none"], score["says_none"]) == (0.4, 1, 1)


# --- tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("I cannot tell", "no"),  # the official rule finds "no" in "cannot"
        ("Unclear", None),
        ("<think>no, or yes</think>No", "no"),
        ("", None),
    ],
)
def test_dash_b_reads_as_its_authors_do(answer, read):
    assert dash_b.read(answer) == read


def test_the_modern_parser_does_not_find_no_in_cannot():
    assert dash_b.read("I cannot tell", "modern") is None


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("B", "B"),
        ("b)", "B"),
        ("The answer is C.", "C"),
        ("A dog, so B", None),  # the article counts as a letter, by the official rule
        ("E. None of the above", "E"),
        ("None of the above", None),
        ("<think>A or B?</think>\\boxed{D}", "D"),
    ],
)
def test_humblebench_reads_one_letter(answer, read):
    assert humblebench.read(answer) == read


# --- errors ---------------------------------------------------------------------------------------------------


def test_bad_rows_are_refused():
    with pytest.raises(InputError, match="got two about"):
        dash_b.score([*dash_rows(1, 1, 1), *dash_rows(1, 1, 1)])
    with pytest.raises(InputError, match="must be yes or no"):
        dash_b.score([dash_b.Row("a.png", "dog", "maybe", "yes")])
    with pytest.raises(InputError, match="A to E"):
        humblebench.score([humble("B", label="F")])
    with pytest.raises(InputError, match="must be one of"):
        humblebench.score([humble("B", kind="colour")])
    with pytest.raises(InputError, match="twice; correct"):
        humblebench.score([humble("B"), humble("C")])
    for metric in (dash_b, humblebench):
        with pytest.raises(InputError, match="at least one answer"):
            metric.score([])


def test_unread_answers_are_counted_and_wrong():
    score = dash_b.score([dash_b.Row("a.png", "dog", "no", "Maybe.")], resamples=0)
    assert score["acc"] == 0
    assert score.warnings == ("answers with neither yes nor no, counted as wrong: 1",)


# --- end to end -----------------------------------------------------------------------------------------------


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["halluguard", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_commands_score_files(tmp_path, monkeypatch, capsys):
    dash, humble_file = tmp_path / "dash.json", tmp_path / "humble.jsonl"
    dash.write_text(
        json.dumps(
            [{"img_id": "1.png", "object_name": "dog", "gt": "no", "response": "Yes.", "answer": "yes"}], indent=1
        ),
        encoding="utf-8",
    )
    humble_file.write_text('{"question_id": 1, "label": "E", "type": "Object", "prediction": "E"}\n', encoding="utf-8")
    assert not run(monkeypatch, "dash-b", "--answers", dash, "--json", tmp_path / "d.json")
    assert "baseline: always no | 100.0" in capsys.readouterr().out
    assert not run(monkeypatch, "humblebench", "--answers", humble_file, "--json", tmp_path / "h.json")
    assert "none          100.0" in capsys.readouterr().out
    humble_file.write_text('{"question_id": 1, "label": "E", "type": "Object"}\n', encoding="utf-8")
    assert run(monkeypatch, "humblebench", "--answers", humble_file, "--json", tmp_path / "h2.json")
    assert "line 1" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["-1", "0", "many"])
def test_a_limit_is_a_whole_number_from_one(limit, tmp_path, monkeypatch, capsys):
    answers = ["--answers", tmp_path / "none.json", "--json", tmp_path / "score.json"]
    assert run(monkeypatch, "dash-b", *answers, "--limit", limit) == 2
    assert "at least 1" in capsys.readouterr().err
