"""A model of this process behind OpenAI's API: the same answers as its Guard gives, its settings, its refusals."""

import base64
import io

import openai
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install fastapi uvicorn prometheus-client")

from halluguard import Guard, sandbox
from halluguard.serving import around
from tests.serving.servers import Running


@pytest.fixture(scope="module")
def guard():
    return Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)


@pytest.fixture(scope="module")
def scenes():
    return list(sandbox.scenes())[:3]


@pytest.fixture(scope="module")
def server(guard):
    running = Running(around(guard, name="tiny"))
    yield running
    running.stop()


def messages(scene, text="Describe the image."):
    buffer = io.BytesIO()
    scene.image.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]}
    ]


def ask(server, content, model="tiny", **options):
    client = openai.OpenAI(base_url=server.url, api_key="x", max_retries=0)
    return client.chat.completions.create(model=model, messages=content, **options)


def test_answers_are_those_of_the_guard(server, guard, scenes):
    for scene in scenes:
        reply = ask(server, messages(scene))
        answer = guard(scene.image, "Describe the image.", max_new_tokens=512)
        assert reply.choices[0].message.content == answer.text
        assert reply.choices[0].model_extra["halluguard"]["draft"] == answer.draft
        assert reply.usage.completion_tokens > 3
        assert reply.usage.prompt_tokens > reply.usage.completion_tokens


def test_a_stream_gives_the_same_text_in_sentences(server, scenes):
    whole = ask(server, messages(scenes[0])).choices[0].message.content
    with ask(server, messages(scenes[0]), stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == whole
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].model_extra["halluguard"]["checked"]


def test_imagination_is_an_extra_field(server, guard, scenes):
    reply = ask(server, messages(scenes[0]), extra_body={"imagination": -0.9})
    answer = guard(scenes[0].image, "Describe the image.", imagination=-0.9, max_new_tokens=512)
    assert reply.choices[0].message.content == answer.text


def test_a_seed_repeats_a_sampled_answer_and_choices_differ(server, scenes):
    options = {"temperature": 1.5, "seed": 3, "n": 3}
    first, again = (ask(server, messages(scenes[1]), **options) for _ in range(2))
    drafts = [choice.model_extra["halluguard"]["draft"] for choice in first.choices]
    assert drafts == [choice.model_extra["halluguard"]["draft"] for choice in again.choices]
    assert len(set(drafts)) > 1


def test_a_short_limit_is_said_as_length(server, scenes):
    assert ask(server, messages(scenes[0]), max_tokens=4).choices[0].finish_reason == "length"
    assert ask(server, messages(scenes[0])).choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2}, "temperature above 0"),
        ({"temperature": 9}, "from 0 to 2"),
        ({"max_tokens": -3}, "from 1 to"),
        ({"logprobs": True}, "not offered"),
        ({"response_format": {"type": "json_object"}}, "is text for a model of this process"),
        ({"stop": 7}, "a text or a list"),
    ],
)
def test_settings_that_it_has_not_are_refused(server, scenes, options, message):
    with pytest.raises(openai.BadRequestError, match=message):
        ask(server, messages(scenes[0]), **options)


def test_another_model_is_not_found(server, scenes):
    with pytest.raises(openai.NotFoundError, match="expected the model 'tiny'"):
        ask(server, messages(scenes[0]), model="gpt-4o")
