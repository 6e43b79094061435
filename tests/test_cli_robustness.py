"""Whatever is in the files that a user names: one sentence, the right exit code, no traceback, no escape sequence."""

import gzip
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from halluguard.auditing.image_store import read_names
from halluguard.calibration.labelled_rows import read_rows
from halluguard.cli import app, main
from halluguard.errors import HalluguardError
from halluguard.metrics.reading import read_rows as metric_rows
from halluguard.tuning.reading import read_entries

NOT_JSON = {
    "empty": b"",
    "nothing": b"\n\n",
    "half": b'{"a": ',
    "depth": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "not utf-8": b'{"a": "\xff\xfe"}',
    "nul": b"\x00" * 100,
    "truncated gzip": gzip.compress(b'{"1": ["dog"]}' * 1000)[:40],
    "no gzip": b"\x1f\x8b garbage",
    "half a pair": b'{"\\ud800": "\\udfff"}',
    "huge number": b'{"high": 1' + b"0" * 5000 + b', "low": 0.2}',
    "a megabyte cell": b'"' + b"x" * 1_000_000 + b'",1\n',
}
VALUES = {
    **{"list": [], "null": None, "number": 3, "text": "x", "true": True, "object": {}, "list of lists": [[1], [2]]},
    **{"null list": {"1": None}, "number list": {"1": [1, None]}, "text list": {"1": "dog"}, "nested": {"1": {"a": 1}}},
    **{"thresholds": {"high": None, "low": []}, "labels": {"high": 0.4, "low": 0.1, "labels": {"dog": "ab"}}},
    **{
        "label list": {"high": 0.4, "low": 0.1, "labels": [1]},
        "label of three": {"high": 1, "low": 0, "labels": {"a": [1]}},
    },
    "not a number": {"high": float("nan"), "low": float("nan")},
    **{"inner": {"thresholds": []}, "curve": {"version": 1, "curve": [], "labels": [], "high": 0.4, "low": 0.1}},
    "curve of text": {"version": 1, "curve": {"x": "ab", "y": 3}, "curves": {}, "labels": {}, "high": 0.4, "low": 0.1},
    "summary": {"schema": 1, "settings": {}, "rates": {"hallucination_rate": {"value": "x"}}},
    "summary of null": {"schema": 1, "settings": None, "rates": {"hallucination_rate": {"value": 0.5}}},
    "summary of a list": {"schema": 1, "settings": [], "rates": {"hallucination_rate": {"value": None}}},
    "coco": {"images": [None], "annotations": [1], "categories": ["x"]},
    "coco of nulls": {"images": None, "annotations": None, "categories": None},
    "rows": [{"image_id": None, "category_id": {}, "bbox": [1], "score": "x"}],
}
FILES = NOT_JSON | {name: json.dumps(value).encode() for name, value in VALUES.items()}


def invoke(*arguments):
    """The exception that ends a command, or the exit code."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    error = result.exception
    assert error is None or isinstance(error, HalluguardError | SystemExit), (arguments, repr(error))
    return error


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"image_id": "1", "caption": "A dog and a cat."}\n')
    (tmp_path / "objects.json").write_text('{"1": ["dog"]}')
    return tmp_path


def audit(folder, *arguments, objects="objects.json", captions="captions.jsonl"):
    out = folder / "out"
    return invoke("audit", folder / captions, "--objects", folder / objects, "--out", out, "--no-report", *arguments)


@pytest.mark.parametrize("option", ["--thresholds", "--baseline", "--image-names"])
@pytest.mark.parametrize("name", FILES)
def test_settings_files(option, name, folder):
    (folder / "bad").write_bytes(FILES[name])
    audit(folder, option, folder / "bad")


@pytest.mark.parametrize("name", FILES)
def test_files_of_known_objects_and_boxes(name, folder):
    (folder / "bad").write_bytes(FILES[name])
    audit(folder, objects="bad")
    for suffix in ("json", "jsonl", "csv"):
        (folder / f"bad.{suffix}").write_bytes(FILES[name])
        invoke(
            *("audit", folder / "captions.jsonl", "--detector", f"precomputed:{folder / 'bad'}.{suffix}"),
            *("--out", folder / f"out-{suffix}", "--no-report"),
        )


@pytest.mark.parametrize("name", FILES)
def test_captions_and_encodings(name, folder):
    for suffix in ("jsonl", "json", "csv", "tsv", "parquet", "tar", "arrow"):
        (folder / f"bad.{suffix}").write_bytes(FILES[name])
        audit(folder, captions=f"bad.{suffix}")
    audit(folder, "--encoding", name, captions="bad.csv")


@pytest.mark.parametrize("name", FILES)
def test_labelled_rows_of_calibrate(name, folder):
    (folder / "rows").write_bytes(FILES[name])
    invoke(
        *("calibrate", folder / "rows", "--detector", f"objects:{folder / 'objects.json'}"),
        *("--out", folder / "thresholds.json"),
    )


@pytest.mark.parametrize("name", FILES)
def test_settings_of_train(name, folder):
    (folder / "config.json").write_bytes(FILES[name])
    (folder / "rows.jsonl").write_bytes(FILES[name])
    invoke(
        "train", folder / "none", "--out", folder / "a", "--model", folder / "no", "--config", folder / "config.json"
    )


@pytest.mark.parametrize(
    "setting", [{"epochs": None}, {"epochs": [1]}, {"rank": "x"}, {"out": 3}, {"images": {}}, {"plain": "maybe"}]
)
def test_values_of_a_training_config(setting, folder):
    (folder / "config.json").write_text(json.dumps(setting))
    error = invoke("train", folder / "none", "--out", folder / "a", "--model", "no", "--config", folder / "config.json")
    assert error is not None


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_run_folder(name, folder):
    run = folder / "run"
    run.mkdir()
    (run / "parts").mkdir()
    for file in ("manifest.json", "summary.json", "parts/part-000000.jsonl", "parts/part-000000.check"):
        (run / file).write_bytes(FILES[name])
    invoke("explain", run, "1")
    invoke("audit", "merge", run, "--out", folder / "merged")
    invoke("audit", folder / "captions.jsonl", "--objects", folder / "objects.json", "--out", run)


def halluguard(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "halluguard", *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_an_unexpected_exception_ends_with_one_line_a_file_and_exit_code_70(monkeypatch, capsys, tmp_path):
    import halluguard.auditing.outputs.explain as module

    def broken(*_):
        raise ZeroDivisionError("nothing \x1b[31m left")

    monkeypatch.setattr(module, "explain_rows", broken)
    monkeypatch.setattr(sys, "argv", ["halluguard", "explain", str(tmp_path), "7"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 70
    printed = capsys.readouterr().err
    assert printed.startswith("halluguard: this is a bug (ZeroDivisionError: nothing \\x1b[31m left)")
    assert len(printed.splitlines()) == 1
    (report,) = tmp_path.glob("halluguard-error-*.txt")
    assert str(report) in printed
    assert "Traceback" in report.read_text()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EOFError("a file ended"), 70, "this is a bug"),
        (RecursionError("deep"), 70, "this is a bug"),
        (AssertionError(), 70, "this is a bug"),
        (MemoryError(), 6, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 6, "memory"),
    ],
)
def test_no_exception_is_taken_for_a_failed_gate(error, code, said, monkeypatch, capsys, tmp_path):
    import halluguard.auditing.outputs.explain as module

    def broken(*_):
        raise error

    monkeypatch.setattr(module, "explain_rows", broken)
    monkeypatch.setattr(sys, "argv", ["halluguard", "explain", str(tmp_path), "7"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == code
    assert said in capsys.readouterr().err


def test_an_interrupt_ends_with_130(monkeypatch, capsys, tmp_path):
    import halluguard.auditing.outputs.explain as module

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "explain_rows", interrupted)
    monkeypatch.setattr(sys, "argv", ["halluguard", "explain", str(tmp_path), "7"])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 130
    assert "the same command continues" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_failed_gate():
    process = subprocess.Popen(
        [sys.executable, "-m", "halluguard", "audit", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.communicate(timeout=120)
    assert process.returncode in (0, 141)


ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def test_escape_sequences_never_reach_the_terminal(tmp_path):
    """Control characters of file names, arguments, manifests, ids and labels are written out, never obeyed."""
    folder = tmp_path / f"a{ESCAPE}b"
    folder.mkdir()
    captions = folder / f"c{ESCAPE}.jsonl"
    rows = [
        {"image_id": "1", "id": f"r{ESCAPE}", "caption": f"A dog.{ESCAPE} A cat."},
        {"image_id": "x", "caption": ""},
    ]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    objects = folder / "o.json"
    objects.write_text('{"1": ["dog"]}')
    out = folder / f"out{ESCAPE}"
    commands = [
        ["audit", captions, "--objects", objects, "--out", out, "--export", folder / "e.jsonl"],
        ["audit", captions, "--objects", objects, "--out", out, "--limit", 1],
        ["audit", folder / "nothing", "--objects", objects, "--out", out],
        ["audit", captions, f"--nothing{ESCAPE}"],
        ["audit", captions, "--objects", objects, "--out", out, "--limit", f"x{ESCAPE}"],
        ["explain", out, f"r{ESCAPE}"],
        ["explain", out, f"nobody{ESCAPE}"],
        [f"command{ESCAPE}"],
        ["calibrate", captions, "--detector", f"objects:{objects}"],
        ["caption", folder, "--out", folder / "x.jsonl", "--model", f"m{ESCAPE}"],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "halluguard", *map(str, command)],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        printed = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert not {"\x1b", "\x07", "\x9b"} & set(printed), (command[0], printed)
        assert "Traceback" not in printed


SECRET = f"http://user:secret@{ESCAPE}"
NEWER = {
    "the name of a benchmark": ["eval", ESCAPE],
    "an option of a benchmark": ["eval", "pope", f"--{ESCAPE}"],
    "a file of scores": ["eval", "compare", f"{ESCAPE}.json"],
    "a file of answers": ["eval", "chair", "--captions", f"c{ESCAPE}.jsonl", "--objects", "o.json", "--json", "s.json"],
    "a model of the doctor": ["doctor", f"./m{ESCAPE}"],
    "a file to sample from": ["sample", f"{ESCAPE}.jsonl", "--out", "x.csv"],
    "a sheet": ["sample", f"c{ESCAPE}.jsonl", "--out", f"s{ESCAPE}.csv"],
    "a controller": ["bake", "--model", "sandbox", "--controller", ESCAPE, "--imagination", "0", "--out", "x"],
    "a folder to bake": ["bake", "--model", f"./m{ESCAPE}", "--controller", "x", "--imagination", "0", "--out", "x"],
    "the server behind": ["serve", "--upstream", SECRET, "--detector", "sandbox"],
    "a model to serve": ["serve", "--model", f"./m{ESCAPE}"],
    "a port": ["serve", "--model", "sandbox", "--port", ESCAPE],
    "a file of settings": ["train", "x", "--config", f"{ESCAPE}.yaml"],
}


@pytest.mark.parametrize("name", NEWER)
def test_escapes_and_passwords_of_arguments_are_not_printed(name, tmp_path, monkeypatch, capsys):
    (tmp_path / f"c{ESCAPE}.jsonl").write_text('{"image_id": "1", "caption": "A dog and a cat."}\n' * 3)
    (tmp_path / "o.json").write_text('{"1": ["dog"]}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["halluguard", *NEWER[name]])
    with pytest.raises(SystemExit) as ending:
        main()
    printed = "".join(capsys.readouterr())
    assert ending.value.code in (0, 2, 3, 5)
    assert printed
    assert "secret" not in printed
    assert not {"\x1b", "\x07", "\x9b"} & set(printed), printed


def test_a_manifest_with_escapes_is_printed_written_out(folder):
    audit(folder)
    manifest = folder / "out" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"expert": ESCAPE}))
    done = halluguard("audit", folder / "captions.jsonl", "--objects", folder / "objects.json", "--out", folder / "out")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr


def test_no_file_of_inputs_is_replaced_by_calibrate_or_train(folder):
    rows = folder / "rows.csv"
    rows.write_text("image,phrase,present\n1,dog,1\n1,cat,0\n")
    before = rows.read_bytes()
    detector = f"objects:{folder / 'objects.json'}"
    assert isinstance(invoke("calibrate", rows, "--detector", detector, "--out", rows), HalluguardError)
    assert rows.read_bytes() == before
    other = folder / "precious.json"
    other.write_text("precious")
    assert isinstance(invoke("calibrate", rows, "--detector", detector, "--out", other), HalluguardError)
    assert other.read_text() == "precious"


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "captions.jsonl", "--objects", "objects.json", "--out", "loop"),
        ("audit", "captions.jsonl", "--objects", "objects.json", "--out", "out", "--export", "loop"),
        ("audit", "loop", "--objects", "objects.json", "--out", "out"),
        ("audit", "merge", "loop", "--out", "out"),
        ("audit", "merge", "out", "--out", "loop"),
        ("explain", "loop", "1"),
        ("sample", "captions.jsonl", "--out", "loop"),
        ("caption", "loop", "--model", "m", "--endpoint", "http://127.0.0.1:1/v1", "--out", "loop"),
        ("calibrate", "captions.jsonl", "--detector", "objects:objects.json", "--out", "loop"),
        ("train", "captions.jsonl", "--model", "sandbox", "--out", "loop", "--merge", "loop"),
        ("eval", "pope", "--questions", "loop", "--answers", "loop", "--json", "loop"),
    ],
    ids=" ".join,
)
def test_a_loop_of_links_ends_in_a_sentence(arguments, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "loop").symlink_to("loop")
    error = invoke(*arguments)
    assert error is not None or not (folder / "loop").is_symlink()  # a link in place of an output is replaced


@pytest.mark.parametrize(
    "arguments",
    [
        ("pope", "--questions", "q.jsonl", "--answers", "a.jsonl", "--json", "q.jsonl"),
        ("pope", "--questions", "q.jsonl", "--answers", "a.jsonl", "--json", "link.jsonl"),
        ("pope", "--questions", "q.jsonl", "--answers", "a.jsonl", "--json", "o.json", "--config", "o.json"),
        ("chair", "--captions", "a.jsonl", "--objects", "objects.json", "--json", "objects.json"),
        ("mme", "--answers", "q.jsonl", "a.jsonl", "--json", "a.jsonl"),
        ("open", "--captions", "a.jsonl", "--references", "objects.json", "--json", "a.jsonl"),
    ],
)
def test_no_file_of_inputs_is_replaced_by_a_score(arguments, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("q.jsonl", "a.jsonl"):
        (folder / name).write_text('{"question_id": 1, "text": "Is there a dog?", "label": "yes", "answer": "yes"}\n')
    (folder / "o.json").write_text("{}")
    (folder / "link.jsonl").symlink_to("a.jsonl")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "would replace the input" in str(invoke("eval", *arguments))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_pipes_and_devices_are_no_captions(folder):
    os.mkfifo(folder / "pipe.jsonl")
    for captions in (folder / "pipe.jsonl", "/dev/zero"):
        assert isinstance(audit(folder, captions=captions), HalluguardError)


def test_a_path_that_cannot_be_used_ends_with_a_sentence(folder):
    done = halluguard("audit", "x" * 5000, "--objects", folder / "objects.json", "--out", folder / "out")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    done = halluguard("audit", folder / "captions.jsonl", "--objects", folder / "objects.json", "--out", "y" * 5000)
    assert done.returncode in (3, 6)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", "99999999999999999999"),
        ("--part-rows", "99999999999999999999"),
        ("--batch-size", "99999999999999999999"),
        ("--image-pattern", "{id:99999999999d}"),
        ("--encoding", "nonsense"),
        ("--encoding", "a\0b"),
        ("--shard", "1/99999999999999999999"),
        ("--filter", "caption * 99999999999 == ''", "--export", "clean.jsonl"),
        ("--filter", "[1] * 99999999999 == 1", "--export", "clean.jsonl"),
        ("--export", "."),
        ("--coco-detections", "."),
        ("--cache", "."),
        ("--cache", "/no/such/folder/c.sqlite"),
        ("--out", "captions.jsonl"),
        ("--out", "/proc/halluguard"),
    ],
)
def test_extreme_options(arguments, folder, monkeypatch):
    monkeypatch.chdir(folder)
    audit(folder, *arguments)


@pytest.mark.parametrize("device", ["nonsense", "cuda:x", "", "cpu cpu", "cuda:77"])
def test_a_device_that_is_not_there_ends_in_a_sentence(device, folder):
    error = invoke(
        *("audit", folder / "captions.jsonl", "--detector", "sandbox", "--images", folder, "--device", device),
        *("--out", folder / "out"),
    )
    assert isinstance(error, HalluguardError)
    assert "device" in str(error)


def test_files_that_take_long_or_much_memory_are_refused_first(folder):
    """YAML is read slowly, XML elements take much memory, and a vocabulary is a short list."""
    (folder / "long.yaml").write_text("out: [" + "a, " * 200_000 + "a]")
    assert "expected a file of at most" in str(invoke("audit", "--config", folder / "long.yaml"))
    (folder / "many.xml").write_text("<annotations>" + "<a/>" * 6_000_000 + "</annotations>")
    boxes = ("--detector", f"precomputed:{folder / 'many.xml'}", "--out", folder / "out")
    assert "expected XML that takes at most" in str(invoke("audit", folder / "captions.jsonl", *boxes))
    (folder / "names.txt").write_text("\n" * 5_000_000)
    assert "expected a file of at most" in str(audit(folder, "--vocabulary", folder / "names.txt"))


def test_annotations_whose_pairs_are_too_many_are_refused(tmp_path):
    thing = [{"id": i, "name": str(i), "file_name": f"{i}.png"} for i in range(4_000)]
    (tmp_path / "a.json").write_text(json.dumps({"images": thing, "categories": thing, "annotations": []}))
    with pytest.raises(HalluguardError, match="at most 10,000,000 pairs of image and category"):
        read_rows(tmp_path / "a.json")


def test_an_error_that_holds_a_very_long_name_is_printed_with_its_begin_and_advice(tmp_path, monkeypatch, capsys):
    (tmp_path / "labels.csv").write_text("image,phrase,present\n" + "x" * 100_000 + ",dog,maybe\n")
    (tmp_path / "o.json").write_text(json.dumps({"a": ["dog"], "x" * 100_000: 3}))
    (tmp_path / "c.jsonl").write_text('{"image": "a", "caption": "A dog."}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["halluguard", "audit", "c.jsonl", "--objects", "o.json", "--out", "out"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().err
    assert len(shown) < 5_000
    assert shown.startswith(("halluguard: expected", "c.jsonl")) or "expected" in shown


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_of_empty_lines_is_refused_before_it_is_read_for_minutes(suffix, folder, monkeypatch):
    """Every reader of rows bounds empty lines: each of 300 million takes time."""
    monkeypatch.setattr("halluguard.io.MAX_EMPTY", 1000)
    monkeypatch.setattr("halluguard.auditing.inputs.delimited.MAX_EMPTY", 1000)
    rows = {"jsonl": '{"image": "1", "caption": "A dog."}\n', "csv": "image,caption,phrase,present\n1,A dog.,dog,yes\n"}
    file = folder / f"gap.{suffix}"
    file.write_text(rows[suffix] + "\n" * 2000 + rows[suffix])
    assert "consecutive empty lines" in str(audit(folder, captions=file.name))
    readers = {"jsonl": (metric_rows, read_entries), "csv": (metric_rows, read_rows, read_names)}
    for read in readers[suffix]:
        with pytest.raises(HalluguardError, match="consecutive empty lines"):
            list(read(file))
