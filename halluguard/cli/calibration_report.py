"""Print a calibration of thresholds: the table of labels and notes on its limits."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from halluguard.calibration.record import Calibration
from halluguard.printing import printable


def notes(calibration: Calibration) -> list[str]:
    """Sentences on the limits of a calibration."""
    settings, overall = calibration.settings, calibration.report[""]
    alpha, smallest = settings["alpha"], settings["smallest_alpha"]
    lines = []
    if overall["no_box"] is not None:
        lines.append(f"{100 * overall['no_box']:.1f} % of the objects that are there have no box at all.")
    if not calibration.low:
        lines.append(
            f"With alpha {alpha:g} nothing can be contradicted: the smallest alpha that can is {smallest:g}, because "
            "objects without a box count against it."
        )
    else:
        lines.append(f"The smallest alpha that can contradict anything is {smallest:g}.")
    if settings["nearly_blind"]:
        labels = ", ".join(f"{label} ({100 * share:.0f} %)" for label, share in settings["nearly_blind"].items())
        lines.append(
            f"Nearly blind for (share of objects without a box): {labels}. Do not contradict claims about them."
        )
    above = [label or "all" for label, high in _highs(calibration) if high > 1]
    if above:
        lines.append(
            f"No score can support a claim about: {', '.join(above)}. Absent objects score too high, or are too few; "
            "the upper threshold is above 1."
        )
    by = overall.get("false_supported_by", {})
    shares = ", ".join(f"{kind} {100 * row['share']:.1f} % of {row['rows']}" for kind, row in by.items())
    lines.append(f"Supported false claims, by source: {shares}; asked for {100 * settings['beta']:g} %.")
    images = f"{settings['images']} image{'s' if settings['images'] != 1 else ''}"
    lines.append(
        f"These thresholds are a heuristic per claim, from {images}: their shares hold on average, "
        "for claims like these rows. For a promise on the output at a stated confidence use --risk."
    )
    return lines


def _highs(calibration: Calibration) -> list[tuple[str, float]]:
    return [("", calibration.high), *((label, high) for label, (high, _) in calibration.labels.items())]


def table(calibration: Calibration) -> Table:
    """Table of precision and recall per label; the row of all labels is first."""
    shown = Table(title=Text(printable(f"{calibration.detector}: on {calibration.settings['report_on']}")))
    for column in (
        "label",
        "images",
        "rows",
        "there",
        "no box",
        "high",
        "low",
        "sup. P",
        "R",
        "con. P",
        "R",
        "unsure",
        "ece",
        "raw",
    ):
        shown.add_column(column, justify="left" if column == "label" else "right", no_wrap=True)
    for label, row in calibration.report.items():
        high, low = calibration.of(label)
        own = "" if not label or label in calibration.labels else " *"
        shown.add_row(
            Text(printable((label or "all") + own)),
            *(str(row["images"]), str(row["rows"]), str(row["present"]), _share(row["no_box"])),
            *(f"{high:.3f}", f"{low:.3f}"),
            *(_share(row[kind][what]) for kind in ("supported", "contradicted") for what in ("precision", "recall")),
            *(_share(row[what]) for what in ("unsure", "ece", "ece_raw")),
        )
    shown.caption = (
        "P precision, R recall, ece calibration error; * too few images, so the thresholds of all labels are used"
    )
    return shown


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
