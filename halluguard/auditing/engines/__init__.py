"""Engines: how the work of a run is spread. Each module of this folder is one, and no list names it.

    run(plan, work, progress) -> Iterator[Done]

in any order of parts; what the lines say never depends on the engine.
"""

from __future__ import annotations

import importlib
import pkgutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from halluguard.auditing.cached_detector import BATCH
from halluguard.auditing.detection_store import Cache
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.pipeline import Checker
from halluguard.auditing.source import Selection, Source
from halluguard.auditing.work_units import Work, todo
from halluguard.calibration.record import Calibration
from halluguard.correction.verification import Thresholds
from halluguard.detectors.specs import fingerprint, load_expert
from halluguard.errors import SettingsError
from halluguard.records import Detector

Progress = Callable[[Counter[str]], None]


@dataclass(frozen=True)
class Plan:
    """What every worker must know; it travels to other machines.

    Args:
        source, selection, part_rows, finished: which rows are left; see `work.todo`.
        expert: the expert, or the name by which a worker loads it.
        device: where an expert that is loaded by name runs.
        thresholds, pictures, batch, calibration: of the `Checker`.
        cache: the detection cache's file, on the machine named `host`; workers elsewhere keep theirs in memory.
        host: name of the machine that began the run.
        workers: how many check at the same time.
        address: of a cluster.
    """

    source: Source
    selection: Selection
    part_rows: int
    finished: Mapping[int, frozenset[int]]
    expert: str | Detector
    thresholds: Thresholds | None
    pictures: ImageFolder
    device: str | None = None
    batch: int = BATCH
    cache: Path | None = None
    host: str = ""
    workers: int = 1
    address: str | None = None
    calibration: Calibration | None = None

    def todo(self) -> Iterator[Work]:
        return todo(self.source, self.selection, self.part_rows, self.finished)

    def checker(self, detector: Detector | None = None) -> Checker:
        """A checker in this process, around the expert given or one that is loaded."""
        if detector is None:
            detector = load_expert(self.expert, device=self.device) if isinstance(self.expert, str) else self.expert
        here = self.cache if detector.needs_image and socket.gethostname() == self.host else None
        cache = Cache(here, fingerprint(detector))
        return Checker(detector, self.thresholds, self.pictures, cache, self.batch, self.calibration)


def engine(name: str) -> ModuleType:
    """The engine of that name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise SettingsError(f"expected one of the engines {', '.join(names)}, got {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


__all__ = ["Plan", "Progress", "engine"]
