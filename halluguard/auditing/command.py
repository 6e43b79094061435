"""What `halluguard audit` does with its arguments: find input and expert, run, print, answer with an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from halluguard.auditing.export import export as write_export
from halluguard.auditing.pictures import Pictures
from halluguard.auditing.run import Job, run
from halluguard.auditing.source import open_source
from halluguard.errors import SettingsError


def audit(
    captions: Path,
    *,
    out: Path,
    images: Path | None,
    detector: str | None,
    objects: Path | None,
    export: Path | None,
    force_new: bool,
) -> int:
    """Audit a captions file; the exit code comes back."""
    console = Console(stderr=True)
    source = open_source(captions, {})
    console.print(source.describe(), style="dim", markup=False)
    if (detector is None) == (objects is None):
        raise SettingsError("an audit needs one expert: --detector with --images, or --objects FILE")
    pictures = Pictures(images)
    if detector is not None and images is None:
        raise SettingsError("a detector looks at pictures; name their folder with --images")
    job = Job(source, detector if detector is not None else f"objects:{objects}", pictures=pictures)
    summary = run(job, out, force_new=force_new)
    if export is not None:
        write_export(out, source, export)
    _print_summary(console, summary)
    return 0


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    console.print_json(data={key: summary[key] for key in ("rows", "audited", "set_aside", "claims", "rates")})
