"""`halluguard export`: write a finished audit for Label Studio or FiftyOne."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command
from halluguard.printing import printable


@app.command(cls=Command)
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished audit.")],
    to: Annotated[Literal["labelstudio", "fiftyone"], typer.Option(help="Tool that will read the file.")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    image_pattern: Annotated[
        str | None,
        typer.Option(help="File name of an image, such as 'COCO_val2014_{id:012d}.jpg'. Default: usual ones."),
    ] = None,
    image_prefix: Annotated[
        str | None,
        typer.Option(
            help="Beginning of an image's address for Label Studio; its path follows. Default: local storage."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Let --out replace an existing file.")] = False,
) -> None:
    """Write a finished audit for Label Studio or FiftyOne, with boxes, verdicts and captions."""
    from halluguard.auditing.image_store import ImageFolder
    from halluguard.auditing.outputs.curation import LOCAL_FILES, export_run

    prefix = LOCAL_FILES if image_prefix is None else image_prefix
    folder = ImageFolder(images, image_pattern)
    written, missing = export_run(run, to, folder, out, prefix=prefix, overwrite=overwrite)
    left_out = f"; {missing} left out because their images cannot be opened" if missing else ""
    print(printable(f"{written} captions written to {out}{left_out}"))
