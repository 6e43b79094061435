"""A run folder that was damaged, linked elsewhere or changed is repaired or refused, never trusted."""

import json
import os
import shutil
from pathlib import Path

import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.outputs.merging import merge_shards
from halluguard.auditing.run import run
from halluguard.auditing.run_folder import RunFolder
from halluguard.auditing.source import open_source
from halluguard.errors import HalluguardError, InputError, OutputError


@pytest.fixture
def captions(tmp_path):
    rows = [{"image_id": i % 5, "caption": f"A dog and {i} cats sit on a bench."} for i in range(40)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "o.json").write_text(json.dumps({str(i): ["dog", "bench"][: i % 3] for i in range(5)}))
    return tmp_path / "c.jsonl"


@pytest.fixture
def config(captions, tmp_path):
    def build(out, **settings):
        return AuditConfig(
            captions, tmp_path / out, detector=f"objects:{tmp_path / 'o.json'}", part_rows=10, **settings
        )

    return build


def outputs(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def part(folder, number=1):
    return folder / "parts" / f"part-{number:06d}.jsonl"


def cut_at_a_line_end(folder):
    lines = part(folder).read_bytes().splitlines(keepends=True)
    part(folder).write_bytes(b"".join(lines[:4]))


def emptied(folder):
    part(folder).write_bytes(b"")


def doubled(folder):
    shutil.copy(part(folder, 0), part(folder, 1))
    shutil.copy(part(folder, 0).with_suffix(".check"), part(folder, 1).with_suffix(".check"))


def exchanged(folder):
    for suffix in (".jsonl", ".check"):
        one, two = part(folder, 0).with_suffix(suffix), part(folder, 1).with_suffix(suffix)
        first = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(first)


def out_of_order(folder):
    part(folder).write_bytes(b"".join(reversed(part(folder).read_bytes().splitlines(keepends=True))))


def edited(folder):
    part(folder).write_bytes(part(folder).read_bytes().replace(b"dog", b"cow"))


def missing(folder):
    part(folder).unlink()


def last_one_missing(folder):
    part(folder, 3).unlink()
    part(folder, 3).with_suffix(".check").unlink()


def no_json(folder):
    part(folder).write_bytes(b"\xff\xfe[[[[")


def check_no_json(folder):
    part(folder).with_suffix(".check").write_text("[" * 100_000)


DAMAGES = [
    *(cut_at_a_line_end, emptied, doubled, exchanged, out_of_order, edited, missing, last_one_missing, no_json),
    check_no_json,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_part_is_made_again(damage, config, tmp_path):
    audit(config("whole"))
    audit(config("out"))
    damage(tmp_path / "out")
    audit(config("out"))
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_shard_is_not_merged(damage, config, tmp_path, captions):
    captions.write_text(captions.read_text() * 3)
    for i in range(2):
        audit(config(f"s{i}", shard=(i, 2)))
    count = len(list((tmp_path / "s1" / "parts").glob("*.jsonl")))
    assert count > 3
    if damage is last_one_missing:
        part(tmp_path / "s1", count - 1).unlink()
    else:
        damage(tmp_path / "s1")
    with pytest.raises(InputError, match="not whole"):
        merge_shards([tmp_path / "s0", tmp_path / "s1"], tmp_path / "m")


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, "null", "{", "\x00", '{"selection": []}', '{"selection": {}}'])
def test_a_manifest_that_is_none_is_refused_in_a_sentence(text, config, tmp_path):
    audit(config("out"))
    (tmp_path / "out" / "manifest.json").write_text(text)
    with pytest.raises(HalluguardError):
        merge_shards([tmp_path / "out"], tmp_path / "m")
    with pytest.raises(HalluguardError):
        audit(config("out"))


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_an_input_that_changes_during_a_run_ends_it(change, config, captions, tmp_path):
    whole = captions.read_bytes()

    def progress(counts):
        text = {"longer": whole + whole, "shorter": whole[: len(whole) // 2], "other": whole.replace(b"dog", b"cow")}
        captions.write_bytes(text[change])

    with pytest.raises(InputError, match="changed while it was read"):
        run(config("out"), open_source(captions, {}), progress)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize("name", [".lock", "manifest.json", "parts", "cache.sqlite", "cache.sqlite-wal"])
def test_links_in_a_run_folder_are_refused(name, config, tmp_path):
    victim = tmp_path / "victim"
    if name == "parts":
        victim.mkdir()
        (victim / "part-000000.jsonl").write_text("precious")
    else:
        victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(victim)
    with pytest.raises(OutputError, match="links"):
        audit(config("out"))
    kept = victim / "part-000000.jsonl" if name == "parts" else victim
    assert kept.read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["manifest.json", ".lock", "claims.parquet", "skipped.jsonl", "summary.json", "parts/part-000000.jsonl"]
)
def test_pipes_in_a_run_folder_are_refused_and_not_waited_for(name, tmp_path):
    (tmp_path / "parts").mkdir()
    os.mkfifo(tmp_path / name)
    for opening in (lambda: RunFolder(tmp_path, {}), lambda: merge_shards([tmp_path], tmp_path / "merged")):
        with pytest.raises(InputError, match=f"pipes or devices .{Path(name).name}"):
            opening()
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError if name.startswith("parts") else HalluguardError, match=r"pipes or devices|links"):
        RunFolder(tmp_path, {})


@pytest.mark.parametrize("name", ["summary.json", "captions.parquet", "report.html"])
def test_a_link_in_place_of_a_result_is_replaced_and_not_followed(name, config, tmp_path):
    audit(config("out"))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out" / name).unlink(missing_ok=True)
    (tmp_path / "out" / name).symlink_to(victim)
    audit(config("out", report=True))
    assert victim.read_text() == "precious"
    assert not (tmp_path / "out" / name).is_symlink()


def test_half_written_files_of_a_killed_run_are_removed(config, tmp_path):
    audit(config("whole"))
    audit(config("out"))
    (tmp_path / "out" / ".summary.json.0123abcd.tmp").write_text("half")
    (tmp_path / "out" / "parts" / ".part-000009.jsonl.0123abcd.tmp").write_text("half")
    audit(config("out"))
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
