"""Decide how many processes check the rows of a run."""

from __future__ import annotations

import itertools
import math
import os
import pickle
from pathlib import Path

from halluguard.auditing.config import AuditConfig
from halluguard.auditing.source import Source, selected_rows
from halluguard.correction import languages
from halluguard.records import Detector

ROWS_PER_WORKER = 400
"""Least number of rows per process; below it, a further process costs more to start than it saves."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Number of cores that this process may use: those it is bound to, within the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no container, or no quota ("max")
        return cores


def worker_count(config: AuditConfig, source: Source, detector: Detector) -> int:
    """Number of processes that check rows on this machine.

    "auto" is one per core where no model is asked, and one per GPU for a detector on "cuda". A model on the CPU uses
    all cores from one process. A detector that was given as an object stays in the process that has it, and so does an
    extractor for another language that other processes cannot import.

    Args:
        config: the settings.
        source: the opened input; its rows are counted if their number matters.
        detector: the detector, loaded.
    """
    if config.workers != "auto":
        return config.workers
    if not isinstance(config.detector, str | tuple) or not all(map(can_travel, languages.registered())):
        return 1
    if detector.needs_image or config.ask is not None or config.ocr:
        return gpus(config.device)
    cores = usable_cores()
    if cores == 1:
        return 1
    rows = sum(1 for _ in itertools.islice(selected_rows(config, source), cores * ROWS_PER_WORKER))
    return max(1, min(cores, rows // ROWS_PER_WORKER))


def can_travel(extractor: languages.Registered) -> bool:
    """Whether another process can import what loads an extractor: a function of a module, not of a script."""
    try:
        pickle.dumps(extractor)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return getattr(extractor.load, "__module__", "__main__") != "__main__"


def gpus(device: str | None) -> int:
    """Number of devices over which a detector may be spread: all GPUs for "cuda", else 1."""
    if device != "cuda":
        return 1
    import torch

    return max(1, torch.cuda.device_count())
