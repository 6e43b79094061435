"""An OpenAI-compatible server: what OpenAI's client sees, streams by sentences, bounds, and failures on either side."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import openai
import pytest

from halluguard.cli import main
from halluguard.detectors.specs import FunctionDetector
from halluguard.errors import SettingsError
from halluguard.serving import ServerSettings, in_front_of
from halluguard.serving.upstream import upstream_address
from tests.serving.servers import BLUE, LIE, RED, TRUTH, Running, look, picture, question


def client(server, **options):
    return openai.OpenAI(base_url=server.url, api_key="secret-key-1", max_retries=0, **options)


def ask(server, messages=None, **options):
    return client(server).chat.completions.create(model="tiny", messages=messages or question(), **options)


# --- what a client sees ------------------------------------------------------------------------------------------


def test_the_official_client_gets_the_corrected_answer_and_its_evidence(server):
    reply = ask(server)
    assert reply.choices[0].message.content == TRUTH
    evidence = reply.choices[0].model_extra["halluguard"]
    assert evidence["checked"]
    assert evidence["draft"] == LIE
    decisions = {v["decision"] for v in evidence["verdicts"]}
    assert {"supported", "contradicted"} <= decisions
    assert [edit["before"].strip() for edit in evidence["edits"]] == ["There is a bicycle in the corner."]
    assert any(box["xyxy"] for verdict in evidence["verdicts"] for box in verdict["evidence"])
    assert reply.usage.total_tokens == 8
    assert reply.choices[0].logprobs is None


def test_a_true_answer_leaves_as_it_came(server):
    assert ask(server, question("say: A cat sleeps.", BLUE)).choices[0].message.content == "A cat sleeps."


def test_evidence_can_be_left_out(server):
    reply = ask(server, extra_body={"halluguard": False})
    assert reply.choices[0].message.content == TRUTH
    assert set(reply.choices[0].model_extra["halluguard"]) == {"checked", "draft"}


def test_several_choices_are_each_corrected(server):
    reply = ask(server, n=3)
    assert [choice.message.content for choice in reply.choices] == [TRUTH] * 3


def test_a_conversation_over_two_images_is_checked_against_both(server):
    first = question("What is there?", RED)
    messages = [*first, {"role": "assistant", "content": "A dog."}, *question("say: A dog and a cat. A bus.", BLUE)]
    reply = ask(server, messages)
    assert "dog" in reply.choices[0].message.content
    assert "cat" in reply.choices[0].message.content


def test_text_alone_passes_and_says_that_nothing_was_checked(server):
    reply = ask(server, [{"role": "user", "content": "say: A bicycle is a vehicle."}])
    assert reply.choices[0].message.content == "A bicycle is a vehicle."
    assert reply.choices[0].model_extra["halluguard"]["reason"] == "the conversation has no image"


def test_fields_of_ours_are_not_sent_on_and_keys_are(server, upstream):
    ask(server, extra_body={"halluguard": True, "imagination": -0.5, "top_k": 7})
    body, headers = upstream.seen[-1]
    assert "halluguard" not in body
    assert "imagination" not in body
    assert body["top_k"] == 7
    assert headers["authorization"] == "Bearer secret-key-1"


def test_models_health_and_counters(server):
    ask(server)
    assert [model.id for model in client(server).models.list()] == ["tiny"]
    base = server.url.removesuffix("/v1")
    assert httpx.get(f"{base}/health").json()["status"] == "ok"
    counters = httpx.get(f"{base}/metrics").text
    assert 'halluguard_requests_total{status="200"}' in counters
    assert 'halluguard_edits_total{decision="edited"}' in counters
    assert "secret-key-1" not in counters


# --- streams -----------------------------------------------------------------------------------------------------


def streamed(server, messages=None, **options):
    with ask(server, messages, stream=True, **options) as stream:
        return list(stream)


def test_a_stream_sends_whole_checked_sentences_and_no_lie(server):
    chunks = streamed(server)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == TRUTH
    assert not any("bicycle" in piece for piece in pieces)
    assert len(pieces) >= 2
    last = chunks[-2].choices[0] if not chunks[-1].choices else chunks[-1].choices[0]
    assert last.finish_reason == "stop"
    assert last.model_extra["halluguard"]["checked"]
    assert chunks[-1].usage.total_tokens == 8


def test_a_sentence_arrives_before_the_answer_has_ended(server):
    started, first = time.monotonic(), None
    with ask(server, question("drip"), stream=True) as stream:
        for chunk in stream:
            if first is None and chunk.choices and chunk.choices[0].delta.content:
                first = time.monotonic() - started
    assert first < 0.8 * (time.monotonic() - started)


def test_the_asynchronous_client_streams_too(server):
    async def run():
        asynchronous = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
        stream = await asynchronous.chat.completions.create(model="tiny", messages=question(), stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(run()) == TRUTH


def test_sixty_four_requests_at_once_are_answered_as_one_after_another(start):
    server = start()
    texts = [f"say: A dog and {n} bicycles. A cup is there. Number {n}." for n in range(2, 34)]
    requests = [(text, colour) for text in texts for colour in (RED, BLUE)]
    serial = [ask(server, question(*request)).choices[0].message.content for request in requests]

    async def all_at_once():
        one = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
        calls = [one.chat.completions.create(model="tiny", messages=question(*request)) for request in requests]
        return [reply.choices[0].message.content for reply in await asyncio.gather(*calls)]

    assert asyncio.run(all_at_once()) == serial
    assert len(set(serial)) > 32


def test_checks_that_wait_together_share_a_call_of_the_detector(start):
    class Batches:
        name, needs_image = "batches", True

        def covers(self, phrase):
            return True

        def detect(self, images, phrases):
            sizes.append(len(images))
            time.sleep(0.3)
            return [look(image, row) for image, row in zip(images, phrases, strict=True)]

    sizes = []
    server = start(Batches())

    async def all_at_once():
        one = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
        await asyncio.gather(*(one.chat.completions.create(model="tiny", messages=question()) for _ in range(12)))

    asyncio.run(all_at_once())
    assert sum(sizes) == 12
    assert max(sizes) > 1


# --- failures of the detector ------------------------------------------------------------------------------------


def broken(image, phrases):
    raise RuntimeError("out of order")


def test_open_an_answer_that_could_not_be_checked_passes_and_says_so(start):
    reply = ask(start(FunctionDetector(broken)))
    assert reply.choices[0].message.content == LIE
    evidence = reply.choices[0].model_extra["halluguard"]
    assert evidence["checked"] is False
    assert "out of order" in evidence["reason"]


def test_closed_it_is_kept_back_and_so_is_a_stream(start):
    server = start(FunctionDetector(broken), on_failure="closed")
    with pytest.raises(openai.InternalServerError, match="not sent"):
        ask(server)
    with pytest.raises(openai.APIError, match="not sent"):
        streamed(server)
    text_only = ask(server, [{"role": "user", "content": "say: Hello."}])
    assert text_only.choices[0].message.content == "Hello."


def test_a_check_that_takes_too_long_counts_as_failed(start):
    def endless(image, phrases):
        time.sleep(3)
        return []

    server = start(FunctionDetector(endless), check_timeout=0.3, on_failure="closed")
    with pytest.raises(openai.InternalServerError, match=r"(longer than|in) 0\.3 seconds"):
        ask(server)


# --- failures of the upstream server ------------------------------------------------------------------------------


def test_one_that_hangs_or_drips_ends_in_time(start):
    server = start(timeout=1.0)
    with pytest.raises(openai.InternalServerError, match="no complete answer in 1 seconds"):
        ask(server, question("hang"))
    with pytest.raises(openai.APIError, match="no complete answer in 1 seconds"):
        streamed(server, question("drip"))


@pytest.mark.parametrize(("status", "error"), [(401, openai.AuthenticationError), (429, openai.RateLimitError)])
def test_its_refusals_reach_the_client(server, status, error):
    with pytest.raises(error, match="no such thing"):
        ask(server, question(f"status:{status}"))


def test_nonsense_is_a_bad_gateway(server):
    with pytest.raises(openai.InternalServerError, match="expected a JSON object from the upstream server"):
        ask(server, question("nonsense"))


def test_one_that_is_not_there_is_said(start, upstream):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Running(in_front_of(f"http://127.0.0.1:{port}/v1", FunctionDetector(look), ServerSettings()))
    with pytest.raises(openai.InternalServerError, match="cannot be reached"):
        ask(server)
    server.stop()


# --- bad requests ------------------------------------------------------------------------------------------------


def post(server, content, **headers):
    headers = {"content-type": "application/json", **headers}
    return httpx.post(f"{server.url}/chat/completions", content=content, headers=headers, timeout=30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": "hello"}, "to be a list"),
        ({"model": None}, "name of a model"),
        ({"n": 1000}, "from 1 to 16"),
        ({"n": True}, "from 1 to 16"),
        ({"stream": "yes"}, "true or false"),
        ({"imagination": 7}, "in \\[-1, 1\\]"),
        ({"messages": question(url="https://example.org/a.png")}, "not fetched from the network"),
        ({"messages": question(url="file:///etc/passwd")}, "may not be named"),
        ({"messages": question(url="/etc/passwd")}, "expected a data: URL"),
        ({"messages": question(url="data:image/png;base64,AAAA")}, "image"),
        ({"messages": question(url="data:image/png;base64,%%%")}, "not base64"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "image": "/etc/passwd"}]}]}, "of the types"),
        ({"messages": question() * 17}, "at most 16 images"),
    ],
)
def test_a_request_that_is_wrong_is_refused_in_openai_s_form(server, change, message):
    reply = post(server, json.dumps({"model": "tiny", "messages": question(), **change}))
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(message, error["message"]), error


def test_half_a_pair_goes_through_as_an_escape(server, upstream):
    """Clients cut texts inside an emoji; no encoding can write such a half."""
    half = json.dumps({"model": "tiny", "messages": question("say: A dog \ud83d sits beside a cup.")})
    reply = post(server, half)
    assert reply.status_code == 200
    assert "\ud83d" in reply.json()["choices"][0]["message"]["content"]
    assert "\ud83d" in json.dumps(upstream.seen[-1][0], ensure_ascii=False)
    streamed = post(server, half[:-1] + ', "stream": true}')
    assert "data: [DONE]" in streamed.text
    assert "\\ud83d" in streamed.text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "[" + "[]," * 3_000_000 + "1]"])
def test_a_value_that_no_server_should_hold_is_refused(server, value):
    body = json.dumps({"model": "tiny", "messages": question(), "temperature": 0})
    assert post(server, body.replace('"temperature": 0', f'"temperature": {value}')).status_code == 400


def test_a_reply_that_is_not_a_number_is_a_bad_gateway(server):
    with pytest.raises(openai.InternalServerError, match="expected a JSON object"):
        ask(server, question("not a number"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 90 + b"1" + b"}" * 90]
)
def test_what_is_no_request_is_refused(server, content):
    assert post(server, content).status_code == 400


@pytest.mark.parametrize("end", ["", "/", "/chat/completions"])
def test_an_upstream_is_named_by_its_base_address_or_the_whole_one(end):
    assert str(upstream_address(f"http://host:1/v1{end}")) == "http://host:1/v1"


@pytest.mark.parametrize(("path", "status"), [("/v1/completions", 404), ("/", 404), ("/health", 405)])
def test_another_path_is_refused_in_openai_s_form_with_the_paths_there_are(server, path, status):
    reply = httpx.post(f"{server.url.removesuffix('/v1')}{path}", content=b"{}")
    assert reply.status_code == status
    assert (
        f"/v1/chat/completions, GET /v1/models, /health or /metrics, got POST {path}"
        in reply.json()["error"]["message"]
    )


def test_a_body_too_long_and_one_that_drips_are_cut_off(start):
    server = start(max_body=10_000, read_timeout=0.5)
    assert post(server, b" " * 20_000).status_code == 413

    def slowly():
        for _ in range(20):
            yield b" "
            time.sleep(0.1)

    assert post(server, slowly()).status_code == 408


def test_an_image_of_many_pixels_is_refused_before_it_is_decoded(start):
    server = start(max_pixels=1000)
    reply = post(server, json.dumps({"model": "tiny", "messages": question(url=picture(RED, 64))}))
    assert reply.status_code == 400
    assert "1,000 pixels" in reply.json()["error"]["message"]


def test_too_many_requests_at_once_are_told_to_come_back(start):
    server = start(running=1, waiting=1, timeout=3.0)
    body = json.dumps({"model": "tiny", "messages": question("hang")})
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(post(server, body))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [reply for reply in statuses if reply.status_code == 503]
    assert len(refused) == 2
    assert all(reply.headers["retry-after"] == "1" for reply in refused)


def test_a_client_that_leaves_frees_its_place(start):
    server = start(running=1, waiting=0, timeout=30.0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/chat/completions", json={"model": "t", "messages": question("hang")}, timeout=0.5)
    ends = time.monotonic() + 5
    while post(server, json.dumps({"model": "t", "messages": question()})).status_code == 503:
        assert time.monotonic() < ends, "the place is still taken"
        time.sleep(0.1)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="on_failure"):
        ServerSettings(on_failure="maybe")
    with pytest.raises(SettingsError, match="timeout"):
        ServerSettings(timeout=float("nan"))
    with pytest.raises(SettingsError, match="http or https address"):
        in_front_of("localhost:8000", FunctionDetector(look))


# --- as a process ------------------------------------------------------------------------------------------------


def test_the_command_serves_and_ends_what_runs_before_it_stops(upstream):
    command = [sys.executable, "-m", "halluguard", "serve", "--upstream", upstream.url, "--detector", "sandbox"]
    process = subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        url = next(found.group() for line in lines if (found := re.search(r"http://127\S+", line)))
        replies = []
        request = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "slow"}]})
        thread = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{url}/chat/completions", content=request, timeout=30))
        )
        thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        thread.join()
        assert replies[0].json()["choices"][0]["message"]["content"] == LIE
        assert process.wait(20) in (0, 143, -15)
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --upstream or --model"),
        (["--upstream", "http://x/v1", "--model", "sandbox"], "either --upstream or --model"),
        (["--upstream", "http://x/v1"], "needs a detector"),
        (["--upstream", "http://x/v1", "--detector", "sandbox", "--timeout", "0"], "timeout must be"),
    ],
)
def test_wrong_options_end_with_a_sentence(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["halluguard", "serve", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
