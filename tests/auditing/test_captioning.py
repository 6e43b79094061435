"""Captions from an endpoint: a real server on this machine, its bad days, and what is kept after a crash."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from typer.testing import CliRunner

from halluguard.auditing.captioning import Endpoint, caption_folder, pictures_in
from halluguard.cli import app
from halluguard.errors import ExpertError, InputError, SettingsError


class Server:
    """An OpenAI-compatible server that tells a picture's size. `bad` are (status, body) given first, in turn."""

    def __init__(self):
        self.asked, self.bad, self.headers = [], [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, body))
                server.headers.append(self.headers.get("Authorization"))
                status, reply = server.bad.pop(0) if server.bad else (200, server.reply(body))
                data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @staticmethod
    def reply(body):
        sent = body["messages"][0]["content"][0]["image_url"]["url"].partition("base64,")[2]
        picture = Image.open(io.BytesIO(base64.b64decode(sent)))
        text = f"A picture of {picture.width} by {picture.height} pixels."
        return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a.jpg", "more/c.webp")):
        Image.new("RGB", (10 + i, 20), "teal").save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def quick(server, **how):
    return Endpoint(server.url, "tiny", pause=0.001, **how)


def test_every_picture_gets_its_caption_in_order(server, photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    went = caption_folder(photos, out, quick(server, key="secret", prompt="What is it?"))
    assert (went.captioned, went.already, went.failed) == (3, 0, 0)
    assert [row["image"] for row in lines(out)] == ["a.jpg", "b.png", "more/c.webp"]
    assert lines(out)[1]["caption"] == "A picture of 10 by 20 pixels."
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


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(server, photos, tmp_path, status):
    server.bad = [(status, "busy"), (status, "busy")]
    went = caption_folder(photos, tmp_path / "c.jsonl", quick(server, workers=1))
    assert (went.captioned, went.failed) == (3, 0)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ((400, "too large"), "refused the picture (status 400: too large)"),
        ((200, "not json"), "expected choices"),
        ((200, {"choices": []}), "expected choices"),
        ((200, {"choices": [{"message": {"content": None}}]}), "expected choices"),
        ((200, {"choices": [{"message": {"content": "  "}}]}), "said nothing"),
    ],
)
def test_one_bad_answer_is_skipped_and_tried_again_next_time(server, photos, tmp_path, bad, told):
    server.bad = [bad]
    out = tmp_path / "captions.jsonl"
    went = caption_folder(photos, out, quick(server, workers=1))
    assert (went.captioned, went.failed) == (2, 1)
    (failed,) = lines(tmp_path / "captions.errors.jsonl")
    assert failed["image"] == "a.jpg"
    assert failed["code"] == "captioner"
    assert told in failed["reason"]
    again = caption_folder(photos, out, quick(server))
    assert (again.captioned, again.already, again.failed) == (1, 2, 0)
    assert lines(tmp_path / "captions.errors.jsonl") == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_the_run_and_never_tells_the_key(server, photos, tmp_path, status):
    server.bad = [(status, "no")] * 9
    with pytest.raises(ExpertError, match=f"status {status}") as caught:
        caption_folder(photos, tmp_path / "c.jsonl", quick(server, key="secret"))
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(quick(server, key="secret"))


def test_a_server_that_is_gone_ends_the_run(photos, tmp_path):
    for i in range(30):
        Image.new("RGB", (8, 8)).save(photos / f"x{i}.png")
    nobody = Endpoint("http://127.0.0.1:9/v1", "tiny", retries=0, pause=0.001)
    with pytest.raises(ExpertError, match="in a row failed"):
        caption_folder(photos, tmp_path / "c.jsonl", nobody)


def test_a_broken_picture_is_skipped(server, photos, tmp_path):
    (photos / "a.jpg").write_bytes(b"\xff\xd8 no jpeg")
    went = caption_folder(photos, tmp_path / "c.jsonl", quick(server))
    assert (went.captioned, went.failed) == (2, 1)
    assert lines(tmp_path / "c.errors.jsonl")[0]["code"] == "image"


def test_links_that_lead_outside_are_left_out(photos, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    assert "link.png" not in pictures_in(photos)


def test_any_function_can_caption_and_its_errors_are_rows(photos, tmp_path):
    def moody(pictures):
        raise RuntimeError("out of words")

    went = caption_folder(photos, tmp_path / "c.jsonl", moody)
    assert went.failed == 3
    assert "RuntimeError: out of words" in lines(tmp_path / "c.errors.jsonl")[0]["reason"]
    with pytest.raises(ExpertError, match="one caption per picture, got 1 for 3"):
        caption_folder(photos, tmp_path / "d.jsonl", lambda pictures: ["one"])


def test_no_pictures_and_bad_settings_are_told(tmp_path):
    with pytest.raises(InputError, match="folder of pictures"):
        pictures_in(tmp_path / "none")
    with pytest.raises(InputError, match="found none"):
        pictures_in(tmp_path)
    with pytest.raises(SettingsError, match="http or https"):
        Endpoint("file:///etc/passwd", "tiny")


def test_the_command_writes_what_audit_reads(server, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    out = tmp_path / "captions.jsonl"
    arguments = ["caption", str(photos), "--endpoint", server.url, "--model", "tiny", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert set(server.headers) == {"Bearer from-the-environment"}
    objects = tmp_path / "objects.json"
    objects.write_text(json.dumps({row["image"]: ["dog"] for row in lines(out)}))
    audited = CliRunner().invoke(app, ["audit", str(out), "--objects", str(objects), "--out", str(tmp_path / "a")])
    assert audited.exit_code == 0, audited.output


def test_the_sandbox_model_captions_too(tmp_path):
    from halluguard.sandbox import scenes

    (tmp_path / "photos").mkdir()
    for sample in scenes(2):
        sample.image.save(tmp_path / "photos" / f"{sample.image_id}.png")
    out = tmp_path / "captions.jsonl"
    arguments = ["caption", str(tmp_path / "photos"), "--model", "sandbox", "--prompt", "Describe the image."]
    done = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert all(row["caption"].startswith("The image") for row in lines(out))
