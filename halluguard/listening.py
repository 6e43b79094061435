"""Listen on an address of this machine and serve an application there."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import sys
from typing import Any

from halluguard.errors import SettingsError, require


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


_LARGE = 8 * 1024 * 1024
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h


def return_freed_memory() -> None:
    """Let the C library return the memory of large images to the system as soon as it is freed.

    By default, glibc keeps freed blocks of up to 32 MiB for the thread that used them. Pillow's blocks are of 16 MiB,
    so 32 threads that each had decoded one large image held 3 GB of free memory. Other C libraries are left alone.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
