"""Halve a failed batch until the item that fails is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from halluguard.errors import HalluguardError, MissingExtraError, UnlistedImageError, UnsupportedModelError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_halves(
    call: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    batch_size: int,
    on_failure: Callable[[Exception, int], int] | None = None,
) -> Iterator[tuple[Sequence[Item], Sequence[Result] | Exception]]:
    """Call a detector batch by batch; a batch that fails is halved and tried again, down to one item.

    Args:
        call: maps B items to B results. It may be foreign code: whatever it raises counts as the failure of its batch.
        items: all items, in order.
        batch_size: items per call.
        on_failure: called with each error and the size of its batch; returns the next batch size, so that
            later batches can be smaller after an error of memory.

    Yields:
        (batch, results) for each batch that worked, (batch of one item, error) for each item that fails alone.

    Raises:
        MissingExtraError, UnsupportedModelError: the detector cannot work at all; halving would not help.
    """
    batches = [items[i : i + batch_size] for i in range(0, len(items), batch_size)]
    while batches:
        batch = batches.pop(0)
        if len(batch) > batch_size:
            batches[:0] = [batch[:batch_size], batch[batch_size:]]
            continue
        try:
            results = call(batch)
        except (MissingExtraError, UnsupportedModelError):
            raise
        except Exception as error:
            batch_size = on_failure(error, len(batch)) if on_failure is not None else batch_size
            half = len(batch) // 2
            if half:
                batches[:0] = [batch[:half], batch[half:]]
            else:
                yield batch, error
            continue
        yield batch, results


EXPERT_FAILED = "the expert failed: "
"""Beginning of a reason that reports an error of an expert."""


def failure_reason(error: Exception) -> str:
    """The reason of a verdict for which the expert gave no answer. A list that lacks the image has not failed."""
    return str(error) if isinstance(error, UnlistedImageError) else f"{EXPERT_FAILED}{error_text(error)}"


def error_text(error: Exception) -> str:
    """The error in words, with its type if it is not one of ours."""
    return str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
