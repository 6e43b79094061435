"""An upstream server, and our servers in front of it."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve: pip install fastapi uvicorn prometheus-client")

from halluguard.detectors.specs import FunctionDetector
from halluguard.serving import ServerSettings, in_front_of
from tests.serving.servers import Running, behind, look


@pytest.fixture(scope="session")
def upstream():
    app = behind()
    running = Running(app)
    running.seen = app.state.seen
    yield running
    running.stop()


@pytest.fixture(scope="session")
def start(upstream):
    """Start a server of ours in front of the other, with these settings."""
    running = []

    def started(detector=None, **settings):
        app = in_front_of(upstream.url, detector or FunctionDetector(look, "eyes"), ServerSettings(**settings))
        running.append(Running(app))
        return running[-1]

    yield started
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def server(start):
    return start()
