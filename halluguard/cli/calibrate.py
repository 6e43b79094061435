"""`halluguard calibrate`: fit a detector's thresholds and confidences on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halluguard.cli.app import app
from halluguard.errors import InputError, SettingsError
from halluguard.io import parsing
from halluguard.printing import printable

if TYPE_CHECKING:
    from rich.table import Table

    from halluguard.calibration.record import Calibration
    from halluguard.records import Detector

_FIT = "How thresholds are fitted"


@app.command()
def calibrate(
    rows: Annotated[
        Path,
        typer.Argument(
            help="Labelled rows: CSV or JSON Lines with image, phrase, present; or a COCO annotations file."
        ),
    ],
    detector: Annotated[str, typer.Option(help="Detector, named as for `audit`.")],
    out: Annotated[Path, typer.Option(help="File to write, for `audit --thresholds`.")] = Path("thresholds.json"),
    overwrite: Annotated[bool, typer.Option(help="Let --out replace an existing file that is no calibration.")] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, for a detector that looks at them.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the detector runs: cpu, cuda, cuda:1 ... Default: cpu.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Largest share of true claims that may be contradicted.", rich_help_panel=_FIT)
    ] = 0.05,
    beta: Annotated[
        float, typer.Option(help="Largest share of false claims that may be supported.", rich_help_panel=_FIT)
    ] = 0.05,
    min_rows: Annotated[
        int,
        typer.Option(
            help="Rows, both true and false ones, that a label needs for thresholds of its own.", rich_help_panel=_FIT
        ),
    ] = 50,
    method: Annotated[
        str,
        typer.Option(help="How scores become probabilities: isotonic, or platt for few rows.", rich_help_panel=_FIT),
    ] = "isotonic",
    holdout: Annotated[
        float,
        typer.Option(help="Share of the images that the printed figures are computed on.", rich_help_panel=_FIT),
    ] = 0.5,
) -> None:
    """Fit a detector's thresholds and confidences on labelled rows, and print how good they are."""
    from halluguard.detectors.specs import from_spec

    options: dict[str, float | int | str] = {
        "alpha": alpha,
        "beta": beta,
        "min_rows": min_rows,
        "method": method,
        "holdout": holdout,
    }
    calibrate_file(rows, from_spec(detector, device=device), images=images, out=out, overwrite=overwrite, **options)


def calibrate_file(
    rows: Path,
    detector: Detector,
    *,
    images: Path | None,
    out: Path,
    overwrite: bool = False,
    **options: float | int | str,
) -> Calibration:
    """Calibrate a detector on a file of labelled rows, write the result and print it.

    Args:
        rows: as for `calibration.labelled_rows.read_rows`.
        detector: the detector to calibrate.
        images: folder of the images; needed by a detector that looks at them.
        out: file for the thresholds.
        overwrite: let it replace a file that is no calibration.
        options: keyword arguments of `calibration.fitting.fit`.
    """
    from rich.console import Console

    from halluguard.calibration.fitting import fit
    from halluguard.calibration.labelled_rows import read_rows, score_rows
    from halluguard.images import load_image, resolve_inside

    _check_target(out, rows, overwrite=overwrite)
    if detector.needs_image and images is None:
        raise SettingsError(f"{detector.name} looks at images; name their folder with --images")
    folder = images or Path()

    def opened(image: str) -> object:
        return load_image(resolve_inside(folder, image)) if detector.needs_image else image

    with parsing(rows, "labelled rows"):
        labelled = read_rows(rows)
    scored, left_out = score_rows(labelled, detector, opened)
    calibration = fit(scored, detector=detector.name, **options)  # type: ignore[arg-type]  # checked by `fit`
    calibration.save(out)
    console = Console()
    console.width = max(console.width, 100)  # a table cut to the width of a log file cannot be read
    for reason, count in sorted(left_out.items(), key=lambda item: -item[1])[:5]:
        console.print(printable(f"left out {count} rows: {reason}"), markup=False, highlight=False)
    console.print(table(calibration))
    console.print(printable(f"written to {out}"), markup=False, highlight=False)
    return calibration


def _check_target(out: Path, rows: Path, *, overwrite: bool) -> None:
    """Refuse to replace the input, or a file that is no calibration."""
    from halluguard.calibration.record import Calibration

    if not out.exists():
        return
    if rows.exists() and out.samefile(rows):
        raise SettingsError(f"--out {str(out)!r} is the file of labelled rows; name another file")
    try:
        with parsing(out, "a calibration"):
            Calibration.load(out)
    except InputError as error:
        if not overwrite:
            raise SettingsError(f"--out {str(out)!r} exists and is no calibration; name another file") from error


def table(calibration: Calibration) -> Table:
    """Precision and recall per label, those of all labels first."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(printable(f"{calibration.detector}: on {calibration.settings['report_on']}")))
    for column in ("label", "rows", "there", "high", "low", "sup. P", "R", "con. P", "R", "unsure", "ece", "raw"):
        shown.add_column(column, justify="left" if column == "label" else "right", no_wrap=True)
    for label, row in calibration.report.items():
        high, low = calibration.of(label)
        own = "" if not label or label in calibration.labels else " *"
        shown.add_row(
            Text(printable((label or "all") + own)),
            *(str(row["rows"]), str(row["present"]), f"{high:.3f}", f"{low:.3f}"),
            *(_share(row[kind][what]) for kind in ("supported", "contradicted") for what in ("precision", "recall")),
            *(_share(row[what]) for what in ("unsure", "ece", "ece_raw")),
        )
    shown.caption = "P precision, R recall, ece calibration error; * too few rows: the thresholds of all labels"
    return shown


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
