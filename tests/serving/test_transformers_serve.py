"""`transformers serve` behind: streams and answers of a real server, and a baked checkpoint that it loads."""

import base64
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install fastapi uvicorn prometheus-client")

from halluguard import Guard, sandbox
from halluguard.baking import bake
from halluguard.serving import in_front_of
from tests.serving.servers import Running
from tests.test_baking import filled

pytestmark = pytest.mark.slow


def messages(scene):
    buffer = io.BytesIO()
    scene.image.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe the image."}]
    return [{"role": "user", "content": parts}]


@pytest.fixture
def serve(tmp_path):
    """Run `transformers serve` for a folder and wait for its address."""
    processes = []

    def started(folder, port):
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--port", str(port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "HF_HOME": str(tmp_path)}
        log = (tmp_path / "serve.log").open("w")
        processes.append(
            subprocess.Popen(
                [*command, "--device", "cpu", "--dtype", "float32"], env=environment, stderr=log, stdout=log
            )
        )
        ends = time.monotonic() + 90
        while time.monotonic() < ends:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=2)
                return f"http://127.0.0.1:{port}/v1"
            except httpx.HTTPError:
                time.sleep(0.5)
        raise AssertionError((tmp_path / "serve.log").read_text())

    yield started
    for process in processes:
        process.kill()
        process.wait()


def test_answers_and_streams_of_transformers_serve_are_checked(serve):
    url = serve(sandbox.MLLM, 18431)
    guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR)
    server = Running(in_front_of(url, "sandbox"))
    client = openai.OpenAI(base_url=server.url, api_key="x", max_retries=0)
    for scene in list(sandbox.scenes())[:3]:
        options = {"model": str(sandbox.MLLM), "messages": messages(scene), "max_tokens": 128, "temperature": 0}
        reply = client.chat.completions.create(**options)
        assert reply.choices[0].message.content == guard(scene.image, "Describe the image.").text
        with client.chat.completions.create(**options, stream=True) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text == reply.choices[0].message.content
    server.stop()


def test_a_baked_checkpoint_is_served_without_halluguard(serve, tmp_path):
    guard = Guard.from_pretrained(sandbox.MLLM)
    controller = filled(guard.model)
    bake(sandbox.MLLM, controller, -0.5, tmp_path / "baked", dtype="float32")
    url = serve(tmp_path / "baked", 18432)
    scene = next(iter(sandbox.scenes()))
    client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    reply = client.chat.completions.create(
        model=str(tmp_path / "baked"), messages=messages(scene), max_tokens=40, temperature=0
    )
    with controller.attached(guard.model, -1.0):  # imagination -0.5 of the range (-2, 1)
        expected = guard(scene.image, "Describe the image.", max_new_tokens=40).draft
    assert reply.choices[0].message.content == expected
