"""Read the first sheet of an Excel workbook (.xlsx), the form in which VLMEvalKit writes predictions.

A cell of a workbook holds at most 32,767 characters: VLMEvalKit cuts longer answers off, so that a long thought may
lose its end. `final_answers` counts such an answer as unread. Needs openpyxl (extra `xlsx`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from halluguard import io
from halluguard.errors import HalluguardError, InputError, first_line, require

MAX_UNPACKED = 64 * 2**20
"""Most bytes of a workbook's parts after they are unpacked; openpyxl reads a few million per second."""
MAX_ROWS = 2**20
"""Most rows of a sheet, as in Excel."""


def read_workbook(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (row number from 1, cells as text) of the rows of the first sheet that are not blank.

    A cell that begins with "=" is read as text, because pandas writes such answers as formulas.

    Raises:
        InputError: the file is not a workbook, or has more than `MAX_UNPACKED` bytes.
        MissingExtraError: openpyxl is not installed.
    """
    openpyxl = require("openpyxl", extra="xlsx", feature="a workbook (.xlsx)")
    try:
        with io.open_binary(path) as file:
            with zipfile.ZipFile(file) as parts:
                unpacked = sum(part.file_size for part in parts.infolist())
            if unpacked > MAX_UNPACKED:
                raise InputError(
                    f"{path} must be a workbook of at most {MAX_UNPACKED:,} bytes, got {unpacked:,}; save it as CSV"
                )
            book = openpyxl.load_workbook(file, read_only=True, data_only=False)
            sheet, width = book.worksheets[0], 0
            sheet.reset_dimensions()  # otherwise every blank row is as wide as the file states
            for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                if number > MAX_ROWS:
                    raise InputError(f"{path} must have at most {MAX_ROWS:,} rows, got more; split it")
                texts = [_text(cell) for cell in cells]
                if any(texts):
                    width = width or len(texts)
                    yield number, texts + [""] * (width - len(texts))
    except HalluguardError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; check the file") from error
    except Exception as error:  # openpyxl passes on any error of its parsers
        raise InputError(
            f"{path} must be a workbook (.xlsx), got something else ({first_line(error)}); save its sheet as CSV"
        ) from error


def _text(cell: object) -> str:
    """The text of a cell; a whole number has no decimal point."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
