"""Print tables at full width, also into a log file, whose width would cut them."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_whole(console: Console, table: Table) -> None:
    """Print a table at its natural width where it is piped, and at least as wide as its content needs."""
    natural = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, natural)
    console.print(table, crop=False)
