"""`halluguard sample`: draw images at random for a person to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halluguard.cli.app import app
from halluguard.cli.options import Command
from halluguard.errors import SettingsError
from halluguard.printing import printable


@app.command(cls=Command)
def sample(
    captions: Annotated[Path, typer.Argument(help="File or folder of captions, in any format of `audit`.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: one line per object that a caption names.")],
    images_drawn: Annotated[int, typer.Option(help="Number of images to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    caption_key: Annotated[str | None, typer.Option(help="Column of the captions. Default: guessed.")] = None,
    image_key: Annotated[str | None, typer.Option(help="Column of the images. Default: guessed.")] = None,
    id_key: Annotated[str | None, typer.Option(help="Column of the ids. Default: guessed.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Let --out replace an existing file.")] = False,
) -> None:
    """Draw images at random, and write a sheet on which a person marks which of the named objects are there.

    Fill in the column `present` with yes or no, from the first line on, and give the sheet to `audit --spot-labels`.
    """
    from halluguard.auditing.source import open_source
    from halluguard.auditing.spot_labels import write_sheet

    if out.exists() and not overwrite:
        raise SettingsError(f"--out {str(out)!r} exists, perhaps with labels; name another file, or use --overwrite")
    if out.exists() and captions.exists() and out.samefile(captions):
        raise SettingsError(f"--out {str(out)!r} is the input; name another file")
    source = open_source(captions, {"caption": caption_key, "image": image_key, "id": id_key})
    drawn, population = write_sheet(source, out, images_drawn, seed)
    print(printable(f"{drawn} of {population} images drawn with seed {seed}; fill in 'present' in {out}"))
