"""`halluguard calibrate`: fit a detector's thresholds to labelled rows; with --risk, a policy that keeps a promise."""

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
_PROMISE = "A promise on the output (--risk)"


@app.command()
def calibrate(
    rows: Annotated[
        Path,
        typer.Argument(
            help="Labels: CSV or JSON Lines with image, phrase, present; a COCO annotations file; "
            "or, for --risk, JSON with image id -> objects."
        ),
    ],
    detector: Annotated[str, typer.Option(help="Detector, named as for `audit`.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write: thresholds.json for `audit --thresholds`, or policy.json for `audit --policy`."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Let --out replace an existing file of another kind.")] = False,
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
    risk: Annotated[
        list[str] | None,
        typer.Option(
            help="Promise a limit, such as chair_s=0.03, lost=0.05 or 0.7*chair_s+0.3*lost=0.05. May be repeated.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="Chance that the promise holds, in (0, 1).", rich_help_panel=_PROMISE)
    ] = 0.95,
    captions: Annotated[
        list[str] | None,
        typer.Option(
            help="Captions of the labelled images, in any format of `audit`; or IMAGINATION=FILE, several times.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    captioner: Annotated[
        str, typer.Option(help="Name of the model that wrote the captions.", rich_help_panel=_PROMISE)
    ] = "",
    detector_name: Annotated[
        str, typer.Option(help="Name of a detector that is known by a file.", rich_help_panel=_PROMISE)
    ] = "",
    group_key: Annotated[
        str | None,
        typer.Option(
            help="Column of the captions that names what is independent, such as a video. Default: the image.",
            rich_help_panel=_PROMISE,
        ),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(help="JSON list of settings to test, plain to strictest.", rich_help_panel=_PROMISE),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="How object words are read: fixed, pattern or wordnet (CHAIR).", rich_help_panel=_PROMISE),
    ] = "fixed",
    vocabulary: Annotated[
        Path | None, typer.Option(help="Objects that count, in the form of CHAIR's synonyms.", rich_help_panel=_PROMISE)
    ] = None,
    caption_key: Annotated[
        str | None, typer.Option(help="Column of the captions. Default: guessed.", rich_help_panel=_PROMISE)
    ] = None,
    image_key: Annotated[
        str | None, typer.Option(help="Column of the images. Default: guessed.", rich_help_panel=_PROMISE)
    ] = None,
) -> None:
    """Fit a detector's thresholds and confidences on labelled rows, and print how good they are.

    With --risk: find the setting of the whole audit whose output keeps a promise at a stated confidence, or refuse
    (exit code 1).
    """
    from halluguard.detectors.specs import from_spec

    if risk:
        from halluguard.auditing.config import AuditConfig
        from halluguard.cli.calibrate_policy import calibrate_policy
        from halluguard.metrics.vocabulary import load_vocabulary

        config = AuditConfig(
            rows,
            Path(),
            detector=detector,
            images=images,
            device=device,
            caption_key=caption_key,
            image_key=image_key,
            captioner=captioner,
            detector_name=detector_name,
            vocabulary=load_vocabulary(vocabulary) if vocabulary else None,
        )
        calibrate_policy(
            rows,
            captions or [],
            config,
            risk,
            out=out or Path("policy.json"),
            confidence=confidence,
            group_key=group_key,
            path=path,
            protocol=protocol,
            overwrite=overwrite,
        )
        return
    if captions:
        raise SettingsError("--captions are what a promise is about; name the promise with --risk, as in chair_s=0.05")
    options: dict[str, float | int | str] = {
        "alpha": alpha,
        "beta": beta,
        "min_rows": min_rows,
        "method": method,
        "holdout": holdout,
    }
    calibrate_file(
        rows,
        from_spec(detector, device=device),
        images=images,
        out=out or Path("thresholds.json"),
        overwrite=overwrite,
        **options,
    )


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
    from halluguard.cli.tables import print_whole
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
    for reason, count in sorted(left_out.items(), key=lambda item: -item[1])[:5]:
        console.print(printable(f"left out {count} rows: {reason}"), markup=False, highlight=False)
    print_whole(console, table(calibration))
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
