"""A run from captions to verdicts, and what happens when it is stopped, repeated or given bad rows."""

import hashlib
import json

import pytest
from pyarrow import parquet

from halluguard.auditing import audit
from halluguard.auditing.run_folder import read_parts
from halluguard.errors import SettingsError


def contents(folder, but=(".lock",)):
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in but]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def test_a_verdict_row_per_caption_and_a_summary(captions_file, objects_file, tmp_path):
    summary = audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    rows = list(read_parts(tmp_path / "out"))
    judged = [[(row["claims"][v["claim"]], v["decision"]) for v in row["verdicts"]] for row in rows]
    decisions = [{c["name"]: decision for c, decision in row if c["kind"] == "existence"} for row in judged]
    assert decisions[0]["dog"] == "supported"
    assert decisions[0]["cat"] == "contradicted"
    assert "cat" not in rows[0]["corrected"]
    assert "dog" in rows[0]["corrected"]
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert summary["rows"] == summary["audited"] == 3
    assert summary["captions_with_contradictions"] == 1
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))


def test_the_export_has_the_inputs_own_schema_and_order(captions_file, objects_file, tmp_path, read_lines):
    audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}", export=tmp_path / "clean.jsonl")
    before, after = read_lines(captions_file), read_lines(tmp_path / "clean.jsonl")
    assert [list(row) for row in after] == [list(row) for row in before]
    assert [{**row, "caption": ""} for row in after] == [{**row, "caption": ""} for row in before]
    assert "cat" not in after[0]["caption"]
    assert (
        captions_file.read_text(encoding="utf-8").splitlines()[1:]
        == (tmp_path / "clean.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    ), "rows without an edit are repeated word for word"


def test_two_runs_give_the_same_bytes_and_a_repeated_one_changes_nothing(captions_file, objects_file, tmp_path):
    for name in ("a", "b", "a"):
        audit(captions_file, tmp_path / name, detector=f"objects:{objects_file}")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"image_id": 1, "caption": "A dog."', "unreadable-row"),
        (b'{"image_id": 1, "caption": "\xff\xfe"}', "unreadable-row"),
        (b'[1, "A dog."]', "unreadable-row"),
        (b'{"image_id": 1, "caption": "A dog.", "caption": "A cat."}', "unreadable-row"),
        (b'{"image_id": 1, "caption": ' + b"[" * 100_000 + b"}", "unreadable-row"),
        (b'{"image_id": 1' + b"0" * 5000 + b', "caption": "A dog."}', "unreadable-row"),
        (b'{"image_id": 1, "caption": "  "}', "empty-caption"),
        (b'{"image_id": 1, "caption": null}', "no-caption"),
        (b'{"image_id": 1, "caption": 7}', "no-caption"),
        (b'{"image_id": 1}', "no-caption"),
        (b'{"caption": "A dog."}', "no-image"),
        (b'{"image_id": NaN, "caption": "A dog."}', "no-image"),
        (b'{"image_id": 1, "caption": "A \\ud800 dog."}', "caption"),
        (b'{"image_id": 99, "caption": "A dog."}', "unlisted-image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_is_skipped_with_its_reason_and_the_run_goes_on(
    line, code, captions_file, objects_file, tmp_path, read_lines
):
    captions_file.write_bytes(captions_file.read_bytes() + line + b'\n{"image_id": 2, "caption": "A horse."}\n')
    summary = audit(
        captions_file, tmp_path / "out", detector=f"objects:{objects_file}", export=tmp_path / "clean.jsonl"
    )
    skipped = read_lines(tmp_path / "out" / "skipped.jsonl")
    assert [(row["index"], row["code"]) for row in skipped] == [(3, code)]
    assert len(skipped[0]["reason"]) > 10
    assert summary["audited"] == 4
    assert summary["skipped"] == {code: 1}
    assert (tmp_path / "clean.jsonl").read_bytes().splitlines()[3] == line, "the export keeps it as it was"


def test_other_settings_are_refused_and_force_new_starts_afresh(captions_file, objects_file, tmp_path):
    from halluguard.correction.verification import Thresholds

    audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    before = contents(tmp_path / "out")
    with pytest.raises(SettingsError, match="thresholds"):
        audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}", thresholds=Thresholds(0.9, 0.1))
    captions_file.write_text(captions_file.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(SettingsError, match="input"):
        audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    assert contents(tmp_path / "out") == before
    summary = audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}", force_new=True)
    assert summary["rows"] == 6


def test_a_calibration_file_gives_thresholds_and_probabilities(captions_file, objects_file, tmp_path):
    from typer.testing import CliRunner

    from halluguard.calibration import Calibration, Curve
    from halluguard.cli import app

    Calibration("known", 0.5, 0.5, {}, Curve((0.0, 1.0), (0.1, 0.8)), {}, {}).save(tmp_path / "thresholds.json")
    arguments = ["audit", str(captions_file), "--objects", str(objects_file), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--thresholds", str(tmp_path / "thresholds.json")])
    assert done.exit_code == 0, done.output
    claims = parquet.read_table(tmp_path / "out" / "claims.parquet").to_pylist()
    told = {(c["decision"], c["confidence"], c["calibrated"]) for c in claims if c["kind"] == "existence"}
    assert ("supported", 0.8, True) in told
    assert ("contradicted", 0.9, True) in told
    raw = CliRunner().invoke(app, arguments)
    assert isinstance(raw.exception, SettingsError), "a run without the calibration is another run"


def test_a_full_disk_is_said_and_what_was_finished_is_kept(captions_file, objects_file, tmp_path, monkeypatch):
    import errno
    import os

    from halluguard.errors import OutputError

    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    monkeypatch.undo()
    audit(captions_file, tmp_path / "out", detector=f"objects:{objects_file}")
    audit(captions_file, tmp_path / "whole", detector=f"objects:{objects_file}")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
