"""An endpoint on its bad days: replies that never end, hide, bomb, ask for patience or tell secrets."""

import asyncio
import datetime
import gzip
import json
import time
from email.utils import format_datetime

import pytest
from PIL import Image

from halluguard.auditing import endpoint as module
from halluguard.auditing.captioning import caption_folder
from halluguard.auditing.endpoint import MAX_PAUSE, Endpoint, retry_after
from halluguard.errors import ExpertError, SettingsError


def quick(server, **how):
    return Endpoint(server.url, "tiny", pause=0.001, **how)


def send(status, data, **headers):
    """A reply with these headers."""

    def reply(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def drip(handler):
    """A byte every tenth of a second, without end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass


def drip_headers(handler):
    try:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 20:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass


def caption(server, bad, **how):
    """The answer of an endpoint with these first replies about one image."""
    server.bad = list(bad)
    (answer,) = quick(server, **how)([Image.new("RGB", (8, 8))])
    return answer


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(server, photos, tmp_path, status):
    server.bad = [(status, "busy"), (status, "busy")]
    went = caption_folder(photos, tmp_path / "c.jsonl", quick(server, workers=1))
    assert (went.captioned, went.failed) == (3, 0)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ((400, "too large"), "refused the image (status 400: too large)"),
        ((200, "not json"), "expected choices"),
        ((200, {"choices": []}), "expected choices"),
        ((200, {"choices": [{"message": {"content": None}}]}), "expected choices"),
        ((200, {"choices": [{"message": {"content": "  "}}]}), "returned an empty text"),
    ],
)
def test_one_bad_answer_is_skipped_and_tried_again_next_time(server, photos, tmp_path, bad, told, read_lines):
    server.bad = [bad]
    out = tmp_path / "captions.jsonl"
    went = caption_folder(photos, out, quick(server, workers=1))
    assert (went.captioned, went.failed) == (2, 1)
    (failed,) = read_lines(tmp_path / "captions.errors.jsonl")
    assert failed["image"] == "a.jpg"
    assert failed["code"] == "captioner"
    assert told in failed["reason"]
    again = caption_folder(photos, out, quick(server))
    assert (again.captioned, again.already, again.failed) == (1, 2, 0)
    assert read_lines(tmp_path / "captions.errors.jsonl") == []


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


@pytest.mark.parametrize("reply", [drip, drip_headers])
def test_a_drip_does_not_outlast_the_timeout(server, reply):
    started = time.monotonic()
    answer = caption(server, [reply], timeout=0.5, retries=0)
    assert isinstance(answer, ExpertError)
    assert "no complete answer in 0.5 seconds" in str(answer)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "reply",
    [
        send(200, b" " * 3_000_000),
        send(200, gzip.compress(b" " * 50_000_000, 1), Content_Encoding="gzip"),
        send(200, gzip.compress(gzip.compress(b" " * 20_000_000)), Content_Encoding="gzip, gzip"),
        send(200, gzip.compress(b"{}")[:-9], Content_Encoding="gzip"),
        send(200, b"no gzip", Content_Encoding="gzip"),
        send(200, b"[" * 1_000_000),
        send(200, b"\xff\xfe", Content_Type="application/json; charset=nothing-such"),
        send(307, b"", Location="http://127.0.0.1:9/"),
    ],
    ids=["long", "gzip bomb", "bomb in a bomb", "cut gzip", "no gzip", "deep", "no text", "elsewhere"],
)
def test_one_bad_reply_costs_one_image_and_little_memory(server, reply, monkeypatch):
    monkeypatch.setattr(module, "MAX_REPLY", 2_000_000)
    server.bad = [reply]
    first, *others = quick(server, workers=1, retries=0)([Image.new("RGB", (8, 8))] * 3)
    assert isinstance(first, ExpertError)
    assert others == ["A picture of 8 by 8 pixels."] * 2


def test_a_gzipped_reply_is_read(server):
    reply = json.dumps({"choices": [{"message": {"content": "A dog."}}]}).encode()
    assert caption(server, [send(200, gzip.compress(reply), Content_Encoding="gzip")]) == "A dog."


def test_a_refusal_keeps_what_the_batch_has(server, photos, tmp_path, read_lines):
    server.bad = [(200, {"choices": [{"message": {"content": "A dog."}}]}), (404, "gone")]
    with pytest.raises(ExpertError, match="no such address or model"):
        caption_folder(photos, tmp_path / "c.jsonl", quick(server, workers=1))
    assert next(row["caption"] for row in read_lines(tmp_path / "c.jsonl")) == "A dog."


@pytest.mark.parametrize("status", [400, 401, 429])
def test_what_a_server_says_is_shown_without_escapes_and_secrets(server, status):
    text = (
        "\x1b[2J\x1b]0;owned\x07 your key k3y-of-mine, password pa:ss, token dG9rZW4tdG9rZW4=\r\nSecond \u202e line"
        + "x" * 999
    )
    address = server.url.replace("http://", "http://user:pa%3Ass@") + "?api-key=token-token"
    server.bad = [(status, text)]
    ask = Endpoint(address, "tiny", key="k3y-of-mine", retries=0)
    (answer,) = ask([Image.new("RGB", (8, 8))])
    shown = f"{answer} {ask!r} {ask.settings}"
    assert shown.isprintable()
    assert "Second" in shown
    for secret in ("k3y-of-mine", "pa:ss", "pa%3Ass", "token-token"):
        assert secret not in shown
    assert len(str(answer)) < 500


def test_the_query_of_an_address_is_sent(server):
    (answer,) = Endpoint(server.url + "/?version=2", "tiny")([Image.new("RGB", (8, 8))])
    assert answer == "A picture of 8 by 8 pixels."
    assert server.asked[0][0] == "/v1/chat/completions?version=2"


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/chat/completions/"])
def test_a_base_address_and_a_whole_one_are_the_same(server, end):
    ask = Endpoint(server.url + end, "tiny")
    assert ask([Image.new("RGB", (8, 8))]) == ["A picture of 8 by 8 pixels."]
    assert server.asked[0][0] == "/v1/chat/completions"
    assert ask.settings == Endpoint(server.url, "tiny").settings


def test_a_system_prompt_top_p_further_fields_and_headers_are_sent(server):
    more = {"chat_template_kwargs": {"thinking": False}, "seed": None}
    ask = Endpoint(
        server.url, "tiny", system="Be brief.", top_p=0.9, extra=more, headers={"Authorization": "Basic secret-team"}
    )
    ask([Image.new("RGB", (8, 8))])
    body = server.asked[0][1]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["top_p"], body["chat_template_kwargs"]) == (0.9, {"thinking": False})
    assert "seed" not in body
    assert server.headers == ["Basic secret-team"]
    assert "secret-team" not in f"{ask!r}{ask.settings}"
    assert ask.settings != Endpoint(server.url, "tiny").settings, "they decide the captions"


def test_a_model_that_wants_max_completion_tokens_gets_it(server):
    server.bad = [(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")]
    ask = Endpoint(server.url, "tiny", max_tokens=7, retries=0)
    assert ask([Image.new("RGB", (8, 8))]) == ["A picture of 8 by 8 pixels."]
    assert server.asked[1][1]["max_completion_tokens"] == 7
    assert "max_tokens" not in server.asked[1][1]


@pytest.mark.parametrize(
    "settings", [{"top_p": 0}, {"top_p": 1.5}, {"headers": {"X": "a\nb"}}, {"headers": {"X": "é"}}], ids=str
)
def test_settings_that_no_request_can_hold_are_refused(settings):
    with pytest.raises(SettingsError):
        Endpoint("http://host/v1", "tiny", **settings)


def test_a_server_says_how_long_to_wait(server):
    now = datetime.datetime.now(datetime.UTC)
    later = format_datetime(now + datetime.timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after(later) <= 30
    for value, seconds in (
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("nan", 0),
        ("inf", MAX_PAUSE),
        ("99999999999", MAX_PAUSE),
        ("", 0),
    ):
        assert retry_after(value) == seconds
    assert retry_after(format_datetime(now + datetime.timedelta(days=9999), usegmt=True)) == MAX_PAUSE
    started = time.monotonic()
    assert caption(server, [send(429, b"", Retry_After="1")]) == "A picture of 8 by 8 pixels."
    assert 0.9 < time.monotonic() - started < 10


def test_an_endpoint_works_where_an_event_loop_runs(server):
    async def cell():
        return quick(server)([Image.new("RGB", (8, 8))])

    assert asyncio.run(cell()) == ["A picture of 8 by 8 pixels."]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "localhost:8000", "http://a:port/"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url):
    with pytest.raises(SettingsError, match="http or https"):
        Endpoint(url, "tiny")


def test_a_key_that_no_header_can_hold_is_refused_without_being_told():
    with pytest.raises(SettingsError) as caught:
        Endpoint("http://host/v1", "tiny", key="secret\nX-Other: 1")
    assert "secret" not in str(caught.value)
    assert Endpoint("http://host/v1", "tiny", key=" k3y\n").key == "k3y"
