"""Coverage in audits: what was read of each row, in the tables, the summary, the report and the gate."""

import json

import pytest
from typer.testing import CliRunner

from halluguard.auditing.gates import Gates
from halluguard.auditing.outputs.merging import merge_shards
from halluguard.auditing.run_folder import read_parts
from halluguard.cli import app
from halluguard.errors import SettingsError
from halluguard.io import read_json

ROWS = [
    {"image_id": 1, "caption": "A dog sits on a bench."},
    {"image_id": 2, "caption": "A zorblax sits beside a horse.\n\nResimde bir köpek ve bir kedi var."},
    {"image_id": 1, "caption": ""},
]


@pytest.fixture
def run(objects_file, tmp_path):
    captions = tmp_path / "rows.jsonl"
    captions.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")

    def run(*options, out="out"):
        command = ["audit", str(captions), "--objects", str(objects_file), "--out", str(tmp_path / out), *options]
        done = CliRunner().invoke(app, command)
        return tmp_path / out, done

    return run


def test_each_row_and_the_summary_say_what_was_read(run):
    from pyarrow import parquet

    out, done = run()
    assert done.exit_code == 0
    whole, part, skipped = read_parts(out)
    assert whole["coverage"] == {"letters": 16, "letters_read": 16, "nouns": 2, "nouns_read": 2}
    assert skipped["coverage"] is None
    letters = part["coverage"]
    assert 0 < letters["letters_read"] < letters["letters"]
    assert (letters["nouns"], letters["nouns_read"]) == (2, 1)
    columns = parquet.read_table(out / "captions.parquet").to_pydict()
    assert columns["nouns_read"] == [1.0, 0.5, 0.0]
    assert columns["text_read"][0] == 1.0
    assert columns["text_read"][1] == round(letters["letters_read"] / letters["letters"], 6)
    rates = read_json(out / "summary.json")["rates"]
    assert rates["nouns_read"]["value"] == 0.75
    assert rates["text_read"]["n"] == 16 + letters["letters"]
    assert "Letters read" in (out / "report.html").read_text(encoding="utf-8")


def test_the_summary_counts_claims_that_no_expert_can_judge(run):
    out, _ = run()
    rates = read_json(out / "summary.json")["rates"]
    counts = read_json(out / "summary.json")["claims"]
    assert rates["unverifiable"]["value"] == round(counts["unverifiable"] / sum(counts.values()), 6) > 0


def test_the_share_of_claims_that_were_never_asked_is_exact(tmp_path):
    """A list of objects has no bridges; a statue of a horse claims no horse; an awaited bus is asked about."""
    captions, objects = tmp_path / "rows.jsonl", tmp_path / "objects.json"
    texts = ["A dog stands under a bridge.", "A statue of a horse stands near a cat.", "People wait for a bus."]
    captions.write_text("".join(json.dumps({"image_id": 1, "caption": text}) + "\n" for text in texts))
    objects.write_text(json.dumps({"1": ["dog", "person"]}))
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["audit", str(captions), "--objects", str(objects), "--out", str(out), "--no-relations", "--no-attributes"]
    )
    assert done.exit_code == 0, done.output
    rows = list(read_parts(out))
    unasked = [
        row["claims"][verdict["claim"]]["phrase"]
        for row in rows
        for verdict in row["verdicts"]
        if not verdict.get("asked", True) and row["claims"][verdict["claim"]]["kind"] == "existence"
    ]
    assert "bridge" in unasked
    assert "horse" in unasked
    assert not {"dog", "cat", "bus", "People"} & set(unasked)
    verdicts = [verdict for row in rows for verdict in row["verdicts"]]
    rate = read_json(out / "summary.json")["rates"]["never_asked"]
    assert rate["n"] == len(verdicts)
    assert rate["value"] == round(sum(not verdict.get("asked", True) for verdict in verdicts) / len(verdicts), 6)
    assert "Claims about which no expert was asked" in (out / "report.html").read_text(encoding="utf-8")
    explained = CliRunner().invoke(app, ["explain", str(out), "#0"]).output
    assert "never asked" in explained
    assert "bridge" in explained


def test_a_row_beyond_its_budget_is_skipped_with_its_reason(tmp_path):
    captions, objects = tmp_path / "rows.jsonl", tmp_path / "objects.json"
    texts = ["A dog sits.", "A dog sits near a cat. " * 4000]
    captions.write_text("".join(json.dumps({"image_id": 1, "caption": text}) + "\n" for text in texts))
    objects.write_text(json.dumps({"1": ["dog"]}))
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["audit", str(captions), "--objects", str(objects), "--out", str(out), "--budget", "0.2"]
    )
    assert "Traceback" not in done.output
    codes = [row["code"] for row in read_parts(out)]
    assert codes == ["ok", "budget"]
    (skipped,) = [json.loads(line) for line in (out / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "0.2 seconds of processor time" in skipped["reason"]


@pytest.mark.parametrize(("least", "code"), [("0.5", 0), ("0.99", 1)])
def test_the_gate_stops_a_run_of_which_too_little_was_read(run, least, code):
    _, done = run("--min-read", least)
    assert done.exit_code == code
    assert ("share of letters read" in done.output) == (code == 1)


@pytest.mark.parametrize("least", ["nan", "-0.1", "1.5"])
def test_a_gate_that_is_no_share_is_refused_before_the_run(run, least):
    out, done = run("--min-read", least)
    assert isinstance(done.exception, SettingsError)
    assert "--min-read" in str(done.exception)
    assert not out.exists()


@pytest.mark.parametrize("rates", [{}, {"text_read": {"value": None, "low": None, "high": None, "n": 0}}])
def test_a_summary_without_letters_fails_the_gate(rates):
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    summary = {"rates": {"hallucination_rate": nothing, "verifiable": nothing, **rates}, "by_label": {}}
    (failure,) = Gates(min_read=0.5).failures(summary)
    assert failure == "share of letters read: there are no letters to read, and it must be at least 0.5"
    assert not Gates().failures(summary)


def test_a_filter_keeps_the_rows_that_were_read(run, tmp_path):
    export = tmp_path / "read.jsonl"
    _, done = run("--export", str(export), "--filter", "text_read >= 0.9 and nouns_read == 1")
    assert done.exit_code == 0
    assert [json.loads(line)["caption"] for line in export.read_text(encoding="utf-8").splitlines()] == [
        "A dog sits on a bench."
    ]


def test_shards_merge_to_the_run_of_one_machine(run, tmp_path):
    whole, _ = run()
    shards = [run("--shard", f"{i}/2", out=f"shard{i}")[0] for i in (1, 2)]
    merge_shards(shards, tmp_path / "merged")
    for name in ("parts/part-000000.jsonl", "summary.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes()


def test_explain_says_what_was_read(run):
    out, _ = run()
    done = CliRunner().invoke(app, ["explain", str(out), "#1"])
    assert "50% of its 2 nouns" in done.output
