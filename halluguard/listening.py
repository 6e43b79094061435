"""Listen on an address of this machine and serve an application there."""

from __future__ import annotations

import socket
import sys
from typing import Any

from halluguard.errors import SettingsError, require
from halluguard.images import return_freed_memory


def listen(app: Any, host: str, port: int, *, path: str = "") -> None:
    """Serve an ASGI application until the process is told to stop; requests that run are finished first.

    Args:
        app: the application.
        host, port: address to listen on; port 0 takes a free one.
        path: end of the address that is printed.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    return_freed_memory()
    uvicorn = require("uvicorn", extra="serve", feature="the server")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port") from error
    shown = f"[{host}]" if ":" in host else host
    print(f"serving on http://{shown}:{listener.getsockname()[1]}{path}", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=30, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
