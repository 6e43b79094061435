"""Time budget: the processor seconds that reading and correcting one text may take.

Rules call `check_budget()` between blocks, sentences and steps; where a budget is running and used up, it raises
`BudgetError`. The budget that is running belongs to the thread, so that rules need no argument for it, and texts that
are read in threads or worker processes do not disturb each other.

Processor time of the thread is counted, not the clock on the wall: a busy machine does not change which texts are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import thread_time

from halluguard.errors import BudgetError, SettingsError

MAX_SECONDS = 10
"""Processor seconds that a text may take, unless a caller says otherwise."""
_EVERY = 16
"""Calls of `check_budget` from one look at the clock to the next."""


@dataclass(slots=True)
class Budget:
    """The seconds that one text may take, and those that it has taken.

    Args:
        seconds: processor seconds in all.
        spent: processor seconds that were spent.
        started: processor time of the thread when it began to run, without what is not counted.
        calls: calls of `check_budget` so far.

    Raises:
        SettingsError: `seconds` is not positive.

    >>> budget = Budget(0.5)
    >>> with budget.running():
    ...     check_budget()
    >>> budget.spent < 0.5
    True
    """

    seconds: float = MAX_SECONDS
    spent: float = 0.0
    started: float = field(default=0.0, init=False, repr=False)
    calls: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise SettingsError(
                f"a budget is a positive number of seconds, got {self.seconds}; {MAX_SECONDS} is the default"
            )

    def copy(self) -> Budget:
        """A budget of its own, with as many seconds spent."""
        return Budget(self.seconds, self.spent)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the processor time of the block; do not `yield` inside it."""
        self.started = thread_time()
        token = _RUNNING.set(self)
        try:
            self.check()
            yield
            self.check()
        finally:
            _RUNNING.reset(token)
            self.spent += thread_time() - self.started

    def check(self) -> None:
        """Compare the seconds spent with the budget.

        Raises:
            BudgetError: the budget is used up.
        """
        if self.spent + thread_time() - self.started > self.seconds:
            raise BudgetError(
                f"reading and correcting a text may take {self.seconds:g} seconds of processor time, and this one "
                "would take longer; cut it into parts, or give it a larger budget"
            )


_RUNNING: ContextVar[Budget | None] = ContextVar("running budget", default=None)


def check_budget() -> None:
    """Return, unless the budget that is running in this thread is used up.

    Raises:
        BudgetError: it is used up.
    """
    budget = _RUNNING.get()
    if budget is not None:
        budget.calls += 1
        if budget.calls % _EVERY == 0:
            budget.check()


@contextmanager
def not_counted() -> Iterator[None]:
    """Do not count the block, such as the loading of what later texts use too."""
    budget, began = _RUNNING.get(), thread_time()
    token = _RUNNING.set(None)
    try:
        yield
    finally:
        _RUNNING.reset(token)
        if budget is not None:
            budget.started += thread_time() - began


def check_now() -> None:
    """`check_budget`, before a step that takes long."""
    budget = _RUNNING.get()
    if budget is not None:
        budget.check()
