"""The benchmark scripts as a person runs them: published outputs without torch, the sandbox model, resuming."""

import contextlib
import gzip
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from halluguard.errors import InputError

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
    assert "baseline: half of the mentions kept blindly" in done.stdout


def test_a_method_beside_plain_decoding_and_baselines(tmp_path, captions, objects):
    better = write(
        tmp_path / "better.jsonl",
        [{"image_id": i, "caption": t} for i, t in ((42, "A dog."), (139, "Two men."), (285, "A bear."))],
    )
    done = run(
        *("chair", "--captions", better, "--plain", captions, "--objects", objects),
        *("--json", tmp_path / "out.json", "--resamples", "50"),
    )
    assert done.returncode == 0, done.stderr
    assert "baseline: plain, cut to the same words" in done.stdout
    assert "against plain, both cut to the shorter: CHAIRi" in done.stdout


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
    assert "baseline: always no" in done.stdout


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


# --- resuming ----------------------------------------------------------------------------------------------------


@pytest.fixture
def running():
    return importlib.import_module("halluguard.evaluation.running")


def answers(batch):
    return [{"id": item, "answer": f"caffè\u2028{item}"} for item in batch]


def test_a_line_cut_inside_a_letter_is_asked_again(running, tmp_path):
    path = tmp_path / "answers.jsonl"
    running.resume(path, "id", "abc", answers, 2, {"model": "m"})
    whole = path.read_bytes()
    row = json.dumps({"id": "c", "answer": "caffè"}, ensure_ascii=False).encode()
    path.write_bytes(whole[: whole.rindex(b'{"id": "c"')] + row[: row.index("è".encode()) + 1])
    running.resume(path, "id", "abc", answers, 2, {"model": "m"})
    assert path.read_bytes() == whole


def test_an_answer_may_hold_a_line_separator(running, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "answer": "one\u2028two"}\n', encoding="utf-8")
    (tmp_path / "answers.settings.json").write_text("{}")
    asked = []
    running.resume(path, "id", "ab", lambda batch: asked.extend(batch) or answers(batch), 1, {})
    assert asked == ["b"]
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()] == ["a", "b"]


def test_rows_whose_settings_file_is_lost_are_kept_and_the_run_refused(running, tmp_path):
    path = tmp_path / "answers.jsonl"
    running.resume(path, "id", "ab", answers, 2, {})
    whole = path.read_bytes()
    (tmp_path / "answers.settings.json").unlink()
    with pytest.raises(InputError, match=r"answers\.settings\.json is missing"):
        running.resume(path, "id", "ab", answers, 2, {})
    assert path.read_bytes() == whole


def test_an_interruption_at_any_moment_loses_no_row(running, tmp_path, monkeypatch):
    """The old rows are never in no file: the file that replaces them is complete first."""
    path = tmp_path / "answers.jsonl"
    running.resume(path, "id", "ab", answers, 2, {})
    whole = path.read_bytes()

    def interrupted(batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.resume(path, "id", "abc", interrupted, 2, {})
    assert path.read_bytes() == whole
    monkeypatch.setattr(running.io.os, "replace", lambda *_: interrupted(None))
    with pytest.raises(KeyboardInterrupt):
        running.resume(path, "id", "abc", answers, 2, {})
    assert path.read_bytes() == whole


# --- broken files ------------------------------------------------------------------------------------------------

BROKEN = {
    "cut in a letter": b'{"question_id": 1, "answer": "caf\xc3',
    "utf-16": '{"id": 1}'.encode("utf-16"),
    "half a gzip": gzip.compress(b'{"id": 1}\n' * 100)[:40],
    "deep": b"[" * 100_000,
    "null": b"null",
    "nulls": b"[null, null]",
    "null fields": b'{"question_id": null, "id": null, "image_id": null, "image": null, "text": null, "caption": null}',
    "fields of fields": b'{"question_id": {}, "id": [], "image_id": {}, "image": [], "text": {}, "answer": [], "truth": {}}',
    "empty": b"",
    "a big number": b"9" * 5000,
    "half a pair": b'{"question_id": "\\ud83d", "id": 1, "image_id": "\\ud83d", "caption": "\\ud83d", "answer": "\\ud83d"}',
    "lists of nulls": b'{"1": [null], "dog": [null], "categories": [null], "images": [null], "annotations": [null]}',
}


@pytest.fixture
def whole(tmp_path):
    """Files that the scripts can score, by option and script."""
    (tmp_path / "query").mkdir()
    question = {"question_id": 1, "image": "1", "text": "Is there a dog?", "label": "yes"}
    files = {
        "captions.jsonl": {"image_id": 1, "caption": "A dog."},
        "objects.json": {"1": ["dog"]},
        "questions.jsonl": question,
        "answers.jsonl": {"question_id": 1, "answer": "Yes", "margin": 1.0},
        "responses.jsonl": {"id": 1, "response": "No"},
        "annotations.json": [{"id": 1, "type": "relation", "truth": "no"}],
        "relation.json": {"dog": []},
        "safe_words.txt": "orange",
        "mme.jsonl": {"task": "count", "image": "1", "question": "?", "label": "yes", "answer": "Yes"},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content) + "\n", encoding="utf-8")
    return tmp_path


COMMANDS = {
    "chair": "--captions captions.jsonl --objects objects.json --plain captions.jsonl",
    "pope": "--questions questions.jsonl --answers answers.jsonl --plain answers.jsonl --labels questions.jsonl",
    "amber": "--responses responses.jsonl --amber . --similarity none",
    "mme": "--answers mme.jsonl --tasks count",
}
FILES = {
    "chair": ["captions.jsonl", "objects.json"],
    "pope": ["questions.jsonl", "answers.jsonl"],
    "amber": ["responses.jsonl", "annotations.json", "relation.json", "safe_words.txt"],
    "mme": ["mme.jsonl"],
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("script", "broken"), [(script, name) for script, names in FILES.items() for name in names])
def test_no_file_ends_in_a_traceback(running, whole, monkeypatch, script, broken, content):
    (whole / broken).write_bytes(content)
    monkeypatch.chdir(whole)
    module = importlib.import_module(f"halluguard.evaluation.{script}")
    arguments = [script, *COMMANDS[script].split(), "--json", "out.json", "--resamples", "20"]
    monkeypatch.setattr(sys, "argv", arguments)
    with contextlib.suppress(SystemExit):  # one sentence; anything else is a traceback
        running.main(module.options_parser(), module.run)


def test_the_gpu_script_runs_on_a_cpu_with_tiny_models(tmp_path):
    pytest.importorskip("peft")
    out, small = tmp_path / "gpu.json", ("--small", "--device", "cpu")
    done = run("gpu", *small, "--methods", "Imagination", "VCD", "--rounds", "1", "--json", out, torch=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    exact = result["View against recomputation, float32"]
    assert exact["largest relative error"] < 1e-5
    assert exact["tokens that agree"] == exact["of"]
    costs = result["Seconds and memory, bfloat16, batch 8"]
    assert {"plain", "Imagination", "VCD"} <= {name for name, row in costs.items() if "first of plain" in row}
    assert not [part for part, found in result.items() if "failed" in found], result
