"""Import spaCy, without PyTorch in processes that halluguard starts itself.

thinc, on which spaCy is built, imports torch wherever it is installed, for layers that the English pipelines do not
have. That takes more time and memory than spaCy itself. A process may `leave_out_torch()` before its first parse: torch
can then still be imported and used later, but spaCy has no layers of it. So only processes of halluguard do so: the
command line and the workers of an audit, never a program that imports halluguard.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

_NEEDS_TORCH = "en_core_web_trf"
_left_out = False


def leave_out_torch() -> None:
    """Let later imports of spaCy leave out torch, unless a pipeline that needs torch is installed."""
    global _left_out
    _left_out = importlib.util.find_spec(_NEEDS_TORCH) is None


def import_spacy() -> ModuleType:
    """The module `spacy`."""
    if not _left_out or "torch" in sys.modules or "spacy" in sys.modules:
        return importlib.import_module("spacy")
    sys.modules["torch"] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        return importlib.import_module("spacy")
    finally:
        del sys.modules["torch"]
