"""Find out whether the Hugging Face hub can be reached, and which models its cache on this machine holds.

The hub's own client retries each file of a model for half a minute. Without a network a load of ten files would take
minutes to fail, so the hub is asked once before a load, and a hub that does not answer is not asked for files. If the
network fails during a load, the hub is asked once more at the first failed request.
"""

from __future__ import annotations

import difflib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import get_session

from halluguard.errors import first_line

KEPT = 60.0
"""Seconds for which the hub's answer, or its silence, is taken as known."""

SETTINGS = threading.RLock()
"""Lock that is held while settings of the hub's client, which hold for the whole process, are read or changed."""
_client_log = logging.getLogger("huggingface_hub.utils._http")
_last: tuple[float, str] | None = None
"""Time of the last question (`time.monotonic`), and its result."""


def why_unreachable() -> str:
    """The reason why no file can be fetched from the hub; "" if the hub answers.

    The hub may take as long as for one of its own short requests: `HF_HUB_ETAG_TIMEOUT`, 10 seconds by default. Every
    HTTP status is an answer.
    """
    global _last
    with SETTINGS:
        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set"
        if _last is None or time.monotonic() - _last[0] > KEPT:
            _last = time.monotonic(), _ask()
        return _last[1]


def _ask() -> str:
    """Ask the hub once. The thread is left behind if the name of the host takes too long to resolve."""
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    reasons = [f"no answer within {seconds:g} seconds; HF_HUB_ETAG_TIMEOUT allows more"]

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=seconds)
        except Exception as error:  # the classes of its errors depend on the version of the hub's client
            reasons.append(first_line(error))
        else:
            reasons.append("")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return reasons[-1]


def is_network_error(error: BaseException) -> bool:
    """Whether an error is one of the HTTP library of the hub's client, whichever library its version uses.

    >>> is_network_error(ValueError("no such layer"))
    False
    """
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return bool(modules & {"httpx", "httpx2", "httpcore", "requests"})


@contextmanager
def no_retries_in_vain() -> Iterator[None]:
    """Stop the requests of a load when its network fails: offline mode is on from the next request to the end.

    A request that fails is reported by the hub's client in its log, before it waits and tries again.
    """
    offline = constants.HF_HUB_OFFLINE

    def ask_again(record: logging.LogRecord) -> bool:
        global _last
        if "thrown while requesting" in str(record.msg) and not constants.HF_HUB_OFFLINE and (reason := _ask()):
            _last = time.monotonic(), reason
            constants.HF_HUB_OFFLINE = True
        return True

    _client_log.addFilter(ask_again)
    try:
        yield
    finally:
        _client_log.removeFilter(ask_again)
        constants.HF_HUB_OFFLINE = offline


def similar_names(name: str, cache_dir: str | Path | None = None) -> list[str]:
    """Models in the hub's cache whose name, with or without its owner, resembles `name`; the most similar first.

    Args:
        name: name of a model, such as "llava-1.5-7b".
        cache_dir: folder of the cache. Default: the hub's.
    """
    folder = Path(cache_dir or constants.HF_HUB_CACHE)
    try:
        found = [entry for entry in os.listdir(folder) if entry.startswith("models--")]
    except OSError:
        return []
    names = [entry.removeprefix("models--").replace("--", "/") for entry in found]
    whole = {(known if "/" in name else known.rpartition("/")[2]).lower(): known for known in names}
    return [whole[key] for key in difflib.get_close_matches(name.lower(), whole, n=3, cutoff=0.75)]
