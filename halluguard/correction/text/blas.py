"""Multiply the matrices of a spaCy pipeline with numpy's BLAS instead of BLIS.

thinc, below spaCy, multiplies with a build of BLIS that knows few processors; numpy brings OpenBLAS or Apple's
Accelerate. `benchmarks/speed/blas.py` measures the ratio on the machine it runs on, and that parses are equal. Set
HALLUGUARD_BLAS=blis in the environment for thinc's own. One thread multiplies, because the matrices are small, and
because sums that are divided among threads round differently.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

from halluguard.errors import SettingsError

if TYPE_CHECKING:
    from spacy.language import Language

VARIABLE = "HALLUGUARD_BLAS"
"""Variable of the environment: "numpy" or "blis"."""


def choose_blas(language: Language, name: str | None = None) -> None:
    """Let the models of a pipeline that are on the CPU multiply with one library.

    Args:
        language: the pipeline.
        name: "numpy" or "blis"; default: what the environment says, else "numpy".

    Raises:
        SettingsError: there is no such library.
    """
    from thinc.api import NumpyOps

    name = name or os.environ.get(VARIABLE) or "numpy"
    if name not in ("numpy", "blis"):
        raise SettingsError(f"{VARIABLE} is numpy or blis, got {name[:60]!r}")
    ops = NumpyOps(use_blis=name == "blis")
    for _, pipe in language.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if model is not None else ():
            if type(node.ops) is NumpyOps:  # others are of a GPU, or of Apple's library
                node.ops = ops


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def one_thread() -> AbstractContextManager[object]:
    """A context in which BLAS libraries use one thread; two of them must not overlap in time."""
    limit: AbstractContextManager[object] = _libraries().limit(limits=1)
    return limit
