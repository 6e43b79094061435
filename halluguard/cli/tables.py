"""Print tables at full width, even into a pipe or a log file, where they would be cut."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def print_whole(console: Console, table: Table) -> None:
    """Print a table at least as wide as its content needs; in a pipe, at exactly this width."""
    natural = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, natural)
    console.print(table, crop=False)
