"""The memory of many requests together is bounded: pixels of their images, bytes of their bodies."""

import asyncio
import gc
import json
import threading
import weakref

import httpx
import openai
import pytest

from halluguard import images
from halluguard.errors import SettingsError
from halluguard.serving import ServerSettings, chat_requests
from halluguard.serving.errors import ApiError
from halluguard.serving.held_memory import HeldBytes, HeldPixels
from tests.serving.servers import RED, TRUTH, picture, question

MEGAPIXEL = picture(RED, 1000)


class Gauge:
    """`load_image`, with the pixels of the images that are alive at the same time, at most."""

    def __init__(self):
        self.now = self.most = 0
        self.lock = threading.Lock()

    def add(self, pixels):
        with self.lock:
            self.now += pixels
            self.most = max(self.most, self.now)

    def load_image(self, data, max_pixels):
        image = images.load_image(data, max_pixels=max_pixels)
        pixels = image.width * image.height
        self.add(pixels)
        weakref.finalize(image, self.add, -pixels)
        return image


def ask_together(server, number, text="What is there?", **options):
    async def all_at_once():
        client = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
        messages = question(text, url=MEGAPIXEL)
        calls = (client.chat.completions.create(model="tiny", messages=messages, **options) for _ in range(number))
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(all_at_once())


def test_thirty_two_requests_with_large_images_are_decoded_a_few_at_a_time(start, monkeypatch):
    gauge = Gauge()
    monkeypatch.setattr(chat_requests, "load_image", gauge.load_image)
    server = start(max_pixels=1_000_000, max_held_pixels=3_000_000)
    replies = ask_together(server, 32)
    assert [reply.choices[0].message.content for reply in replies] == [TRUTH] * 32
    gc.collect()
    assert gauge.now <= 3_000_000  # an idle thread may keep its last image until its next request
    assert 1_000_000 <= gauge.most <= 6_000_000  # one that ends may overlap with the next


def test_those_that_wait_too_long_are_told_to_come_back_and_room_is_given_back(start):
    server = start(max_pixels=1_000_000, max_held_pixels=2_000_000, read_timeout=0.3)
    replies = ask_together(server, 6, "slow")
    refused = [reply for reply in replies if isinstance(reply, openai.InternalServerError)]
    assert len(refused) == 4
    assert all(error.status_code == 503 for error in refused)
    assert all(error.response.headers["retry-after"] == "1" for error in refused)
    assert all("fill the memory" in error.message for error in refused)
    assert not any(isinstance(reply, Exception) for reply in ask_together(server, 2))


def test_a_stream_gives_its_room_back(start):
    server = start(max_pixels=1_000_000, max_held_pixels=1_000_000, read_timeout=5.0)
    for _ in range(3):
        client = openai.OpenAI(base_url=server.url, api_key="x", max_retries=0)
        with client.chat.completions.create(
            model="tiny", messages=question("drip", url=MEGAPIXEL), stream=True
        ) as stream:
            next(iter(stream))  # and the client leaves


def test_text_needs_no_room_for_images(start):
    server = start(max_pixels=1_000_000, max_held_pixels=1_000_000, read_timeout=2.0)
    waits = threading.Thread(target=ask_together, args=(server, 1, "slow"))
    waits.start()
    body = {"model": "tiny", "messages": [{"role": "user", "content": "say: Hello."}]}
    assert httpx.post(f"{server.url}/chat/completions", json=body).status_code == 200
    waits.join()


def test_the_bodies_of_all_requests_are_bounded_together(start):
    server = start(max_body=1_000_000, max_held_body=1_500_000, timeout=2.0)
    statuses = []
    body = json.dumps({"model": "tiny", "messages": question("slow"), "user": "x" * 900_000})

    def post():
        statuses.append(httpx.post(f"{server.url}/chat/completions", content=body, timeout=30).status_code)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 503, 503, 503]
    post()
    assert statuses[-1] == 200


def test_room_is_given_in_order_and_to_nobody_who_left():
    async def run():
        pixels, order = HeldPixels(10, patience=5.0), []

        async def work(name, need):
            async with pixels.room(need):
                order.append(name)
                await asyncio.sleep(0.01)

        first = asyncio.create_task(work("first", 10))
        await asyncio.sleep(0)
        leaves = asyncio.create_task(work("leaves", 10))
        others = [asyncio.create_task(work(name, need)) for name, need in (("large", 10), ("small", 1))]
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(first, *others)
        assert order == ["first", "large", "small"]
        async with pixels.room(10):  # all of it is free again
            with pytest.raises(ApiError, match="fill the memory"):
                await asyncio.wait_for(HeldPixels(0, 0.01).room(1).__aenter__(), 1)

    asyncio.run(run())


def test_bytes_are_given_back_by_whoever_is_refused_too():
    held = HeldBytes(10)
    with held.body() as add:
        add(6)
        with held.body() as other:
            other(3)
            with pytest.raises(ApiError):
                other(3)
        add(4)
    with held.body() as add:
        add(10)


def test_limits_of_all_requests_below_those_of_one_are_refused():
    with pytest.raises(SettingsError, match="at least max_pixels"):
        ServerSettings(max_held_pixels=10)
    with pytest.raises(SettingsError, match="at least max_pixels and max_body"):
        ServerSettings(max_held_body=10)
