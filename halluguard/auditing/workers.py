"""Decide how many processes check the rows of a run."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

from halluguard.auditing.config import AuditConfig
from halluguard.auditing.source import Source, selected_rows
from halluguard.records import Detector

ROWS_PER_WORKER = 400
"""Rows below which another process costs more to start than it saves."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores that this process may use: those it is bound to, within the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or no quota ("max")
        return cores


def worker_count(config: AuditConfig, source: Source, detector: Detector) -> int:
    """How many processes check rows on this machine.

    "auto" is one per core where no model is asked, and one per GPU for a detector on "cuda". A model on the CPU uses
    all cores from one process. A detector that was given as an object stays in the process that has it.

    Args:
        config: the settings.
        source: the opened input, whose rows are counted where that may decide.
        detector: the detector, loaded.
    """
    if config.workers != "auto":
        return config.workers
    if not isinstance(config.detector, str | tuple):
        return 1
    if detector.needs_image or config.ask is not None or config.ocr:
        return gpus(config.device)
    cores = usable_cores()
    if cores == 1:
        return 1
    rows = sum(1 for _ in itertools.islice(selected_rows(config, source), cores * ROWS_PER_WORKER))
    return max(1, min(cores, rows // ROWS_PER_WORKER))


def gpus(device: str | None) -> int:
    """GPUs that a detector on `device` may be spread over: all for "cuda", else one place."""
    if device != "cuda":
        return 1
    import torch

    return max(1, torch.cuda.device_count())
