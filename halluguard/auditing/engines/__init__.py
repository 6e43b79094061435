"""Engines: how the rows of a run are spread over workers. Each module of this folder is one, and no list names it.

    run(config, source, finished, detector, experts, progress) -> Iterator[CheckedPart]

Parts come in any order; what their lines say never depends on the engine.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

from halluguard.auditing.cached_experts import AnyExpert
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.source import Source
from halluguard.auditing.work_units import CheckedPart, FinishedParts
from halluguard.errors import SettingsError
from halluguard.records import Detector

Progress = Callable[[Counter[str]], None]
"""Called with the counts of each group of checked rows; see `work_units.counts_of`."""


class Engine(Protocol):
    """A module of this folder."""

    def run(
        self,
        config: AuditConfig,
        source: Source,
        finished: FinishedParts,
        detector: Detector,
        experts: Sequence[AnyExpert],
        progress: Progress,
    ) -> Iterator[CheckedPart]:
        """The checked rows of each part that is left.

        Args:
            config: the settings.
            source: the opened input.
            finished: parts that need no work, and their rows that do.
            detector: the detector, loaded; workers elsewhere load their own.
            experts: the other experts, likewise.
            progress: called after every group of rows.
        """
        ...


def engine(name: str) -> Engine:
    """The engine of that name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise SettingsError(f"expected one of the engines {', '.join(names)}, got {name!r}")
    return cast(Engine, importlib.import_module(f"{__name__}.{name}"))


__all__ = ["Engine", "Progress", "engine"]
