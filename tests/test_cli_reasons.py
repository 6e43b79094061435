"""The command line says why rows and images were skipped, and forgets settings that led nowhere."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from halluguard.auditing.captioning import caption_folder
from halluguard.cli import app
from halluguard.errors import ExpertError, InputError, SettingsError


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def known(tmp_path) -> Path:
    file = tmp_path / "objects.json"
    file.write_text('{"1": ["dog"]}')
    return file


def test_an_audit_prints_the_commonest_reasons_and_the_file_of_the_others(tmp_path, known):
    captions = tmp_path / "captions.jsonl"
    rows = [{"image_id": 1, "caption": caption} for caption in ("A dog.", " ", "", "  ")]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("audit", captions, "--objects", known, "--out", tmp_path / "out", "--no-report")
    assert done.exit_code == 0, done.output
    assert "3 rows skipped (3 empty-caption)" in done.stderr
    assert "3 times, such as: " in done.stderr
    assert f"every skipped row with its reason: {tmp_path / 'out' / 'skipped.jsonl'}" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--engine", "loacl"), ("--images", "no-such-folder"), ("--thresholds", "no-such-file")]
)
def test_wrong_engines_folders_and_thresholds_are_refused_before_the_captions_are_opened(
    tmp_path, known, option, value
):
    done = run("audit", tmp_path / "missing.jsonl", "--objects", known, "--out", tmp_path / "out", option, value)
    assert done.exception is not None
    assert value in str(done.exception), "the missing captions were met first"
    assert not (tmp_path / "out").exists()


def test_an_audit_that_checked_nothing_does_not_bind_the_next(tmp_path, known):
    from halluguard.auditing.part_lines import to_line
    from halluguard.auditing.run_folder import RunFolder

    with RunFolder(tmp_path / "run", {"vocabulary": "mistyped"}):
        pass
    with RunFolder(tmp_path / "run", {"vocabulary": "meant"}) as folder:
        row = {"index": 0, "code": "ok", "caption": "A.", "corrected": "A.", "edits": [], "verdicts": []}
        folder.commit(0, [to_line(row)])
    with pytest.raises(SettingsError, match="other settings"):
        RunFolder(tmp_path / "run", {"vocabulary": "other"})


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def test_a_captioner_that_fails_leaves_its_reasons_and_no_settings(tmp_path, photos):
    out = tmp_path / "captions.jsonl"
    failed = caption_folder(
        *(photos, out, lambda images: [ExpertError("the server is away")] * len(images)), settings={"address": "typo"}
    )
    assert failed.reasons == ("the server is away",) * 2
    assert failed.failures is not None
    assert "the server is away" in failed.failures.read_text()
    again = caption_folder(photos, out, lambda images: ["A dog."] * len(images), settings={"address": "right"})
    assert (again.captioned, again.reasons, again.failures) == (2, (), None)


def test_caption_prints_why_images_failed(tmp_path, photos):
    (photos / "b.png").write_bytes(b"no image")
    (photos / "a.png").unlink()
    done = run("caption", photos, "--out", tmp_path / "c.jsonl", "--model", "m", "--endpoint", "http://127.0.0.1:9/v1")
    assert done.exit_code == 4
    assert "0 captioned, 0 already there, 1 failed" in done.stderr
    assert "  once: " in done.stderr
    assert str(tmp_path / "c.errors.jsonl") in done.stderr


@pytest.mark.parametrize(("option", "value"), [("--device", "cpu"), ("--dtype", "float32"), ("--imagination", "-0.5")])
def test_options_of_a_local_model_are_refused_with_an_endpoint(tmp_path, photos, option, value):
    done = run(
        *("caption", photos, "--out", tmp_path / "c.jsonl", "--model", "m"),
        *("--endpoint", "http://127.0.0.1:9/v1", option, value),
    )
    assert isinstance(done.exception, SettingsError)
    assert option in str(done.exception)


def test_a_device_that_is_none_is_refused_before_a_model_is_loaded(tmp_path, photos):
    done = run("caption", photos, "--out", tmp_path / "c.jsonl", "--model", "no/such-model", "--device", "gpu")
    assert isinstance(done.exception, SettingsError)
    assert "'cuda'" in str(done.exception)


@pytest.mark.parametrize(
    ("wrong", "arguments"),
    [
        ("captions.jsnl", ("captions.jsnl", "--objects", "objects.json")),
        ("object.json", ("captions.jsonl", "--objects", "object.json")),
        ("photo", ("captions.jsonl", "--objects", "objects.json", "--images", "photo")),
    ],
)
def test_a_misspelt_path_gets_the_name_beside_it(tmp_path, known, photos, monkeypatch, wrong, arguments):
    monkeypatch.chdir(tmp_path)
    Path("captions.jsonl").write_text('{"image_id": 1, "caption": "A dog."}\n')
    done = run("audit", *arguments, "--out", "out")
    meant = {"captions.jsnl": "captions.jsonl", "object.json": "objects.json", "photo": photos.name}[wrong]
    assert f"did you mean '{meant}'?" in str(done.exception)


def test_a_folder_of_images_given_as_captions_is_told_of_the_command_caption(tmp_path, known, photos):
    for path in (photos, next(photos.iterdir())):
        done = run("audit", path, "--objects", known, "--out", tmp_path / "out")
        assert "halluguard caption FOLDER" in str(done.exception)


def test_caption_refuses_wrong_folders_before_a_model_is_loaded(tmp_path, photos):
    wrong = run("caption", tmp_path / "nowhere", "--model", "nobody/none", "--out", tmp_path / "out.jsonl")
    assert "expected a folder of images" in str(wrong.exception)
    wrong = run("caption", photos, "--model", "nobody/none", "--out", photos)
    assert "name a file" in str(wrong.exception)


def test_the_demo_refuses_a_file_as_its_folder_before_a_model_is_loaded(known):
    done = run("demo", "--out", known)
    assert "name another folder" in str(done.exception)


def test_a_file_given_as_the_folder_of_images_is_said_to_be_a_file(tmp_path, known):
    done = run("audit", known, "--objects", known, "--images", known, "--out", tmp_path / "out")
    assert isinstance(done.exception, InputError)
    assert f"it is a file: name the folder, such as {str(tmp_path)!r}" in str(done.exception)


def test_a_folder_of_results_that_reads_like_a_file_is_refused_with_the_option_for_one(tmp_path, known):
    done = run("audit", known, "--objects", known, "--out", tmp_path / "ok.csv")
    assert isinstance(done.exception, SettingsError)
    assert "--export" in str(done.exception)
    assert not (tmp_path / "ok.csv").exists()


def test_a_misspelt_detector_is_told_in_one_sentence(tmp_path, photos):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"image": "a.png", "caption": "A dog."}')
    done = run("audit", captions, "--images", photos, "--detector", "sandbx", "--out", tmp_path / "out")
    assert isinstance(done.exception, ExpertError)
    assert "the detector 'sandbx' cannot be loaded: " in str(done.exception)
    assert "did you mean 'sandbox'?" in str(done.exception)
    assert "(" not in str(done.exception), "a sentence inside a sentence"


def test_lines_of_an_audit_are_whole_when_they_are_piped(tmp_path, known):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"image_id": 1, "caption": "A dog and a cat."}')
    done = run("audit", captions, "--objects", known, "--out", tmp_path / "out")
    (line,) = [line for line in done.stderr.splitlines() if "claims:" in line]
    assert line.endswith("0 unverifiable")


def test_a_list_that_lacks_an_image_is_no_failure_of_an_expert(tmp_path):
    (tmp_path / "objects.json").write_text('{"img_1": ["dog"]}')
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"image": "1.png", "caption": "A dog."}')
    done = run("audit", captions, "--objects", tmp_path / "objects.json", "--out", tmp_path / "out")
    assert "1 rows skipped (1 unlisted-image)" in done.stderr
    assert "knows 1 images, such as 'img_1', and '1.png' is not among them" in done.stderr
    assert "failed" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--extra-body", "{"), ("--extra-body", "[1]"), ("--header", "X-Team"), ("--top-p", "2")]
)
def test_options_of_requests_are_checked_before_any_is_sent(tmp_path, photos, option, value):
    done = run(
        *("caption", photos, "--out", tmp_path / "c.jsonl", "--model", "m"),
        *("--endpoint", "http://127.0.0.1:9/v1", option, value),
    )
    assert isinstance(done.exception, SettingsError)
    assert not (tmp_path / "c.jsonl").exists()
