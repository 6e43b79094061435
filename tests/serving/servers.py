"""An upstream server that answers as it is asked to, images that a detector reads by their colour, requests."""

import asyncio
import base64
import io
import json
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install fastapi uvicorn prometheus-client")
pytest.importorskip("openai", reason="needs openai: pip install openai")

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

from halluguard.records import Box

RED, BLUE = (255, 0, 0), (0, 0, 255)
SHOWN = {RED: ("dog", "cup"), BLUE: ("cat",)}

LIE = "A dog sits beside a cup. There is a bicycle in the corner. The dog looks at the camera."
TRUTH = "A dog sits beside a cup. The dog looks at the camera."


def picture(colour=RED, size=32):
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def question(text="What is there?", colour=RED, url=None):
    image = {"type": "image_url", "image_url": {"url": url or picture(colour)}}
    return [{"role": "user", "content": [image, {"type": "text", "text": text}]}]


def look(image, phrases):
    """Red images show a dog and a cup, blue ones a cat."""
    shown = SHOWN[image.getpixel((0, 0))]
    return [Box(p, 0.9, (0, 0, 8, 8), phrase=i) for i, p in enumerate(phrases) if p in shown]


class Running:
    """A server in a thread."""

    def __init__(self, app):
        config = uvicorn.Config(app, port=0, log_level="error")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"

    def stop(self):
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)


def behind():
    """A server that answers what the question asks for: 'say: ...', 'hang', 'drip', 'lie', 'status: N', 'nonsense'."""
    app = FastAPI()
    app.state.seen = []

    @app.get("/v1/models")
    async def models():
        return {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "me", "created": 1}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request):
        body = await request.json()
        app.state.seen.append((body, dict(request.headers)))
        content = body["messages"][-1]["content"]
        words = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        text = words[4:].strip() if words.startswith("say:") else LIE
        if words == "hang":
            await asyncio.sleep(60)
        if words == "slow":
            await asyncio.sleep(1)
        if words.startswith("status:"):
            return JSONResponse({"error": {"message": "no such thing"}}, int(words[7:]))
        if words == "not a number":
            return Response(b'{"choices": [], "usage": {"total_tokens": NaN}}', media_type="application/json")
        if words == "nonsense":
            return JSONResponse(["not", "an", "object"])
        head = {"id": "c1", "created": 1, "model": body["model"]}
        if body.get("stream"):
            return StreamingResponse(chunks(head, text, words), media_type="text/event-stream")
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": {}}
            for i in range(body.get("n") or 1)
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        reply = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
        return Response(json.dumps(reply), media_type="application/json")

    async def chunks(head, text, words):
        head = {**head, "object": "chat.completion.chunk"}

        def event(delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

        yield event({"role": "assistant", "content": ""})
        for i in range(0, len(text), 7):
            yield event({"content": text[i : i + 7]})
            await asyncio.sleep(0.5 if words == "drip" else 0)
        yield event({}, "stop")
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': {'total_tokens': 8}})}\n\n"
        yield "data: [DONE]\n\n"

    return app
