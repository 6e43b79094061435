"""Serve checked answers under OpenAI's API: in front of another server, or with a model in this process.

    chat request ──► [chat_requests] ──► backend ──► [prompting.checking] ──► corrected completion
                     images, limits      Upstream     claims, verdicts,       each choice with the field
                                         LocalModel   edits                   `halluguard`

Needs the extra `serve`.
"""

from halluguard.errors import require

require("fastapi", extra="serve", feature="the server")
require("prometheus_client", extra="serve", feature="the server")

from halluguard.serving.app import create_app  # noqa: E402  # after the message on the extra
from halluguard.serving.backends import Backend  # noqa: E402
from halluguard.serving.errors import ApiError  # noqa: E402
from halluguard.serving.local_model import LocalModel  # noqa: E402
from halluguard.serving.metrics import Metrics  # noqa: E402
from halluguard.serving.settings import ServerSettings  # noqa: E402
from halluguard.serving.shared_detector import SharedDetector  # noqa: E402
from halluguard.serving.start import around, in_front_of, run  # noqa: E402
from halluguard.serving.upstream import Upstream  # noqa: E402

__all__ = [
    "ApiError",
    "Backend",
    "LocalModel",
    "Metrics",
    "ServerSettings",
    "SharedDetector",
    "Upstream",
    "around",
    "create_app",
    "in_front_of",
    "run",
]
