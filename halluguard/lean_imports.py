"""Import spaCy and Arrow without what they import and we do not use, where a process of our own asks for that.

thinc, which spaCy rests on, imports torch wherever it is installed, for layers that the English pipelines do not have.
spaCy imports its own command line, and with it clients of the network. Arrow imports pandas with the first array. All
that takes more time and memory than spaCy and Arrow themselves. A process may `leave_out_unused()` before its first
parse: torch, pandas and spaCy's command line can then still be imported and used, but spaCy has no layers of torch and
Arrow reads no pandas objects as arrays. So only processes that are ours do so, the command line and the workers of an
audit, and never a program that imports halluguard.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

_NEEDS_TORCH = "en_core_web_trf"
_left_out = False
_OBJECTS = 20_000
"""New objects after which garbage is looked for; Python's own default is 700."""


def leave_out_unused() -> None:
    """Import spaCy and Arrow lean from now on, unless a pipeline that needs torch is installed.

    Garbage is collected less often, because imports make many objects and hardly any garbage.
    """
    global _left_out
    gc.set_threshold(_OBJECTS)
    _left_out = importlib.util.find_spec(_NEEDS_TORCH) is None


@cache
def exempt_loaded() -> None:
    """Exempt what is loaded from garbage collection, in a process that leaves out what is unused; do so once.

    Packages, word lists and the pipeline are some million objects, which Python would look through again and again.
    """
    if _left_out:
        gc.collect(1)  # old objects are the loaded ones; to look through them is what is to be saved
        gc.freeze()


def import_spacy() -> ModuleType:
    """The module `spacy`."""
    if not _left_out or "spacy" in sys.modules:
        return importlib.import_module("spacy")
    _group_entry_points()
    command_line = ModuleType("spacy.cli.info")
    command_line.info = None  # type: ignore[attr-defined]  # the one name that spaCy takes from it
    with _replaced("torch", None), _replaced("spacy.cli.info", command_line):
        return importlib.import_module("spacy")


def _group_entry_points() -> None:
    """Let the registries of spaCy find their entry points in a dictionary, which they accept, too.

    They look for some two hundred times while a pipeline is loaded, each time among those of all installed packages.
    """
    catalogue = importlib.import_module("catalogue")
    found = catalogue.AVAILABLE_ENTRY_POINTS
    groups = [group for group in found.groups if group.startswith(("spacy_", "thinc_", "srsly_"))]
    grouped = {group: list(found.select(group=group)) for group in groups}
    catalogue.AVAILABLE_ENTRY_POINTS = grouped  # type: ignore[attr-defined]  # no name of every module


def import_pyarrow() -> ModuleType:
    """The module `pyarrow`, which has looked for pandas."""
    arrow = importlib.import_module("pyarrow")
    if _left_out:
        too_old = ModuleType("pandas")
        too_old.__version__ = "0"  # type: ignore[attr-defined]  # Arrow does without, and looks again when asked
        with _replaced("pandas", too_old), warnings.catch_warnings(action="ignore"):
            arrow.array([])
    return arrow


@contextmanager
def _replaced(name: str, module: ModuleType | None) -> Iterator[None]:
    """Let an import of `name` give another module, or fail for None, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]  # None is how an import is made to fail
    try:
        yield
    finally:
        del sys.modules[name]
