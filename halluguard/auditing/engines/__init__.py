"""Spread the rows of a run over workers. Each module of this folder is an engine; it is found by its file name.

    run(config, source, finished, detector, experts, progress) -> Iterator[CheckedPart]

Parts come in any order; their content never depends on the engine.
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
        """Yield the checked rows of each remaining part.

        Args:
            config: the settings.
            source: the opened input.
            finished: the finished parts, with those of their rows that are to be checked again.
            detector: the loaded detector; other processes load their own.
            experts: the other experts, loaded in the same way.
            progress: called after every group of rows.
        """
        ...


def engine(name: str) -> Engine:
    """The engine of that name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise SettingsError(f"expected one of the engines {', '.join(names)}, got {name!r}; choose one")
    return cast(Engine, importlib.import_module(f"{__name__}.{name}"))


__all__ = ["Engine", "Progress", "engine"]
