"""`halluguard calibrate`: fit a detector's thresholds to labelled rows; with --risk, a policy that keeps a promise."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command, option
from halluguard.errors import InputError, SettingsError
from halluguard.io import parsing
from halluguard.printing import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halluguard.calibration.labelled_rows import Labelled
    from halluguard.calibration.record import Calibration
    from halluguard.records import Detector

_FIT = "Fitting the thresholds"
_PROMISE = "A promise on the output (--risk)"


@app.command(cls=Command)
def calibrate(
    rows: Annotated[
        Path,
        typer.Argument(
            help="Labels: CSV or JSON Lines with image, phrase, present; a COCO annotations file; "
            "or, for --risk, JSON with image id -> objects. '-' is standard input."
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
        str | None, typer.Option(help="Device of the detector: cpu, cuda, cuda:1 ... Default: cpu.")
    ] = None,
    alpha: Annotated[float, option(_FIT, "Largest share of true claims that may be contradicted.")] = 0.05,
    beta: Annotated[float, option(_FIT, "Largest share of false claims that may be supported.")] = 0.05,
    min_images: Annotated[
        int,
        option(
            _FIT,
            "An object gets its own thresholds if at least this many labelled images show it, and as many do not.",
        ),
    ] = 50,
    negatives: Annotated[
        str,
        option(
            _FIT,
            "Source of the absent objects that set the upper threshold: random, co-occurring or claims (--captions).",
        ),
    ] = "random",
    method: Annotated[
        str, option(_FIT, "Method that turns scores into probabilities: isotonic, or platt for few rows.")
    ] = "isotonic",
    holdout: Annotated[
        float, option(_FIT, "Share of the images that is held out, to compute the printed figures.")
    ] = 0.5,
    risk: Annotated[
        list[str] | None,
        option(
            _PROMISE, "Limit to promise, such as chair_s=0.03, lost=0.05 or 0.7*chair_s+0.3*lost=0.05. May be repeated."
        ),
    ] = None,
    confidence: Annotated[float, option(_PROMISE, "Chance that the promise holds, in (0, 1).")] = 0.95,
    captions: Annotated[
        list[str] | None,
        option(
            _PROMISE, "Captions of the labelled images, in any format of `audit`; or IMAGINATION=FILE, several times."
        ),
    ] = None,
    captioner: Annotated[str, option(_PROMISE, "Name of the model that wrote the captions.")] = "",
    detector_name: Annotated[str, option(_PROMISE, "Name of the detector that made the file of detections.")] = "",
    group_key: Annotated[
        str | None,
        option(_PROMISE, "Column of the captions that names the independent unit, such as a video. Default: image."),
    ] = None,
    path: Annotated[
        Path | None, option(_PROMISE, "JSON file with the list of settings to test, from plain to strictest.")
    ] = None,
    protocol: Annotated[
        str, option(_PROMISE, "Rules that read object words, as in CHAIR: fixed, pattern or wordnet.")
    ] = "fixed",
    vocabulary: Annotated[
        Path | None, option(_PROMISE, "File of the objects that count, in the form of CHAIR's synonyms.")
    ] = None,
    caption_key: Annotated[str | None, option(_PROMISE, "Column of the captions. Default: guessed.")] = None,
    image_key: Annotated[str | None, option(_PROMISE, "Column of the images. Default: guessed.")] = None,
) -> None:
    """Fit a detector's thresholds and confidences to labelled rows, and print their quality.

    With --risk: find the setting of the whole audit whose output keeps a promise at a stated confidence, or refuse
    (exit code 1).
    """
    from halluguard.detectors.specs import from_spec

    with _file_of(rows) as rows:
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
        options: dict[str, float | int | str] = {
            "alpha": alpha,
            "beta": beta,
            "min_images": min_images,
            "negatives": negatives,
            "method": method,
            "holdout": holdout,
        }
        calibrate_file(
            rows,
            from_spec(detector, device=device),
            images=images,
            out=out or Path("thresholds.json"),
            overwrite=overwrite,
            captions=[Path(file) for file in captions or ()],
            **options,
        )


@contextmanager
def _file_of(rows: Path) -> Iterator[Path]:
    """The file of labels; "-" is standard input, written to a temporary file."""
    from halluguard.auditing.in_memory_input import MAX_STREAM, spool_stream

    if str(rows) != "-":
        yield rows
        return
    with tempfile.TemporaryDirectory() as folder:
        yield spool_stream(sys.stdin.buffer, Path(folder), most=MAX_STREAM)


def calibrate_file(
    rows: Path,
    detector: Detector,
    *,
    images: Path | None,
    out: Path,
    overwrite: bool = False,
    captions: Sequence[Path] = (),
    **options: float | int | str,
) -> Calibration:
    """Calibrate a detector on a file of labelled rows, write the result and print it.

    Args:
        rows: as for `calibration.labelled_rows.read_rows`.
        detector: the detector to calibrate.
        images: folder of the images; needed by a detector that looks at them.
        out: file for the thresholds.
        overwrite: True lets `out` replace a file that is not a calibration.
        captions: files of captions; their false claims are measured and, with negatives "claims", used for the fit.
        options: keyword arguments of `calibration.fitting.fit`.
    """
    from rich.console import Console

    from halluguard.calibration.fitting import fit
    from halluguard.calibration.labelled_rows import read_rows, score_rows
    from halluguard.cli.calibration_report import notes, table
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
    labelled, copies = _grouped(labelled, folder) if detector.needs_image else (labelled, 0)
    scored, left_out = score_rows(labelled, detector, opened)
    if not scored:
        reason = next(iter(left_out), "the file is empty")
        raise InputError(
            f"none of {len(labelled)} labelled rows could be scored ({reason}); check the labels and --images"
        )
    claims = _claims(captions) if captions else None
    calibration = fit(scored, detector=detector.name, claims=claims, **options)  # type: ignore[arg-type]  # checked by `fit`
    calibration.save(out)
    console = Console()
    for reason, count in sorted(left_out.items(), key=lambda item: -item[1])[:5]:
        console.print(printable(f"left out {count} rows: {reason}"), markup=False, highlight=False)
    if copies:
        console.print(f"{copies} images are copies of others; copies stay in one half", highlight=False)
    print_whole(console, table(calibration))
    for note in notes(calibration):
        console.print(printable(note), markup=False, highlight=False, soft_wrap=True)
    console.print(printable(f"written to {out}"), markup=False, highlight=False)
    return calibration


def _grouped(rows: Sequence[Labelled], folder: Path) -> tuple[list[Labelled], int]:
    """The rows, with images of the same content in one group, and the number of images that are copies of others."""
    from dataclasses import replace

    from halluguard.images import resolve_inside
    from halluguard.io import file_hash

    contents: dict[str, str] = {}
    for image in dict.fromkeys(row.image for row in rows):
        try:
            contents[image] = file_hash(resolve_inside(folder, image))
        except (InputError, OSError):  # an unreadable image is left out, with its reason, when it is scored
            contents[image] = image
    first: dict[str, str] = {}
    names = {image: first.setdefault(content, image) for image, content in contents.items()}
    grouped = [replace(row, group=row.group or names[row.image]) for row in rows]
    return grouped, len(names) - len(first)


def _claims(files: Sequence[Path]) -> dict[str, list[str]]:
    """Image -> captions, from files of captions."""
    from halluguard.auditing.source import open_source

    claims: dict[str, list[str]] = {}
    for file in files:
        for row in open_source(file, {}).rows():
            if not row.code:
                claims.setdefault(row.image, []).append(row.caption)
    return claims


def _check_target(out: Path, rows: Path, *, overwrite: bool) -> None:
    """Refuse to replace the input, or a file that is not a calibration."""
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
            raise SettingsError(f"--out {str(out)!r} exists and is not a calibration; name another file") from error
