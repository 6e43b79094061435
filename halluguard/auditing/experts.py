"""Experts by name, as the command line writes them.

HUB-NAME-OR-FOLDER      a zero-shot object detector of transformers
objects:FILE            known objects per image: {"image id": ["dog", "car"]}, plain or gzipped
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from halluguard.auditing.formats import opened
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.records import Detector


def load_expert(spec: str, *, device: str | None = None) -> Detector:
    """The expert of that name.

    Raises:
        InputError: its file cannot be read.
        SettingsError: the name is of no known form.
        ExpertError, MissingExtraError: it cannot be loaded.
    """
    kind, _, rest = spec.partition(":")
    if kind == "objects":
        return known_objects(Path(rest))
    if not spec.strip():
        raise SettingsError("expected an expert: the hub name or folder of a detector, or 'objects:FILE'; got nothing")
    from halluguard.detectors.zero_shot import ZeroShotDetector

    try:
        return ZeroShotDetector.from_pretrained(spec, device=device or "cpu")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ExpertError(
            f"the detector {spec!r} cannot be loaded ({reason}); check the name, the network, or name a local folder"
        ) from error


def known_objects(path: Path) -> KnownObjects:
    """The expert that knows which objects are in each image, from a file {"image id": ["dog", "car"]}."""
    objects = _read_json(path)
    if not isinstance(objects, dict):
        raise InputError(
            f"expected an object of image id -> list of names in {str(path)!r}, got {type(objects).__name__}"
        )
    return KnownObjects(objects, name=f"known-objects:{file_hash(path)[:12]}")


def file_hash(path: Path) -> str:
    """A file's content, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _read_json(path: Path) -> Any:
    try:
        with opened(path) as file:
            return json.loads(file.read())
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {str(path)!r} as JSON: {error}; check the file") from error
