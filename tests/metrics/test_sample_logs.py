"""Sample logs of lmms-eval and tables of VLMEvalKit: every form is read, and question sets are never mixed."""

import json
import sys
import zipfile

import pytest

from halluguard.cli import main
from halluguard.errors import InputError, MissingExtraError
from halluguard.metrics import UndefinedScoreWarning, mme, pope, workbooks
from halluguard.metrics.reading import read_captions, read_rows

SETS = ("adversarial", "popular", "random")


def pope_log(form="doc"):
    """A log of the three sets with the same ids, as lmms-eval writes POPE: one dog and no cat in image 42."""
    rows = []
    for category in SETS:
        for number, (name, label, answer) in enumerate((("dog", "yes", "Yes"), ("cat", "no", "No.")), start=1):
            question = f"Is there a {name} in the image?"
            doc = {"question_id": str(number), "question": question, "answer": label}
            doc |= {"image_source": "COCO_val2014_000000000042", "category": category}
            metric = {"question_id": str(number), "score": 1.0, "prediction": "other", "ground_truth": label}
            row = {"doc_id": len(rows), "target": label, "filtered_resps": [answer], "pope_accuracy": metric}
            if form == "doc":
                row |= {"doc": doc, "arguments": {"gen_args_0": {"arg_0": question}}, "resps": [[answer]]}
            elif form == "resps":
                row |= {"doc": doc, "resps": [[answer]]}
                del row["filtered_resps"]
            else:
                row |= {"input": f"{question}\nAnswer with one word."}
            rows.append(row)
    return rows


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["halluguard", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


# --- lmms-eval --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["doc", "resps"])
def test_one_set_of_a_log_is_read_with_its_questions(write_lines, form):
    questions, answers = pope.read_labelled(write_lines(pope_log(form)), "popular")
    assert [(q.image, q.object, q.label) for q in questions] == [
        ("COCO_val2014_000000000042", "dog", "yes"),
        ("COCO_val2014_000000000042", "cat", "no"),
    ]
    assert list(answers.values()) == ["Yes", "No."], "the response, never the metric's prediction"
    assert pope.score(questions, answers, resamples=0)["acc"] == 1


def test_a_log_without_the_benchmark_s_rows_is_read_with_its_targets(write_lines):
    questions, answers = pope.read_labelled(write_lines(pope_log("input")))
    assert len(questions) == len(answers) == 6
    assert questions[1].object == "cat"
    assert [q.label for q in questions[:2]] == ["yes", "no"]
    assert pope.score(questions, answers, resamples=0).counts["questions"] == 6


def test_question_sets_are_named_and_never_mixed(write_lines):
    path = write_lines(pope_log())
    with pytest.raises(InputError, match=r"3 question sets \(adversarial 2, popular 2, random 2\); read one of them"):
        pope.read_labelled(path)
    with pytest.raises(
        InputError, match=r"a second answer to question 1 of 2 question sets \(adversarial 2, popular 1"
    ):
        pope.read_answers(path)
    assert pope.read_answers(path, category="random") == {"1": "Yes", "2": "No."}
    with pytest.raises(InputError, match="no row of the category 'easy', got 3 question sets"):
        pope.read_answers(path, category="easy")


def test_a_log_of_mme_is_read_by_its_question_ids(write_lines):
    rows = [
        {
            **{"doc_id": i, "input": question, "target": label, "filtered_resps": [answer]},
            "mme_perception_score": {"question_id": "existence/7.jpg", "category": "existence", "score": 1.0},
        }
        for i, (question, label, answer) in enumerate((("A dog?", "Yes", "yes"), ("A cat?", "No", "yes")))
    ]
    assert mme.read_rows_of(write_lines(rows)) == [
        mme.Row("existence", "existence/7.jpg", "A dog?", "yes", "yes"),
        mme.Row("existence", "existence/7.jpg", "A cat?", "no", "yes"),
    ]


def test_the_caption_of_a_benchmark_is_never_taken_for_the_model_s(write_lines):
    row = {"doc_id": 0, "doc": {"image_id": 7, "caption": "A cat."}, "target": ["A cat."], "filtered_resps": ["A dog."]}
    assert list(read_captions(write_lines([row]))) == [(7, "A dog.")]


def test_several_responses_to_a_sample_are_not_guessed(write_lines):
    row = pope_log()[0] | {"filtered_resps": [["Yes", "No"]]}
    with pytest.raises(InputError, match="line 1: a sample must have one response, got 2 of them"):
        pope.read_labelled(write_lines([row]))


def test_the_command_scores_one_set_of_a_log_and_names_the_others(write_lines, tmp_path, monkeypatch, capsys):
    path = write_lines(pope_log())
    arguments = ["pope", "--answers", path, "--json", tmp_path / "s.json"]
    assert run(monkeypatch, *arguments) == 3
    assert "adversarial 2, popular 2, random 2" in capsys.readouterr().err
    assert not run(monkeypatch, *arguments, "--category", "adversarial")
    assert "acc           100.0" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["questions"] == 2


# --- VLMEvalKit -------------------------------------------------------------------------------------------------

ROWS = [
    ["index", "question", "answer", "category", "prediction"],
    [1, "Is there a dog in the image?", "Yes", "adversarial,popular", "=Yes"],
    [2.0, "Is there a cat in the image?", "No", "popular", "<think>A cat? Yes.</think>No"],
    [None, None, None, None, None],
    [3, "Is there a cup in the image?", "No", "random", None],
]


def workbook(path, rows=ROWS):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_a_workbook_is_read_as_a_table(tmp_path):
    rows = list(read_rows(workbook(tmp_path / "POPE.xlsx")))
    assert [number for number, _ in rows] == [2, 3, 5]
    assert rows[0][1]["prediction"] == "=Yes", "not a formula"
    assert (rows[1][1]["index"], rows[2][1]["prediction"]) == ("2", "")


def test_questions_in_several_sets_count_in_each(tmp_path):
    path = workbook(tmp_path / "POPE.xlsx")
    counts = {name: len(pope.read_labelled(path, name)[0]) for name in SETS}
    assert counts == {"adversarial": 1, "popular": 2, "random": 1}
    questions, answers = pope.read_labelled(path, "popular")
    assert pope.score(questions, answers, parser="modern", resamples=0)["acc"] == 1
    with pytest.warns(UndefinedScoreWarning):  # of one question, with no yes
        assert pope.score(*pope.read_labelled(path, "random"), parser="modern", resamples=0).counts["unparsed"] == 1


def test_what_is_no_workbook_is_one_sentence(tmp_path):
    pytest.importorskip("openpyxl")
    for content in (b"PK\x03\x04", b"", b"index,prediction\n1,Yes\n"):
        (tmp_path / "run.xlsx").write_bytes(content)
        with pytest.raises(InputError, match="must be a workbook"):
            list(read_rows(tmp_path / "run.xlsx"))
    with zipfile.ZipFile(tmp_path / "run.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "<a/>")
    with pytest.raises(InputError, match="must be a workbook"):
        list(read_rows(tmp_path / "run.xlsx"))
    with pytest.raises(InputError, match=r"old format .xls, which is not read; save it as \.xlsx or CSV"):
        list(read_rows(tmp_path / "run.xls"))
    with pytest.raises(InputError, match="No such file"):
        list(read_rows(tmp_path / "none.xlsx"))


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = workbook(tmp_path / "POPE.xlsx")
    monkeypatch.setattr(workbooks, "MAX_UNPACKED", 100)
    with pytest.raises(InputError, match="at most 100 bytes"):
        list(read_rows(path))


def test_without_openpyxl_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "run.xlsx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'openpyxl'.* pip install \S*(xlsx|openpyxl)"):
        list(read_rows(tmp_path / "run.xlsx"))


def test_a_sheet_that_says_it_is_endless_ends(tmp_path, monkeypatch):
    """Blank rows before a row with a huge number are counted, and are not as wide as the file says."""
    monkeypatch.setattr(workbooks, "MAX_ROWS", 1000)
    path = workbook(tmp_path / "POPE.xlsx")
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = next(name for name in parts if name.endswith("sheet1.xml"))
    parts[sheet] = parts[sheet].replace(b"</sheetData>", b'<row r="999999999999"><c r="A9"/></row></sheetData>')
    with zipfile.ZipFile(path, "w") as book:
        for name, data in parts.items():
            book.writestr(name, data)
    with pytest.raises(InputError, match="at most 1,000 rows"):
        list(read_rows(path))
