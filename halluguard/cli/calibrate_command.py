"""What `halluguard calibrate` does with its arguments: read, look, fit, save, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halluguard.calibration.fitting import fit
from halluguard.calibration.labelled_rows import read_rows, score_rows
from halluguard.calibration.record import Calibration
from halluguard.errors import SettingsError
from halluguard.images import load_image, resolve_inside
from halluguard.records import Detector


def calibrate(
    rows: Path, detector: Detector, *, images: Path | None, out: Path, options: Mapping[str, Any]
) -> Calibration:
    """Calibrate an expert and write the file.

    Args:
        rows: as in `read_rows`.
        images: folder of the pictures; needed by an expert that looks.
        options: of `fit`.
    """
    if detector.needs_image and images is None:
        raise SettingsError(f"{detector.name} looks at pictures; name their folder with --images")
    folder = images or Path()

    def picture(image: str) -> Any:
        return load_image(resolve_inside(folder, image)) if detector.needs_image else image

    scored, left_out = score_rows(read_rows(rows), detector, picture)
    found = fit(scored, detector=detector.name, **options)
    found.save(out)
    console = Console()
    console.width = max(console.width, 100)  # a table cut to the width of a log file cannot be read
    for reason, count in sorted(left_out.items(), key=lambda item: -item[1])[:5]:
        console.print(f"left out {count} rows: {reason}", markup=False, highlight=False)
    console.print(table(found))
    console.print(f"written to {out}", markup=False, highlight=False)
    return found


def table(found: Calibration) -> Table:
    """Precision and recall per label, the pooled row first."""
    shown = Table(title=f"{found.detector}: on {found.settings['report_on']}")
    for column in ("label", "rows", "there", "high", "low", "sup. P", "R", "con. P", "R", "unsure", "ece", "raw"):
        shown.add_column(column, justify="left" if column == "label" else "right", no_wrap=True)
    for label, row in found.report.items():
        high, low = found.of(label)
        own = "" if not label or label in found.labels else " *"
        shown.add_row(
            (label or "all") + own,
            *(str(row["rows"]), str(row["present"]), f"{high:.3f}", f"{low:.3f}"),
            *(_share(row[kind][what]) for kind in ("supported", "contradicted") for what in ("precision", "recall")),
            *(_share(row[what]) for what in ("unsure", "ece", "ece_raw")),
        )
    shown.caption = "P precision, R recall, ece calibration error; * too few rows: the thresholds of all labels"
    return shown


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
