"""Read the vocabularies of objects that an audit looks for beside the claims, by their names on the command line."""

from __future__ import annotations

from pathlib import Path

from halluguard.errors import InputError, SettingsError
from halluguard.io import read_text
from halluguard.vocabulary import COCO, COMMON, normal

LARGEST_FILE = 4 * 1024**2
"""Largest vocabulary file in bytes, including comments."""
LARGEST = 5_000
"""Most names in a vocabulary file; the detector is asked about each of them in every image."""


def read_vocabulary(name: str) -> tuple[str, ...]:
    """The names of "coco", "common", or a file with one name per line; empty lines and lines with # are skipped.

    Raises:
        SettingsError: there is no such file.
        InputError: the file holds no names, or too many.
    """
    if name in ("coco", "common"):
        return COCO if name == "coco" else COMMON
    path = Path(name)
    if not path.is_file():
        raise SettingsError(
            f"expected coco, common or a file of names as the vocabulary, got {name!r}; name one of them"
        )
    lines = [line.strip() for line in read_text(path, most=LARGEST_FILE).splitlines()]
    names = tuple(dict.fromkeys(normal(line) for line in lines if line and not line.startswith("#")))
    if not names or len(names) > LARGEST or any(len(one) > 80 for one in names):
        raise InputError(
            f"expected 1 to {LARGEST:,} names of at most 80 characters in {str(path)!r}, one per line, "
            f"got {len(names):,}; "
            "correct the file"
        )
    return names
