"""Raise the errors of a model, or of other code from outside, as `ExpertError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from halluguard.errors import ExpertError, HalluguardError, first_line


@contextmanager
def expert_errors(name: str, task: str = "") -> Iterator[None]:
    """Raise what fails in the block as an `ExpertError` of the expert `name`.

    Our own errors pass as they are, and so does a lack of memory, which callers answer with smaller batches.
    """
    try:
        yield
    except (HalluguardError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch.OutOfMemoryError is no MemoryError
            raise
        raise ExpertError(f"{name} failed{task}: {type(error).__name__}: {first_line(error)}") from error
