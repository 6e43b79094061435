"""The benchmark scripts as a person runs them: published outputs without torch, the sandbox model, resuming."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_TORCH = (
    "import runpy, sys; "
    "[sys.modules.__setitem__(name, None) for name in ('torch', 'transformers', 'spacy')]; "
    "sys.path.insert(0, sys.argv[1].rsplit('/', 1)[0]); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(script, *arguments, torch=False):
    command = [sys.executable, *([] if torch else ["-c", NO_TORCH]), str(ROOT / "benchmarks" / f"{script}.py")]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)


def write(path, rows):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.fixture
def captions(tmp_path):
    rows = [(42, "A dog on a couch."), (139, "Two men and a bus."), (285, "A bear.")]
    return write(tmp_path / "captions.jsonl.gz", [{"image_id": i, "caption": text} for i, text in rows])


@pytest.fixture
def objects(tmp_path):
    path = tmp_path / "objects.json"
    path.write_text(json.dumps({"42": ["dog"], "139": ["person", "bus"], "285": ["bear"]}), encoding="utf-8")
    return path


def test_chair_of_published_captions_needs_no_torch(tmp_path, captions, objects):
    out = tmp_path / "out.json"
    done = run("chair", "--captions", captions, "--objects", objects, "--protocol", "pattern", "--json", out)
    assert done.returncode == 0, done.stderr
    score = json.loads(out.read_text())
    assert (score["CHAIRs"], score["CHAIRi"], score["recall"]) == (1 / 3, 1 / 4, 3 / 4), "the original misses 'bus'"
    assert score["per_caption"][0] == [42, ["dog", "couch"], [["couch", "couch"]]]
    assert "chair|protocol:pattern|gt:objects@" in done.stdout
    assert "sham: half of the mentions kept blindly" in done.stdout


def test_a_method_beside_its_baseline_and_shams(tmp_path, captions, objects):
    better = write(
        tmp_path / "better.jsonl",
        [{"image_id": i, "caption": t} for i, t in ((42, "A dog."), (139, "Two men."), (285, "A bear."))],
    )
    done = run(
        *("chair", "--captions", better, "--baseline", captions, "--objects", objects),
        *("--json", tmp_path / "out.json", "--resamples", "50"),
    )
    assert done.returncode == 0, done.stderr
    assert "sham: baseline cut to the same words" in done.stdout
    assert "against the baseline, both cut to the shorter: CHAIRi" in done.stdout


def test_pope_of_published_answers_needs_no_torch(tmp_path):
    questions = write(
        tmp_path / "questions.json",
        [
            {"question_id": i, "image": "COCO_val2014_000000000042.jpg", "text": f"Is there a {thing}?", "label": label}
            for i, (thing, label) in enumerate(
                [("dog", "yes"), ("cat", "no"), ("couch", "yes"), ("bus", "no")], start=1
            )
        ],
    )
    said = ["Yes", "Yes, there is.", "No", "It is not there"]
    answers = write(
        tmp_path / "answers.jsonl", [{"question_id": i, "answer": text} for i, text in enumerate(said, start=1)]
    )
    out = tmp_path / "out.json"
    done = run("pope", "--questions", questions, "--answers", answers, "--parser", "official", "--json", out)
    assert done.returncode == 0, done.stderr
    score = json.loads(out.read_text())
    assert [score[name] for name in ("TP", "FP", "TN", "FN")] == [1, 1, 1, 1]
    assert [score[name] for name in ("acc", "precision", "recall", "f1", "yes_ratio")] == [0.5] * 5
    assert "sham: always no" in done.stdout


def test_amber_and_mme_of_published_answers(tmp_path):
    data = tmp_path / "amber"
    data.mkdir()
    annotations = [
        {"id": 1, "type": "discriminative-hallucination", "truth": "no"},
        {"id": 2, "type": "discriminative-attribute-state", "truth": "yes"},
    ]
    (data / "annotations.json").write_text(json.dumps(annotations))
    (data / "relation.json").write_text(json.dumps({"dog": []}))
    (data / "safe_words.txt").write_text("orange\n")
    responses = write(tmp_path / "responses.jsonl", [{"id": 1, "response": "No"}, {"id": 2, "response": "No"}])
    done = run("amber", "--responses", responses, "--amber", data, "--json", tmp_path / "amber.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "amber.json").read_text())["acc"] == 0.5

    (tmp_path / "existence.txt").write_text("1.jpg\tA dog?\tYes\tYes\n1.jpg\tA cat?\tNo\tYes\n")
    done = run("mme", "--answers", tmp_path / "existence.txt", "--json", tmp_path / "mme.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "mme.json").read_text())["total"] == 50


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "at least one"),
        ('{"image_id": 42, "caption": "A dog."}\n{"image_id": 42', "line 2"),
        ('{"image_id": 42, "caption": 7}\n', "line 1"),
        ('{"image_id": 7, "caption": "A dog."}\n', "7"),
        ('{"image_id": 42, "caption": "A dog."}\n' * 2, "one caption, got a second for 42"),
        ('{"picture": 42, "caption": "A dog."}\n', "image_id"),
    ],
)
def test_bad_captions_end_with_one_sentence(tmp_path, objects, lines, message):
    path = tmp_path / "captions.jsonl"
    path.write_text(lines, encoding="utf-8")
    done = run("chair", "--captions", path, "--objects", objects, "--json", tmp_path / "out.json")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists(), "nothing is scored in silence"


def test_the_sandbox_model_is_asked_scored_and_resumed(tmp_path):
    """An interrupted run keeps its whole lines and asks only for the rest."""
    out = tmp_path / "out.json"
    arguments = ("chair", "--model", "sandbox", "--limit", "4", "--batch-size", "2", "--json", out, "--resamples", "20")
    assert run(*arguments, torch=True).returncode == 0
    first, kept = json.loads(out.read_text()), out.with_suffix(".captions.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    kept.write_text("".join(lines[:2]) + lines[2][:20])
    assert run(*arguments, torch=True).returncode == 0
    assert kept.read_text() == "".join(lines)
    assert json.loads(out.read_text())["CHAIRi"] == first["CHAIRi"]
    other = run(*arguments, "--imagination", "-0.5", torch=True)
    assert other.returncode == 1
    assert "begun with other settings (imagination)" in other.stderr
