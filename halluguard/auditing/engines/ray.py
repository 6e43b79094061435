"""Check rows on Ray: one task reads the input as a stream of parts, actors check them, this process writes the results.

    read (one streaming task)  ─►  check (actors, each with the detector loaded once)  ─►  write (here)

A part is one row of the Ray dataset, so that Ray neither splits nor joins parts. Rows are sent as JSON; image bytes
from the input are sent as base64. The input and the image folder must be readable under the same path on every machine.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from halluguard.auditing.cached_experts import AnyExpert, property_experts
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.engines import Progress
from halluguard.auditing.pipeline import Checker, detector_of
from halluguard.auditing.source import Source
from halluguard.auditing.work_units import CheckedPart, FinishedParts, check_group, chunks, parts_left
from halluguard.auditing.workers import usable_cores
from halluguard.errors import ExpertError, HalluguardError, SettingsError, require
from halluguard.records import Detector

if TYPE_CHECKING:
    import pyarrow as pa

REACH_SECONDS = 8.0
"""Most seconds for an address to accept a connection, and again for it to answer as Ray's servers do."""
CONNECT_SECONDS = 60.0
"""Most seconds for Ray to connect where a gRPC server answers. Ray itself would try for minutes."""
_CONNECT = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
"""
_GRPC = b"application/grpc", b"\x1du\xd0b\r&=LMed"
"""The content type of every answer of a gRPC server: plain, and in the Huffman code of HTTP/2."""


def run(
    config: AuditConfig,
    source: Source,
    finished: FinishedParts,
    detector: Detector,
    experts: Sequence[AnyExpert],
    progress: Progress,
) -> Iterator[CheckedPart]:
    """See `Engine.run`. `config.workers` actors check rows, on the cluster at `config.ray_address` or on this machine.

    Each actor loads its own detector; progress is counted after every part. "auto" means one actor per GPU, or one per
    core, where one core is left for reading.

    Raises:
        MissingExtraError: Ray is not installed.
        ExpertError: there is no such cluster, or an actor's detector is not available or broken.
    """
    ray = require("ray", extra="ray", feature="the engine 'ray'")
    data = require("ray.data", extra="ray", feature="the engine 'ray'")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="ray")
    started = _connect(ray, config)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        checked = data.read_datasource(_parts(config, source, finished), override_num_blocks=1).map_batches(
            Actor,
            fn_constructor_args=(config, socket.gethostname()),
            batch_size=1,  # one part
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=_actors(ray, config)),
            num_cpus=1,
            num_gpus=1 if (config.device or "").startswith("cuda") else None,
        )
        for part in checked.iter_rows():
            if part["error"]:
                raise ExpertError(part["error"])
            progress(Counter(json.loads(part["counts"])))
            yield CheckedPart(part["part"], [line + "\n" for line in part["lines"].split("\n")[:-1]])
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, config: AuditConfig) -> bool:
    """Join the cluster, or start one on this machine; returns True if this call did."""
    if ray.is_initialized():
        return False
    if config.ray_address:
        _check_reachable(config.ray_address)
        if config.ray_address != "local":
            _check_cluster(config.ray_address)
    try:
        ray.init(
            address=config.ray_address,
            num_cpus=None if config.ray_address else _cores(config),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {config.ray_address!r}" if config.ray_address else "Ray does not start"
        raise ExpertError(f"{where}: {error}; check --ray-address") from error
    return True


def _cores(config: AuditConfig) -> int:
    """Cores to use on this machine, one of them for reading."""
    return max(2, usable_cores()) if config.workers == "auto" else config.workers + 1


def _actors(ray: Any, config: AuditConfig) -> int:
    """The number of actors."""
    if config.workers != "auto":
        return config.workers
    resources = ray.cluster_resources()
    of_gpus = (config.device or "").startswith("cuda")
    return max(1, int(resources.get("GPU", 0) if of_gpus else resources.get("CPU", 2) - 1))


def _check_reachable(address: str) -> None:
    """Refuse an address where no server answers; Ray itself would try for minutes.

    Raises:
        SettingsError: it is not an address.
        ExpertError: no server answers there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        if address in ("auto", "local"):
            return
        raise SettingsError(
            f"expected a Ray address such as head:6379 or ray://head:10001, got {address!r}; check --ray-address"
        )
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"expected a port from 1 to 65535 in the Ray address, got {address!r}; check --ray-address")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS) as connection:
            connection.settimeout(REACH_SECONDS)
            connection.sendall(_grpc_request())
            answered = connection.recv(4096)
            ends = time.monotonic() + REACH_SECONDS
            encrypted = bool(os.environ.get("RAY_USE_TLS"))
            while not encrypted and not any(kind in answered for kind in _GRPC):
                received = connection.recv(4096)
                answered += received
                if not received or len(answered) > _LONGEST or time.monotonic() > ends:
                    raise OSError("the server there does not speak gRPC")
    except OSError as error:
        raise ExpertError(f"no Ray cluster answers at {address!r}: {error}; check --ray-address") from error


_LONGEST = 65_536  # bytes of an answer among which its content type is sought


def _grpc_request() -> bytes:
    """An HTTP/2 connection with one gRPC request. Its method need not exist: a gRPC server says so at once."""

    def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
        return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content

    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": "ray",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )
    settings, message = frame(4, 0, 0, b""), frame(0, 1, 1, bytes(5))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + frame(1, 4, 1, block) + message


def _check_cluster(address: str) -> None:
    """Refuse an address where a gRPC server answers to which Ray does not connect.

    Ray cannot be told how long to try, and a thread that tries cannot be ended; so another process connects first.

    Raises:
        ExpertError: Ray does not connect within `CONNECT_SECONDS`.
    """
    command = [sys.executable, "-c", _CONNECT, address]
    try:
        probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONNECT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ExpertError(
            f"no Ray cluster answers at {address!r} within {CONNECT_SECONDS:g} seconds; check --ray-address"
        ) from error
    if probe.returncode:
        reason = probe.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        raise ExpertError(f"no Ray cluster answers at {address!r}: {reason}; check --ray-address")


def _parts(config: AuditConfig, source: Source, finished: FinishedParts) -> Any:
    """The remaining parts, as a Ray data source with one streaming task."""
    import pyarrow as pa
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    def read() -> Iterator[pa.Table]:
        for part in parts_left(config, source, finished):
            yield pa.table({"part": [part.number], "rows": pa.array([packed(part.rows)], pa.large_string())})

    class Parts(Datasource):
        def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:
            return [ReadTask(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))]

        def estimate_inmemory_data_size(self) -> int | None:
            return None

    return Parts()


def packed(rows: Iterable[Row]) -> str:
    """Rows as JSON lines."""
    lines = []
    for row in rows:
        fields = asdict(replace(row, image_bytes=None))
        if row.image_bytes is not None:
            fields["image_bytes"] = base64.b64encode(row.image_bytes).decode()
        lines.append(json.dumps(fields))
    return "\n".join(lines)


def unpacked(text: str) -> Iterator[Row]:
    """The rows of `packed`."""
    for line in text.split("\n"):
        fields = json.loads(line)
        encoded = fields.pop("image_bytes")
        yield Row(**fields, image_bytes=None if encoded is None else base64.b64decode(encoded))


class Actor:
    """Checks parts on one machine of the cluster; the detector is loaded when it starts.

    An error is returned as a value: if it were raised, Ray would repeat the part and wrap the error.

    Args:
        config: the settings.
        host: name of the machine that began the run; actors elsewhere keep detections in memory.
    """

    def __init__(self, config: AuditConfig, host: str) -> None:
        self.error = ""
        try:
            cache = config.cache_file if socket.gethostname() == host else None
            detector = detector_of(config)
            self.checker = Checker(config, detector, property_experts(config, detector), cache)
        except HalluguardError as error:
            self.error = str(error)

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        (number,), (rows,) = batch["part"].to_pylist(), batch["rows"].to_pylist()
        lines: list[str] = []
        counts: Counter[str] = Counter()
        try:
            for group in chunks(unpacked(rows)) if not self.error else ():
                some, of_group = check_group(group, self.checker)
                lines += some
                counts += of_group
        except HalluguardError as error:
            self.error = str(error)
        text = pa.array(["".join(lines)], pa.large_string())
        return pa.table({"part": [number], "lines": text, "counts": [json.dumps(counts)], "error": [self.error]})
