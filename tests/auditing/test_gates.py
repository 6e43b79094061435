"""Gates on a summary, filters of an export, and the exit codes they end in."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.gates import Gates, per_label
from halluguard.auditing.outputs.filters import parse_filter
from halluguard.errors import SettingsError
from halluguard.metrics.stats import wilson

ROW = {"contradicted": 1, "supported": 3, "words": 10, "words_kept": 8, "code": "ok", "caption": "A dog."}


def share(k, n):
    low, high = wilson(k, n) if n else (None, None)
    return {"value": k / n if n else None, "low": low, "high": high, "n": n}


def summary(k, n, label="dog", claims=None):
    rate = share(k, n)
    return {
        "schema": 1,
        "settings": {"expert": "x", "thresholds": None},
        "rates": {"hallucination_rate": rate, "verifiable": share(n, claims or n)},
        "by_label": {label: {"rate": rate}},
    }


@pytest.mark.parametrize(
    ("gates", "k", "n", "fails"),
    [
        (Gates(max_hallucination_rate=0.2), 2, 10, False),
        (Gates(max_hallucination_rate=0.2), 3, 10, True),
        (Gates(max_per_label={"": 0.2}), 3, 10, False),  # too few to say
        (Gates(max_per_label={"": 0.2}), 30, 100, True),
        (Gates(max_per_label={"dog": 0.2}), 3, 10, True),
        (Gates(max_per_label={"cat": 0.0}), 3, 10, False),
        (Gates(min_verifiable=0.5), 1, 10, False),
        (Gates(max_hallucination_rate=0.1), 0, 0, False),
        (Gates(min_verifiable=0.1), 0, 0, True),
        (Gates(baseline=summary(10, 100)), 12, 100, False),  # worse, and within what chance gives
        (Gates(baseline=summary(10, 100)), 40, 100, True),
        (Gates(baseline=summary(40, 100)), 10, 100, False),
        (Gates(baseline=summary(0, 1000)), 30, 1000, True),
    ],
)
def test_a_gate_fails_when_its_limit_is_passed(gates, k, n, fails):
    assert bool(gates.failures(summary(k, n))) is fails


def test_rates_of_other_experts_are_not_compared():
    other = summary(1, 10) | {"settings": {"expert": "y", "thresholds": None}}
    with pytest.raises(SettingsError, match="expert"):
        Gates(baseline=other).failures(summary(1, 10))


def test_limits_are_shares():
    assert per_label(["0.1", "dog=0.2", "a=b=0.3"]) == {"": 0.1, "dog": 0.2, "a=b": 0.3}
    for wrong in (
        lambda: Gates(max_hallucination_rate=10),
        lambda: Gates(max_per_label={"dog": -1}),
        lambda: per_label(["x"]),
    ):
        with pytest.raises(SettingsError):
            wrong()


@pytest.mark.parametrize(
    ("skipped", "rows", "limit", "failed"),
    [
        (0, 0, None, False),
        (9, 10, None, False),
        (10, 10, None, True),
        (1, 10, 0, True),
        (1, 10, 0.1, False),
        (2, 10, 0.1, True),
        (5, 10, 5, False),
    ],
)
def test_rows_skipped_have_a_limit(skipped, rows, limit, failed):
    assert Gates(max_errors=limit).too_many_skipped({"skipped": {"image": skipped}, "rows": rows}) is failed


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("contradicted == 0", False),
        ("contradicted==1 and supported >= 2", True),
        ("not contradicted or supported > 9", False),
        ("words_kept / words > 0.7", True),
        ("0 < supported < 4", True),
        ("code in ('ok', 'image') and 'dog' in caption", True),
        ("supported / (words - 10) == 0", True),
    ],
)
def test_filters_read_columns(expression, value):
    assert parse_filter(expression)(ROW) is value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "nothing == 1",
        "__import__('os')",
        "caption.upper()",
        "words ** words",
        "lambda: 1",
        "words[0]",
        "(" * 3000,
        "1 if words else 2",
        "[x for x in caption]",
    ],
)
def test_filters_run_nothing_else(expression):
    with pytest.raises(SettingsError):
        parse_filter(expression)


def test_comparing_text_and_numbers_is_told():
    with pytest.raises(SettingsError, match="compare"):
        parse_filter("caption > 3")(ROW)


def test_a_filter_leaves_rows_out_of_the_export(captions_file, objects_file, tmp_path, read_lines):
    from halluguard.auditing.outputs.export import write_export
    from halluguard.auditing.source import open_source

    audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    kept = write_export(
        tmp_path / "out", open_source(captions_file, {}), tmp_path / "e.jsonl", parse_filter("contradicted == 0")
    )
    assert kept == 2
    assert [row["image_id"] for row in read_lines(tmp_path / "e.jsonl")] == [2, 1]


def command(*arguments, **options):
    line = [sys.executable, "-m", "halluguard.cli", "audit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, **options)


def test_standard_input_gates_and_merge_from_the_command_line(captions_file, objects_file, tmp_path):
    """One process each, so few of them: a failed gate is 1, and shards merge to the bytes of the whole."""
    told = command(
        *("-", "--objects", objects_file, "--out", tmp_path / "whole", "--max-hallucination-rate", 0.01),
        *("--no-report", "--progress", "json"),
        input=captions_file.read_text(encoding="utf-8"),
    )
    assert told.returncode == 1, told.stderr
    assert "gate failed: hallucination rate" in told.stderr
    state = next(json.loads(line) for line in told.stderr.splitlines() if line.startswith("{"))
    assert state["done"] == 3
    shards = [tmp_path / f"s{i}" for i in (1, 2)]
    for i, shard in enumerate(shards, start=1):
        done = command(captions_file, "--objects", objects_file, "--out", shard, "--shard", f"{i}/2", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")
    assert command("merge", shards[0], "--out", tmp_path / "m").returncode == 2
    assert command("merge", *shards, "--out", tmp_path / "m").returncode == 0
    audit(captions_file, tmp_path / "one", detector=f"objects:{objects_file}")
    for name in ("parts/part-000000.jsonl", "claims.parquet", "summary.json"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_same_command_continues(number, code, tmp_path):
    captions, objects = tmp_path / "c.jsonl", tmp_path / "o.json"
    captions.write_text(
        "".join(f'{{"image_id": 1, "caption": "A dog and {i} cats on a bench."}}\n' for i in range(20_000))
    )
    objects.write_text('{"1": ["dog"]}')
    line = [sys.executable, "-m", "halluguard.cli", "audit", captions, "--objects", objects, "--out", tmp_path / "out"]
    process = subprocess.Popen([*map(str, line), "--part-rows", "128"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "parts" / "part-000000.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code
    assert "the same command continues" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_is_no_number_of_rows_is_refused(limit):
    with pytest.raises(SettingsError, match="max-errors"):
        Gates(max_errors=limit)


@pytest.mark.parametrize(("label", "words"), [("dgo", "did you mean 'dog'"), ("man", "'person'"), ("Dogs", "'dog'")])
def test_a_limit_on_a_label_that_no_claim_falls_under_is_refused(label, words):
    with pytest.raises(SettingsError, match=words):
        Gates(max_per_label={label: 0.1}).check_labels(["A dog and a lamp."])


@pytest.mark.parametrize("label", ["dog", "cat", "lamp", ""])
def test_a_limit_on_a_known_label_or_a_word_of_the_captions_is_taken(label):
    Gates(max_per_label={label: 0.1}).check_labels(["A dog.", "Two lamps."])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-errors", "nan"),
        ("--max-per-label", "nonsense=0.1"),
        ("--max-per-label", "dog=nan"),
        ("--report-samples", "-1"),
        ("--max-hallucination-rate", "nan"),
        ("--min-verifiable", "2"),
        ("--batch-size", "0"),
        ("--engine", "nothing"),
        ("--filter", "contradicted == 0"),
        ("--filter", "nothing == 0", "--export", "clean.jsonl"),
    ],
)
def test_wrong_options_are_refused_before_the_run(arguments, captions_file, objects_file, tmp_path):
    from typer.testing import CliRunner

    from halluguard.cli import app

    done = CliRunner().invoke(
        app, ["audit", str(captions_file), "--objects", str(objects_file), "--out", str(tmp_path / "out"), *arguments]
    )
    assert isinstance(done.exception, SettingsError)
    assert not (tmp_path / "out").exists()


def test_another_detectors_baseline_is_refused_before_the_run(captions_file, objects_file, tmp_path):
    baseline = summary(1, 10)
    config = AuditConfig(
        *(captions_file, tmp_path / "out"), detector=f"objects:{objects_file}", gates=Gates(baseline=baseline)
    )
    with pytest.raises(SettingsError, match="baseline"):
        audit(config)
    assert not (tmp_path / "out").exists()
