"""Options that every command takes: a file of options, a log, completion."""

import json
import logging
import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from halluguard.cli import app
from halluguard.errors import InputError


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def commands():
    for name, command in get_command(app).commands.items():
        for part, inner in getattr(command, "commands", {"": command}).items():
            yield f"{name} {part}".strip(), inner


@pytest.mark.parametrize("name", [name for name, _ in commands() if name != "eval"])
def test_every_command_takes_a_file_of_options_and_can_say_more(name):
    options = {option for parameter in dict(commands())[name].params for option in parameter.opts}
    assert {"--config", "--verbose", "-v"} <= options


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"image_id": 1, "caption": "A dog."}\n{"image_id": 1, "caption": "A."}\n')
    (tmp_path / "objects.json").write_text('{"1": ["dog"]}')
    return tmp_path


def options(folder, text, name="audit.yaml"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", ["audit.yaml", "audit.json"])
def test_a_file_gives_options_and_the_command_line_wins(folder, name):
    given = {
        "captions": str(folder / "captions.jsonl"),
        "objects": [str(folder / "objects.json")],
        "out": str(folder / "out"),
        "report": False,
        "limit": 2,
        "part_rows": 10,
    }
    config = options(folder, json.dumps(given), name)  # JSON is YAML
    done = run("audit", "--config", config, "--limit", 1)
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "out" / "summary.json").read_text())["rows"] == 1
    assert not (folder / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("objcts: [x]", InputError, "unknown option 'objcts'; did you mean 'objects'?"),
        ("verbose: true", InputError, "unknown option 'verbose'"),
        ("report: maybe", InputError, "expected true or false for 'report'"),
        ("limit: [1, 2]", InputError, "expected one value for 'limit'"),
        ("limit:", InputError, "expected one value for 'limit'"),
        ("objects: {a: b}", InputError, "one value or a list of them"),
        ("- out", InputError, "expected an object of settings"),
        ("1: out", InputError, "expected an object of settings"),
        ("a: [1\nb: 2", InputError, "is not valid YAML, line 2"),
        ("[" * 5000, InputError, "is not valid YAML"),
        ("out: !!python/object/apply:os.system [ls]", InputError, "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_taken_is_refused_by_name(folder, text, error, words):
    done = run("audit", folder / "captions.jsonl", "--config", options(folder, text), "--out", folder / "out")
    assert isinstance(done.exception, error)
    assert words in str(done.exception)
    assert not (folder / "out").exists()


def test_a_value_of_a_file_is_checked_as_on_the_command_line(folder):
    done = run("audit", folder / "captions.jsonl", "--config", options(folder, "limit: many"), "--out", folder / "out")
    assert done.exit_code == 2
    assert "--limit" in done.stderr


def test_verbose_prints_what_the_logger_of_the_package_is_told(folder):
    arguments = (
        *("audit", folder / "captions.jsonl", "--objects", folder / "objects.json", "--no-report"),
        *("--out", folder / "out"),
    )
    logger = logging.getLogger("halluguard")
    before = (logger.level, list(logger.handlers))
    try:
        said = run(*arguments, "-v").stderr
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]
    assert "halluguard.auditing.run: part 0 finished" in said
    assert "halluguard.auditing.run" not in run(*arguments).stderr


def test_the_shell_completes_commands():
    """The shell is named here; typer would look for the one that runs the tests, which may be any."""
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "halluguard", "--show-completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=named)
    assert done.returncode == 0, done.stderr
    assert "COMPREPLY" in done.stdout
