"""A stranger's trials, by command and kind: an exit code and a sentence, nothing raw, nothing outside, no code run."""

import gzip
import io
import json
import os
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from halluguard import Guard, sandbox
from halluguard.calibration import Scored, fit
from halluguard.cli import main
from halluguard.errors import HalluguardError, InputError
from halluguard.evaluation.running import resume

ESCAPE = "\x1b[31m\x1b]0;owned\x07"
HALF = b"\xed\xa0\x80"  # half a surrogate pair, as UTF-8 would write it
FAILED = (2, 3, 4, 5, 6)
"""Exit codes that say what is wrong; 1 is for a limit, 70 for a bug."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two scenes, their captions and objects, labels and preferences; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("images").mkdir()
    for name, scene in zip("ab", sandbox.scenes(2), strict=True):
        scene.image.save(f"images/{name}.png")
    rows = [{"image": f"{name}.png", "caption": "There is a dog."} for name in "ab"]
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("o.json").write_text('{"a.png": ["dog"], "b.png": ["cat"]}')
    Path("labels.csv").write_text("image,phrase,present\na.png,dog,yes\na.png,cat,no\nb.png,dog,no\n")
    pair = {"image": "a.png", "question": "What?", "chosen": "A dog.", "rejected": "A cat."}
    Path("pairs.jsonl").write_text((json.dumps(pair) + "\n") * 2)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command; (exit code, what it printed)."""

    def ran(*arguments):
        monkeypatch.setattr(sys, "argv", ["halluguard", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main()
        printed = "".join(capfd.readouterr())
        assert "Traceback" not in printed
        assert "\x1b]0" not in printed, "an escape sequence reached the terminal"
        assert "\x1b[31m" not in printed, "an escape sequence reached the terminal"
        return ending.value.code, printed

    return ran


AUDIT = ("audit", "c.jsonl", "--objects", "o.json", "--out", "out")


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "E", "--objects", "o.json", "--out", "out"),
        ("audit", "c.jsonl", "--objects", "E", "--out", "out"),
        ("audit", "c.jsonl", "--detector", "precomputed:E", "--out", "out"),
        (*AUDIT, "--verdicts", "E"),
        (*AUDIT, "--policy", "E"),
        (*AUDIT, "--where", "E"),
        ("calibrate", "E", "--detector", "sandbox", "--images", "images"),
        ("caption", "E", "--model", "sandbox", "--out", "x.jsonl"),
        ("caption", "images", "--endpoint", "http://E", "--model", "m", "--out", "x.jsonl"),
        ("train", "E", "--images", "images", "--model", "sandbox", "--out", "out"),
        ("explain", "E", "#1"),
        ("sample", "E", "--out", "s.csv"),
        ("doctor", "E"),
        ("bake", "--model", "E", "--controller", "x", "--imagination", "0.5", "--out", "out"),
        ("play", "--model", "E"),
        ("serve", "--model", "E"),
        ("eval", "pope", "--answers", "E"),
        ("export", "E"),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
def test_no_escape_of_an_argument_reaches_the_terminal(arguments, folder, run):
    code, _ = run(*(word.replace("E", ESCAPE) for word in arguments))
    assert code in FAILED


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "F", "--objects", "o.json", "--out", "out"),
        ("audit", "c.jsonl", "--objects", "F", "--out", "out"),
        ("audit", "c.jsonl", "--detector", "precomputed:F", "--out", "out"),
        (*AUDIT, "--images", "images", "--image-names", "F"),
        (*AUDIT, "--verdicts", "F"),
        (*AUDIT, "--spot-labels", "F"),
        (*AUDIT, "--policy", "F"),
        (*AUDIT, "--thresholds", "F"),
        (*AUDIT, "--baseline", "F"),
        (*AUDIT, "--recall", "F"),
        ("calibrate", "F", "--detector", "sandbox", "--images", "images", "--out", "t.json"),
        ("train", "F", "--images", "images", "--model", "sandbox", "--out", "out"),
        ("audit", "--config", "F"),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
@pytest.mark.parametrize("kind", ["half a pair", "truncated gzip"])
def test_text_that_is_none_and_gzip_that_is_cut_are_a_sentence(arguments, kind, folder, run):
    text = Path("labels.csv").read_bytes() * 200
    content = {"half a pair": text + b"a.png," + HALF + b",yes\n", "truncated gzip": gzip.compress(text)[:-20]}[kind]
    Path("file.csv").write_bytes(content)
    code, printed = run(*(word.replace("F", "file.csv") for word in arguments))
    assert code in FAILED, printed
    assert "halluguard:" in printed


def evil():
    """A model folder whose every settings file asks for its own code; the marker is written if it runs."""
    shutil.copytree(sandbox.MLLM, "evil")
    Path("evil/evil.py").write_text("open('ran', 'w')\nclass E: pass\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoProcessor")
    for file, change in {
        "config.json": {"model_type": "evil", "auto_map": dict.fromkeys(names, "evil.E")},
        "processor_config.json": {"processor_class": "E", "auto_map": {"AutoProcessor": "evil.E"}},
        "tokenizer_config.json": {"tokenizer_class": "E", "auto_map": {"AutoTokenizer": ["evil.E", None]}},
    }.items():
        settings = json.loads(Path("evil", file).read_text()) | change
        Path("evil", file).write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--model", "evil", "--port", "0"),
        ("serve", "--upstream", "http://127.0.0.1:9", "--detector", "evil", "--port", "0"),
        ("play", "--model", "evil", "--port", "0"),
        ("bake", "--model", "evil", "--controller", "x", "--imagination", "0.5", "--out", "out"),
        ("doctor", "evil"),
        ("doctor", "sandbox", "--processor", "evil"),
        ("doctor", "sandbox", "--adapter", "evil"),
        ("caption", "images", "--model", "evil", "--out", "x.jsonl"),
        ("train", "pairs.jsonl", "--images", "images", "--model", "evil", "--out", "out"),
        ("calibrate", "labels.csv", "--detector", "evil", "--images", "images", "--out", "t.json"),
        ("audit", "c.jsonl", "--detector", "evil", "--images", "images", "--out", "out"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_model_folder_runs_nothing_at_any_door(arguments, folder, run, monkeypatch):
    evil()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    code, printed = run(*arguments)
    assert code in FAILED, printed
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "limit",
    [
        *(("--max-errors", "nan"), ("--max-errors", "-1"), ("--max-errors", "inf"), ("--report-samples", "-1")),
        *(("--max-hallucination-rate", "nan"), ("--max-hallucination-rate", "-0.1"), ("--max-hallucination-rate", "2")),
        *(("--max-per-label", "nonsense=0.1"), ("--max-per-label", "dog=nan"), ("--max-per-label", "dog")),
        *(("--max-spot-rate", "nan"), ("--part-rows", "0"), ("--limit", "-1"), ("--recall", "nan")),
    ],
    ids=" ".join,
)
def test_a_limit_that_is_none_is_refused_before_the_run(limit, folder, run):
    code, printed = run(*AUDIT, *limit)
    assert code in (2, 3), printed
    assert not Path("out/summary.json").exists()


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "link.png", "~/x.png", "images\\..\\secret.png"])
def test_a_mapping_of_names_leads_to_no_file_outside(name, folder, run):
    shutil.copy("images/a.png", "secret.png")
    Path("images/link.png").symlink_to(folder / "secret.png")
    Path("names.json").write_text(json.dumps({"a.png": name, "b.png": name}))
    audit = ("audit", "c.jsonl", "--detector", "sandbox", "--images", "images", "--out", "out")
    code, printed = run(*audit, "--image-names", "names.json")
    assert code == 4, printed


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("e.jsonl", (*AUDIT, "--export", "e.jsonl")),
        ("t.json", ("calibrate", "labels.csv", "--objects", "o.json", "--out", "t.json")),
        ("s.csv", ("sample", "c.jsonl", "--out", "s.csv")),
        ("out/summary.json", AUDIT),
        ("out/captions.jsonl", AUDIT),
        ("out/report.html", AUDIT),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_link_in_place_of_an_output_leaves_its_victim_alone(target, arguments, folder, run):
    Path("victim").write_text("precious")
    Path("out").mkdir()
    Path(target).symlink_to(folder / "victim")
    run(*arguments)
    assert Path("victim").read_text() == "precious"


def test_a_shard_that_lost_rows_is_not_merged(folder, run):
    for number in (1, 2):
        assert run(*AUDIT[:-1], f"s{number}", "--shard", f"{number}/2")[0] == 0
    (part,) = Path("s1/parts").glob("*.jsonl")
    part.write_text("")
    code, printed = run("audit", "merge", "s1", "s2", "--out", "merged")
    assert code in FAILED, printed
    assert not Path("merged/summary.json").exists()


def test_a_password_of_an_address_is_neither_printed_nor_stored(folder, run):
    endpoint = "http://user:hunter2@127.0.0.1:9/v1"
    code, printed = run("caption", "images", "--endpoint", endpoint, "--model", "m", "--out", "x.jsonl")
    assert code in FAILED
    assert "hunter2" not in printed
    assert not any("hunter2" in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_not_calibrated(score):
    rows = [Scored(str(i), "dog", i % 2 == 0, 0.5 + 0.4 * (i % 2 == 0)) for i in range(60)]
    with pytest.raises(InputError, match="scores must be finite"):
        fit([*rows, Scored("x", "dog", True, score)], detector="eyes")


def test_a_pickled_guard_answers_the_same():
    guard = Guard.from_pretrained(sandbox.MLLM)
    image = sandbox.scenes(1)[0].image
    again = pickle.loads(pickle.dumps(guard))
    options = {"seed": 5, "do_sample": True, "max_new_tokens": 8}
    assert again(image, **options).text == guard(image, **options).text


def test_an_answer_that_cannot_be_saved_leaves_the_file_of_before(folder, monkeypatch):
    answer = Guard.from_pretrained(sandbox.MLLM)(sandbox.scenes(1)[0].image, max_new_tokens=4)
    answer.save("answer.json")
    before = Path("answer.json").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(HalluguardError, match="No space left"):
        answer.save("answer.json")
    assert Path("answer.json").read_bytes() == before
    assert not list(folder.glob(".*.tmp"))


def bend(run_folder, change):
    """Replace the text of the only part of a finished run."""
    (part,) = Path(run_folder, "parts").glob("*.jsonl")
    part.write_text(change(part.read_text()))


BENT = {
    "an unknown decision": lambda text: text.replace('"contradicted"', '"zz"'),
    "a claim that is not there": lambda text: text.replace('"claim":0', '"claim":99'),
    "text for a number": lambda text: text.replace('"confidence":', '"confidence":"x","was":'),
    "no caption": lambda text: text.replace('"caption":"There is a dog."', '"caption":null'),
    "no row": lambda text: "null\n",
    "brackets": lambda text: "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("bent", BENT)
@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "out", "b.png"),
        ("export", "out", "--to", "labelstudio", "--images", "images", "--out", "tasks.json"),
        ("export", "out", "--to", "fiftyone", "--images", "images", "--out", "tasks.json"),
        ("audit", "merge", "out", "--out", "merged"),
    ],
    ids=" ".join,
)
def test_rows_that_were_changed_after_the_run_are_a_sentence(arguments, bent, folder, run):
    assert run(*AUDIT)[0] == 0
    before = Path("tasks.json")
    bend("out", BENT[bent])
    code, printed = run(*arguments)
    assert code in (0, 3), printed
    assert code == 0 or "halluguard:" in printed
    assert code == 0 or not before.exists()


@pytest.mark.parametrize("note", ["\\ud800", "\\u2028", "\\u0000"])
def test_a_tar_of_json_is_exported_whole_whatever_its_other_fields_hold(note, folder, run):
    with tarfile.open("c.tar", "w") as tar:
        for name in "ab":
            data = f'{{"image": "{name}.png", "caption": "There is a dog. There is a cat.", "note": "{note}"}}'.encode()
            member = tarfile.TarInfo(f"{name}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    keys = ("--caption-key", "json.caption", "--image-key", "json.image")
    code, printed = run("audit", "c.tar", "--objects", "o.json", "--out", "out", *keys, "--export", "e.tar")
    assert code == 0, printed
    with tarfile.open("e.tar") as tar:
        rows = [json.load(tar.extractfile(member)) for member in tar]
    assert [row["note"] for row in rows] == [json.loads(f'"{note}"')] * 2
    assert [row["caption"] for row in rows] == ["There is a dog.", "There is a cat."]


@pytest.mark.parametrize("rows", ["0", "-1", "1.5", "null", '"x"', "[]"])
def test_a_manifest_with_impossible_parts_is_not_merged(rows, folder, run):
    assert run(*AUDIT)[0] == 0
    manifest = json.loads(Path("out/manifest.json").read_text())
    Path("out/manifest.json").write_text(json.dumps(manifest | {"part_rows": json.loads(rows)}))
    code, printed = run("audit", "merge", "out", "--out", "merged")
    assert code == 3, printed
    assert not Path("merged/summary.json").exists()


@pytest.mark.parametrize("settings", ["[]", "null", '"x"', "[" * 100_000, "{", "\x00"])
def test_answers_whose_settings_are_damaged_are_kept_and_not_continued(settings, folder):
    path = Path("answers.jsonl")
    path.write_text('{"id": "a", "answer": "precious"}\n' + "[" * 100_000 + "\n")
    Path("answers.settings.json").write_text(settings)
    before = path.read_bytes()
    with pytest.raises(InputError):
        resume(path, "id", "ab", lambda batch: [], 1, {})
    assert path.read_bytes() == before
