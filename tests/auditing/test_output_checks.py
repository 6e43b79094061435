"""No output destroys an input, a file of the run itself, or a file that somebody else wrote."""

import json
import sqlite3

import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.errors import SettingsError


@pytest.fixture
def config(captions_file, objects_file, tmp_path):
    def build(**settings):
        captions = settings.pop("captions", captions_file)
        out = settings.pop("out", tmp_path / "out")
        return AuditConfig(captions, out, detector=settings.pop("detector", f"objects:{objects_file}"), **settings)

    return build


def test_results_go_to_a_folder_and_not_over_a_file(config, captions_file, tmp_path):
    (tmp_path / "ok.csv").write_text("a,b\n")
    for file in (tmp_path / "ok.csv", captions_file):
        before = file.read_bytes()
        with pytest.raises(SettingsError, match="is a file; name a folder"):
            audit(config(out=file))
        assert file.read_bytes() == before


@pytest.mark.parametrize("option", ["export", "coco_detections", "cache"])
@pytest.mark.parametrize("victim", ["captions.jsonl", "objects.json.gz", "thresholds.json"])
@pytest.mark.parametrize("way", ["path", "link", "hard link", "dots"])
def test_an_output_is_never_an_input(option, victim, way, config, tmp_path):
    settings_file = tmp_path / "thresholds.json"
    settings_file.write_text("{}")
    target = tmp_path / victim
    before = target.read_bytes()
    if way == "link":
        target = tmp_path / "link"
        target.symlink_to(victim)
    elif way == "hard link":
        target = tmp_path / "hard"
        target.hardlink_to(tmp_path / victim)
    elif way == "dots":
        (tmp_path / "sub").mkdir()
        target = tmp_path / "sub" / ".." / victim
    with pytest.raises(SettingsError, match="input"):
        audit(config(settings_files=(settings_file,), overwrite=True, **{option: target}))
    assert (tmp_path / victim).read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_results_never_replace_the_input_in_their_own_folder(config, captions_file, tmp_path):
    before = captions_file.read_bytes()
    with pytest.raises(SettingsError, match="--out"):
        audit(config(out=tmp_path))
    assert captions_file.read_bytes() == before


def test_a_folder_with_files_of_others_is_not_taken_for_a_run(config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "summary.json").write_text("precious")
    for force in (False, True):
        with pytest.raises(SettingsError, match="no run of halluguard"):
            audit(config(out=tmp_path / "mine", force_new=force))
    assert (tmp_path / "mine" / "summary.json").read_text() == "precious"


def test_an_existing_file_is_replaced_only_with_overwrite_or_by_the_run_that_wrote_it(config, tmp_path):
    target = tmp_path / "clean.jsonl"
    target.write_text("precious")
    with pytest.raises(SettingsError, match="--overwrite"):
        audit(config(export=target))
    assert target.read_text() == "precious"
    audit(config(export=target, overwrite=True))
    exported = target.read_text()
    assert "precious" not in exported
    audit(config(export=target))
    assert target.read_text() == exported, "the same command runs again"
    target.write_text("precious again")
    with pytest.raises(SettingsError, match="--overwrite"):
        audit(config(export=target))


def test_an_export_is_no_file_of_the_run_and_no_second_output(config, tmp_path):
    audit(config())
    for settings in (
        {"export": tmp_path / "out" / "summary.json"},
        {"coco_detections": tmp_path / "out" / "claims.jsonl"},
        {"export": tmp_path / "new", "coco_detections": tmp_path / "new"},
    ):
        with pytest.raises(SettingsError):
            audit(config(overwrite=True, **settings))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["rows"] == 3


def test_an_image_is_not_replaced_even_with_overwrite(config, tmp_path):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "a.png"
    image.write_bytes(b"pixels")
    with pytest.raises(SettingsError, match="folder of images"):
        audit(config(export=image, images=tmp_path / "images", overwrite=True))
    assert image.read_bytes() == b"pixels"


def test_a_cache_is_never_made_of_another_file(config, tmp_path):
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("precious")
    with sqlite3.connect(database) as file:
        file.execute("CREATE TABLE precious (x)")
        file.execute("PRAGMA user_version = 7")
    before = database.read_bytes()
    for cache in (text, database):
        with pytest.raises(SettingsError, match="not a detection cache"):
            audit(config(cache=cache, overwrite=True))
    assert (text.read_text(), database.read_bytes()) == ("precious", before)


def test_a_run_that_was_killed_after_its_export_writes_it_again(config, tmp_path, monkeypatch):
    """The export stood there, the note of its hash did not, and the same command was refused."""
    from halluguard.auditing import run

    settings = config(export=tmp_path / "e.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(run, "remember_written", lambda *paths: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            audit(settings)
    whole = (tmp_path / "e.jsonl").read_bytes()
    audit(settings)
    assert (tmp_path / "e.jsonl").read_bytes() == whole
    (tmp_path / "e.jsonl").write_text("somebody else's")
    with pytest.raises(SettingsError, match="not from this run"):
        audit(settings)
