"""Small inputs, made for each test: captions about images whose objects are known."""

import base64
import gzip
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

CAPTIONS = [
    {"image_id": 1, "caption": "A dog and a cat sit on a bench.", "source": "web", "stars": 4},
    {"image_id": 2, "caption": "Two people ride horses.", "source": "né", "stars": 5},
    {"image_id": 1, "caption": "There is a dog.", "source": "web", "stars": 1},
]
OBJECTS = {"1": ["dog", "bench"], "2": ["person", "horse"]}


@pytest.fixture
def objects_file(tmp_path):
    path = tmp_path / "objects.json.gz"
    path.write_bytes(gzip.compress(json.dumps(OBJECTS).encode()))
    return path


@pytest.fixture
def captions_file(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in CAPTIONS), encoding="utf-8")
    return path


@pytest.fixture
def read_lines():
    def read(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

    return read


class Server:
    """An OpenAI-compatible server that tells an image's size.

    `bad` are the first replies, in turn: (status, body), or a function of the handler that writes the reply.
    """

    def __init__(self):
        self.asked, self.bad, self.headers = [], [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, body))
                server.headers.append(self.headers.get("Authorization"))
                bad = server.bad.pop(0) if server.bad else (200, server.reply(body))
                if callable(bad):
                    bad(self)
                    return
                status, reply = bad
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
        sent = body["messages"][-1]["content"][0]["image_url"]["url"].partition("base64,")[2]
        image = Image.open(io.BytesIO(base64.b64decode(sent)))
        text = f"A picture of {image.width} by {image.height} pixels."
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
