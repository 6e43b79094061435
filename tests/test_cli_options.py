"""Options that every command takes: a file of options, a log, completion."""

import json
import logging

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from halluguard.cli import app
from halluguard.cli.evaluate import BENCHMARKS
from halluguard.errors import InputError, SettingsError


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


@pytest.fixture
def pope(folder):
    """Answers to two of POPE's questions."""
    questions = [
        {"question_id": k, "image": "1.jpg", "text": f"Is there a {name} in the image?", "label": label}
        for k, (name, label) in enumerate([("dog", "yes"), ("cat", "no")])
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    answers = [{"question_id": k, "text": text} for k, text in enumerate(["Yes", "Yes"])]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return {"answers": str(folder / "answers.jsonl"), "questions": str(folder / "questions.jsonl"), "resamples": 10}


def test_a_benchmark_takes_a_file_of_options_and_the_command_line_wins(folder, pope):
    config = options(folder, json.dumps({**pope, "limit": 1, "json": str(folder / "file.json")}), "eval.json")
    done = run("eval", "pope", "--config", config, "--json", folder / "line.json")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "|n:1|" in json.loads((folder / "line.json").read_text())["signature"]
    assert not (folder / "file.json").exists()


def test_a_benchmark_can_say_more(monkeypatch):
    verbose = []
    monkeypatch.setattr("halluguard.cli.evaluate.log_to_stderr", lambda: verbose.append(True))
    monkeypatch.setattr("halluguard.evaluation.pope.run", lambda given: None)
    for flags in ([], ["-v"], ["--verbose"]):
        assert run("eval", "pope", "--answers", "a", "--json", "b", *flags).exit_code == 0
    assert len(verbose) == 2


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_names_the_shared_options(name, capsys):
    done = run("eval", name, "--help")
    assert done.exit_code == 0
    shown = capsys.readouterr().out + done.output
    assert "--config" in shown
    assert "--verbose" in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("qestions: x", "unknown option 'qestions'; did you mean 'questions'?"),
        ("config: x", "unknown option 'config'"),
        ("in_order: maybe", "expected true or false for 'in_order'"),
        ("limit: [1, 2]", "expected one value for 'limit'"),
        ("set: {a: b}", "one value or a list of them for 'set'"),
    ],
)
def test_a_file_of_a_benchmark_that_cannot_be_taken_is_refused_by_name(folder, text, words):
    done = run("eval", "pope", "--config", options(folder, text, "eval.yaml"))
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception)


def test_lists_flags_and_repeated_options_of_a_file_reach_the_benchmark(folder):
    from halluguard.cli.evaluate import _with_file
    from halluguard.evaluation import mme, pope

    config = options(folder, "set: [alpha=1, beta=0.2]\nin-order: true\nmodel: m\njson: -x.json\n", "a.yaml")
    words = ["--set", "alpha=2", "--config", str(config)]
    parser = pope.options_parser()
    given = parser.parse_args(_with_file(parser, words[2:])[2:])
    assert (given.set, given.in_order, str(given.json)) == (["alpha=1", "beta=0.2"], True, "-x.json")
    assert parser.parse_args(_with_file(parser, words)[4:] + words[:2]).set == ["alpha=2"], "not those of the file too"
    config = options(folder, "tasks: [existence, count]\nanswers: a.txt\njson: x.json\n", "b.yaml")
    parser = mme.options_parser()
    given = parser.parse_args(_with_file(parser, ["--config", str(config)])[2:])
    assert (given.tasks, [str(path) for path in given.answers]) == (["existence", "count"], ["a.txt"])


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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(shell):
    script = run("--show-completion", shell).output
    assert "_HALLUGUARD_COMPLETE=complete_" + shell in script.replace("\\\n", " ")
    assert "python -m" not in script


def test_completion_is_installed_for_the_shell_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path) in run("--install-completion", "fish").output
    (file,) = tmp_path.rglob("*.fish")
    assert "halluguard" in file.read_text()


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_a_shell_that_nothing_is_known_of_is_refused(option):
    done = run(option, "nosuchshell")
    assert isinstance(done.exception, SettingsError)
    assert "bash, zsh, fish" in str(done.exception)


def test_the_names_of_benchmarks_stand_beside_what_they_measure(capsys):
    done = run("eval")
    lines = (capsys.readouterr().out + done.output).splitlines()
    for name in BENCHMARKS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".")


def test_commands_are_listed_by_name():
    names = get_command(app).list_commands(None)
    assert names == sorted(names)
    assert "audit" in names
