"""The command line: what it prints, what it exits with."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from halluguard import __version__
from halluguard.cli import app, exit_code
from halluguard.errors import ExpertError, ImageError, InputError, MissingExtraError, SettingsError


def halluguard(*arguments):
    return subprocess.run([sys.executable, "-m", "halluguard", *map(str, arguments)], capture_output=True, text=True)


def test_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"halluguard {__version__}\n"


def test_help_is_light():
    code = (
        "import sys\n"
        "from halluguard.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'spacy', 'numpy', 'PIL', 'pyarrow', 'jinja2')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, "halluguard --help pulls a heavy package"
    assert "audit" in done.stdout


@pytest.mark.parametrize(
    "command", ["audit", "audit merge", "caption", "calibrate", "train", "explain", "demo", "doctor"]
)
def test_the_usage_line_is_what_one_types(command):
    usage = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="halluguard").output.split("Usage: ")[1]
    expected = "audit CAPTIONS" if command == "audit" else command  # its subcommand would else stand before the file
    assert usage.startswith(f"halluguard {expected} [OPTIONS]")


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "halluguard", "--version"], capture_output=True, text=True)
    assert done.stdout == f"halluguard {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (InputError("x"), 3),
        (ImageError("x"), 3),
        (ExpertError("x"), 5),
        (MissingExtraError("x"), 5),
    ],
)
def test_every_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


def test_an_unreadable_input_ends_with_one_sentence_and_no_traceback(tmp_path):
    done = halluguard("audit", tmp_path / "nothing.jsonl", "--out", tmp_path / "out", "--objects", "x.json")
    assert done.returncode == 3
    assert done.stderr.startswith("halluguard: no captions at ")
    assert len(done.stderr.splitlines()) == 1


def test_an_audit_from_the_command_line(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"image_id": 7, "caption": "A dog and a cat."}\n', encoding="utf-8")
    (tmp_path / "o.json").write_text('{"7": ["dog"]}', encoding="utf-8")
    started = time.perf_counter()
    done = halluguard(
        "audit", tmp_path / "c.jsonl", "--objects", tmp_path / "o.json", "--out", tmp_path / "out", "--export",
        tmp_path / "clean.jsonl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started < 60
    assert json.loads((tmp_path / "clean.jsonl").read_text(encoding="utf-8")) == {"image_id": 7, "caption": "A dog."}


def test_an_audit_of_pictures(tmp_path):
    """The sandbox expert looks at sandbox scenes; bad rows are skipped with their reason and the run goes on."""
    from halluguard import sandbox

    samples = sandbox.scenes(3)
    lines = [
        {"id": i, "image": f"{sample.image_id}.webp", "caption": f"There is a {sample.names[0]}. There is an elephant."}
        for i, sample in enumerate(samples)
    ]
    lines += [
        {"id": 7, "image": "../secret.png", "caption": "A dog."},
        {"id": 8, "image": "nothing.png", "caption": "A dog."},
        {"id": 9, "image": f"{samples[0].image_id}.webp", "caption": " "},
    ]
    captions = tmp_path / "captions.jsonl"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    outs = []
    for name in ("one", "two"):
        out, export = tmp_path / name, tmp_path / f"{name}.jsonl"
        done = halluguard(
            "audit",
            captions,
            "--images",
            sandbox.TEST_SCENES,
            "--detector",
            "sandbox",
            "--out",
            out,
            "--export",
            export,
        )
        assert done.returncode == 0, done.stderr
        outs.append(((out / "summary.json").read_bytes(), (out / "claims.parquet").read_bytes(), export.read_bytes()))
    assert outs[0] == outs[1]
    summary = json.loads(outs[0][0])
    assert summary["audited"] == 3
    assert summary["skipped"] == {"image": 2, "empty-caption": 1, "unreadable-row": 1}
    corrected = [json.loads(line)["caption"] for line in outs[0][2].splitlines()[:3]]
    assert corrected == [f"There is a {sample.names[0]}." for sample in samples]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "needs at least one detector"),
        (("--detector", "some/detector"), "name their folder"),
        (("--detector", "sandbox", "--objects", "x.json"), "name their folder"),
    ],
)
def test_an_audit_without_a_usable_detector_says_what_to_name(tmp_path, arguments, words):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"image": "a.png", "caption": "A dog."}\n')
    done = halluguard("audit", captions, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
