"""Captions of a folder: what is written, what is kept after a crash, and which failures are rows."""

import gc
import json
import weakref

import pytest
from PIL import Image
from typer.testing import CliRunner

from halluguard.auditing.captioning import caption_folder, find_images
from halluguard.auditing.endpoint import Endpoint
from halluguard.cli import app
from halluguard.errors import ExpertError, InputError, SettingsError


def quick(server, **how):
    return Endpoint(server.url, "tiny", pause=0.001, **how)


def test_every_picture_gets_its_caption_in_order(server, photos, tmp_path, read_lines):
    out = tmp_path / "captions.jsonl"
    went = caption_folder(photos, out, quick(server, key="secret", prompt="What is it?"))
    assert (went.captioned, went.already, went.failed) == (3, 0, 0)
    assert [row["image"] for row in read_lines(out)] == ["a.jpg", "b.png", "more/c.webp"]
    assert read_lines(out)[1]["caption"] == "A picture of 10 by 20 pixels."
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body["model"] == "tiny"
    assert body["messages"][0]["content"][1]["text"] == "What is it?"
    assert set(server.headers) == {"Bearer secret"}


def test_what_is_finished_is_not_asked_again(server, photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    caption_folder(photos, out, quick(server), batch_size=1)
    whole = out.read_bytes()
    out.write_bytes(whole[: whole.rindex(b'{"image"') + 12])  # a crash in the third line
    server.asked.clear()
    went = caption_folder(photos, out, quick(server))
    assert (went.captioned, went.already) == (1, 2)
    assert len(server.asked) == 1
    assert out.read_bytes() == whole


def test_other_settings_are_refused(server, photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    caption_folder(photos, out, quick(server), settings={"prompt": "a"})
    with pytest.raises(SettingsError, match="begun with other settings"):
        caption_folder(photos, out, quick(server), settings={"prompt": "b"})


def test_a_broken_picture_is_skipped(server, photos, tmp_path, read_lines):
    (photos / "a.jpg").write_bytes(b"\xff\xd8 no jpeg")
    went = caption_folder(photos, tmp_path / "c.jsonl", quick(server))
    assert (went.captioned, went.failed) == (2, 1)
    assert read_lines(tmp_path / "c.errors.jsonl")[0]["code"] == "image"


def test_links_that_lead_outside_are_left_out(photos, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    assert "link.png" not in find_images(photos)


def test_any_function_can_caption_and_its_errors_are_rows(photos, tmp_path, read_lines):
    def moody(pictures):
        raise RuntimeError("out of words")

    went = caption_folder(photos, tmp_path / "c.jsonl", moody)
    assert went.failed == 3
    assert "RuntimeError: out of words" in read_lines(tmp_path / "c.errors.jsonl")[0]["reason"]
    with pytest.raises(ExpertError, match="one caption per image, got 1 for 3"):
        caption_folder(photos, tmp_path / "d.jsonl", lambda pictures: ["one"])


def test_no_pictures_and_bad_settings_are_told(tmp_path):
    with pytest.raises(InputError, match="folder of images"):
        find_images(tmp_path / "none")
    with pytest.raises(InputError, match="found none"):
        find_images(tmp_path)


def test_the_command_writes_what_audit_reads(server, photos, tmp_path, monkeypatch, read_lines):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    out = tmp_path / "captions.jsonl"
    arguments = ["caption", str(photos), "--endpoint", server.url, "--model", "tiny", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert set(server.headers) == {"Bearer from-the-environment"}
    objects = tmp_path / "objects.json"
    objects.write_text(json.dumps({row["image"]: ["dog"] for row in read_lines(out)}))
    audited = CliRunner().invoke(app, ["audit", str(out), "--objects", str(objects), "--out", str(tmp_path / "a")])
    assert audited.exit_code == 0, audited.output


def test_the_sandbox_model_captions_too(tmp_path, read_lines):
    from halluguard.sandbox import scenes

    (tmp_path / "photos").mkdir()
    for sample in scenes(2):
        sample.image.save(tmp_path / "photos" / f"{sample.image_id}.png")
    out = tmp_path / "captions.jsonl"
    arguments = ["caption", str(tmp_path / "photos"), "--model", "sandbox", "--prompt", "Describe the image."]
    done = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert all(row["caption"].startswith("The image") for row in read_lines(out))


def test_files_that_look_like_images_and_cannot_be_read_are_named(photos, tmp_path):
    (photos / "raw.DNG").write_bytes(b"II*\x00not a photo")
    (photos / "logo.svg").write_text("<svg/>")
    result = caption_folder(photos, tmp_path / "out.jsonl", lambda images: ["A photo." for _ in images])
    assert (result.captioned, result.failed) == (3, 0)
    assert sorted(reason.partition(":")[0] for reason in result.skipped) == ["logo.svg", "raw.DNG"]


def test_large_images_are_captioned_one_at_a_time(tmp_path):
    for n in range(3):
        Image.new("L", (6000, 4000)).save(tmp_path / f"{n}.png")
    sizes = []

    def captioner(images):
        sizes.append(len(images))
        return ["A dog."] * len(images)

    caption_folder(tmp_path, tmp_path / "c.jsonl", captioner)
    assert sizes == [1, 1, 1]


def test_a_large_picture_is_opened_while_no_other_is_held(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("halluguard.auditing.captioning.MAX_BATCH_PIXELS", 199)
    held, opened = [], []

    def opening(path, **options):
        gc.collect()
        opened.append([image() for image in held if image() is not None])
        image = Image.new("RGB", (10, 20))
        held.append(weakref.ref(image))
        return image

    monkeypatch.setattr("halluguard.auditing.captioning.load_image", opening)
    done = caption_folder(photos, tmp_path / "captions.jsonl", lambda images: ["A dog."] * len(images))
    assert done.captioned == 3
    assert opened == [[], [], []]
