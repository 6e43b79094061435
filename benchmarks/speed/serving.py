"""Measure what our server adds to the one behind it: latency and throughput, side by side in one run.

    python benchmarks/speed/serving.py [--requests 200] [--at-once 8] [--delay 0.2]

The server behind answers each request after `delay` seconds with the same caption of three sentences, as a model would
that is not the bottleneck. The detector is the sandbox's, or one that takes no time (`--detector instant`). Rounds
alternate between the bare server and ours, so that other load falls on both.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request

sys.path.append(str(Path(__file__).parents[2]))

from halluguard import sandbox
from halluguard.detectors.specs import FunctionDetector, from_spec
from halluguard.records import Box
from halluguard.serving import ServerSettings, in_front_of

CAPTION = "A dog sits beside a cup on the grass. There is a bicycle in the corner. The dog looks at the camera."


def behind(delay: float) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> dict[str, Any]:
        await request.json()
        await asyncio.sleep(delay)
        message = {"role": "assistant", "content": CAPTION}
        return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    return app


def started(app: FastAPI) -> str:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/chat/completions"


async def timed(url: str, body: dict[str, Any], requests: int, at_once: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all."""
    free, seconds = asyncio.Semaphore(at_once), []

    async with httpx.AsyncClient(timeout=120) as client:

        async def one() -> None:
            async with free:
                begun = time.perf_counter()
                (await client.post(url, json=body)).raise_for_status()
                seconds.append(time.perf_counter() - begun)

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(requests)))
        return seconds, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=200, help="number of requests [200]")
    parser.add_argument("--at-once", type=int, default=8, help="number of requests at the same time [8]")
    parser.add_argument(
        "--delay", type=float, default=0.2, help="seconds that the server behind takes per answer [0.2]"
    )
    parser.add_argument(
        "--detector", choices=("sandbox", "instant"), default="sandbox", help="detector of the server [sandbox]"
    )
    arguments = parser.parse_args()

    def instant(_: object, phrases: list[str]) -> list[Box]:
        return [Box(phrase, 0.9, (0, 0, 8, 8), phrase=i) for i, phrase in enumerate(phrases) if phrase != "bicycle"]

    detector = from_spec("sandbox") if arguments.detector == "sandbox" else FunctionDetector(instant)
    bare = started(behind(arguments.delay))
    ours = started(in_front_of(bare.removesuffix("/chat/completions"), detector, ServerSettings()))
    buffer = io.BytesIO()
    next(iter(sandbox.scenes())).image.save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Describe the image."}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": content}]}
    asyncio.run(timed(ours, body, 4, 2))  # the pipeline for English is loaded by the first check
    print(f"{'server':8} {'at once':>7} {'p50 ms':>8} {'p99 ms':>8} {'per second':>10}")
    for at_once in (1, arguments.at_once):
        found: dict[str, tuple[list[float], float]] = {"bare": ([], 0.0), "ours": ([], 0.0)}
        for _ in range(4):
            for name, address in (("bare", bare), ("ours", ours)):
                seconds, total = asyncio.run(timed(address, body, max(1, arguments.requests // 8), at_once))
                found[name] = (found[name][0] + seconds, found[name][1] + total)
        for name, (seconds, total) in found.items():
            p99 = sorted(seconds)[int(0.99 * (len(seconds) - 1))]
            rate = len(seconds) / total
            print(f"{name:8} {at_once:7} {1000 * statistics.median(seconds):8.1f} {1000 * p99:8.1f} {rate:10.1f}")


if __name__ == "__main__":
    main()
