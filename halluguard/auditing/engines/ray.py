"""On Ray Data: one task reads the input as a stream of parts, actors check them, this process commits what comes back.

    read (one streaming task)  ─►  check (stateful actors, the expert loaded once in each)  ─►  commit (here)

A part is one row of the dataset, so that Ray neither splits nor joins parts. Rows travel as JSON, pictures that the
input carries as base64 in it. The input and the image folder must be readable under the same path on every machine.
"""

from __future__ import annotations

import base64
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.engines import Plan, Progress
from halluguard.auditing.work_units import Done, Work, check_all
from halluguard.errors import ExpertError, HalluguardError, require
from halluguard.records import Detector


def run(plan: Plan, detector: Detector | None, progress: Progress) -> Iterator[Done]:
    """The checked rows of each part, as the actors finish them.

    Args:
        plan: what to do; `workers` actors check, on the cluster at `address` or on this machine.
        detector: unused, each actor loads its own.
        progress: told after every part.

    Raises:
        MissingExtraError: Ray is not installed.
        ExpertError: an actor's expert is not available or broken.
    """
    ray = require("ray", extra="ray", feature="the engine 'ray'")
    data = require("ray.data", extra="ray", feature="the engine 'ray'")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="ray")
    started = _connect(ray, plan)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        dataset = data.read_datasource(_source(plan), override_num_blocks=1).map_batches(
            Actor,
            fn_constructor_args=(plan,),
            batch_size=1,  # one part
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=plan.workers),
            num_cpus=1,
            num_gpus=1 if (plan.device or "").startswith("cuda") else None,
        )
        for found in dataset.iter_rows():
            if found["error"]:
                raise ExpertError(found["error"])
            progress(Counter(json.loads(found["counts"])))
            yield Done(found["part"], [line + "\n" for line in found["lines"].split("\n")[:-1]])
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, plan: Plan) -> bool:
    """Join the cluster, or start one here; whether this call did."""
    if ray.is_initialized():
        return False
    cpus = None if plan.address else plan.workers + 1  # one more reads
    try:
        ray.init(
            address=plan.address,
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except ConnectionError as error:
        raise ExpertError(f"no Ray cluster at {plan.address!r}: {error}; check --ray-address") from error
    return True


def _source(plan: Plan) -> Any:
    """The parts that are left, as a Ray data source of one streaming task."""
    import pyarrow as pa
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    class Parts(Datasource):
        def __init__(self) -> None:
            super().__init__()

        def get_read_tasks(
            self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
        ) -> list[Any]:
            def read() -> Iterable[Any]:
                for work in plan.todo():
                    yield pa.table({"part": [work.part], "rows": pa.array([packed(work.rows)], pa.large_string())})

            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, unknown)]

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
        picture = fields.pop("image_bytes")
        yield Row(**fields, image_bytes=None if picture is None else base64.b64decode(picture))


class Actor:
    """Checks parts on one machine of the cluster; the expert is loaded when it starts.

    An error goes back as a value: Ray would try a part that raised again, and wrap what it raised.
    """

    def __init__(self, plan: Plan) -> None:
        self.error = ""
        try:
            self.checker = plan.checker()
        except HalluguardError as error:
            self.error = str(error)

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        (part,), (rows,) = batch["part"].to_pylist(), batch["rows"].to_pylist()
        lines: list[str] = []
        counts: Counter[str] = Counter()
        try:
            for some, of_group in check_all(Work(part, unpacked(rows)), self.checker) if not self.error else ():
                lines += some
                counts += of_group
        except HalluguardError as error:
            self.error = str(error)
        text = pa.array(["".join(lines)], pa.large_string())
        return pa.table({"part": [part], "lines": text, "counts": [json.dumps(counts)], "error": [self.error]})
