"""Without a network a name of the hub is answered at once, from the cache or with a sentence."""

import shutil
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from halluguard import hub, sandbox
from halluguard.checkpoints import load_mllm
from halluguard.detectors.checkpoints import load_detector
from halluguard.errors import InputError


@pytest.fixture
def hub_at(monkeypatch):
    """Name an address as the hub, as HF_ENDPOINT would, and forget what was known of the last one."""

    def name(address):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hub, "_last", None)

    return name


@pytest.fixture
def silent():
    """A host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def cached(folder, name, source):
    """Put a model into a cache of the hub."""
    repository = folder / f"models--{name.replace('/', '--')}"
    shutil.copytree(source, repository / "snapshots" / "0" / "")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0", encoding="utf-8")


@pytest.mark.parametrize("name", ["llava15", "nobody/llava-1.5-7b"])
@pytest.mark.parametrize("load", [load_mllm, load_detector])
def test_a_name_is_answered_at_once_where_nothing_listens(load, name, hub_at):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    hub_at(address)
    start = time.monotonic()
    with pytest.raises(Exception, match=r"the hub cannot be reached .*refused.*check the name and the network"):
        load(name)
    assert time.monotonic() - start < 5


def test_a_hub_that_says_nothing_is_asked_once(hub_at, silent, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    hub_at(silent)
    start = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        load_mllm("nobody/none")
    assert time.monotonic() - start < 5


def test_a_cached_model_loads_without_the_hub(hub_at, silent, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    hub_at(silent)
    cached(tmp_path, "nobody/sandbox", sandbox.MLLM)
    model, processor = load_mllm("nobody/sandbox", cache_dir=tmp_path)
    assert model.num_parameters() > 0
    assert processor.tokenizer.vocab_size > 0
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("name", "meant"),
    [("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf"), ("llava-hf/LLaVA-1.5-7b", "llava-hf/llava-1.5-7b-hf")],
)
def test_a_cached_model_with_a_similar_name_is_offered(name, meant, hub_at, silent, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    hub_at(silent)
    (tmp_path / "models--llava-hf--llava-1.5-7b-hf").mkdir()
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        load_mllm(name, cache_dir=tmp_path)


def test_a_hub_that_answers_is_asked_for_the_files(hub_at):
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            requests.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815  # a name of the base class

        def log_message(self, *parts):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub_at(f"http://127.0.0.1:{server.server_port}")
        assert hub.why_unreachable() == ""
        with pytest.raises(InputError, match="no checkpoint could be read at 'nobody/none'"):
            load_mllm("nobody/none")
        server.shutdown()
    assert requests.count("/") == 1, "the hub is asked once whether it is there"


@pytest.mark.parametrize("fails", ["refused", "reset"])
def test_a_network_that_fails_during_a_load_ends_it_soon(fails, hub_at):
    """The hub answers the first question and then never again, as when a cable is pulled."""
    questions = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            questions.append(self.path)
            if len(questions) == 1:
                self.send_response(200)
                self.end_headers()
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()  # without an answer: the client reads a reset

        def finish(self):
            pass

        def log_message(self, *parts):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub_at(f"http://127.0.0.1:{server.server_port}")
        assert hub.why_unreachable() == ""
        if fails == "refused":
            server.shutdown()
            server.server_close()
        start = time.monotonic()
        with pytest.raises(InputError, match=r"the hub cannot be reached .*check the name and the network"):
            load_mllm("nobody/none")
        assert time.monotonic() - start < 10
        server.shutdown()
    assert constants.HF_HUB_OFFLINE is False
