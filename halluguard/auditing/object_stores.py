"""Copy an input from an object store into the run folder, and refuse what can only lie in a local folder.

    halluguard audit s3://bucket/captions.jsonl.gz --out audited --objects objects.json

fsspec reads the address, with the credentials that its package for the store finds (s3fs for s3://, gcsfs for gs://).
A run locks its folder and replaces files in one step, which object stores do not offer. So results are written to a
local folder, which can be copied when the run is finished.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from halluguard.auditing.config import AuditConfig
from halluguard.auditing.in_memory_input import spool_stream
from halluguard.errors import InputError, OutputError, SettingsError

_ADDRESS = re.compile(r"([a-z][a-z0-9]+):/{1,2}([^/].*)", re.DOTALL)  # a Path keeps one slash of two
_ENDING = re.compile(r"(?:\.[a-z0-9]{1,10}){1,2}")


def address_of(path: Path) -> str | None:
    """The address of an object that a path stands for; None for a path of the file system.

    >>> address_of(Path("s3://bucket/captions.jsonl")), address_of(Path("captions.jsonl"))
    ('s3://bucket/captions.jsonl', None)
    """
    match = _ADDRESS.fullmatch(path.as_posix())
    if match is None or match[1] in ("file", "local"):
        return None
    import fsspec  # only for addresses: it takes as long to import as a hundred captions take to check

    if match[1] not in fsspec.available_protocols():
        return None
    return None if path.exists() else f"{match[1]}://{match[2]}"


def fetched(address: str, out: Path) -> Path:
    """Copy an object into the run folder, and return its file. Equal content gives the same file, so a run continues.

    Args:
        address: address of one file.
        out: the run folder.

    Raises:
        InputError: it cannot be read.
    """
    import fsspec

    try:
        with fsspec.open(address, "rb") as stream:
            ending = _ENDING.search(PurePosixPath(address).name.lower())
            return spool_stream(stream, out, ending[0] if ending else "")
    except OutputError:
        raise
    except ImportError as error:
        raise InputError(f"cannot read {address}: {error}; install what it names") from error
    except Exception as error:  # each store has its own errors
        raise InputError(
            f"cannot read {address}: {type(error).__name__}: {str(error)[:300]}; "
            "check the address of the file and the credentials"
        ) from error


def check_local(config: AuditConfig) -> None:
    """Refuse addresses of object stores where a run needs a file system.

    Raises:
        SettingsError: results or images are to lie in an object store.
    """
    outputs = {"--out": config.out, "--export": config.export, "--cache": config.cache}
    for option, path in {**outputs, "--coco-detections": config.coco_detections}.items():
        if path is not None and address_of(path):
            raise SettingsError(
                f"{option} is a path on this machine, got {address_of(path)}: a run locks its folder and replaces "
                "files in one step, which object stores do not; audit to a local folder, then copy it there"
            )
    if config.images is not None and address_of(config.images):
        raise SettingsError(
            f"--images is a folder on this machine, got {address_of(config.images)}; mount the store, or audit "
            "a file that carries its images: a WebDataset tar, or Parquet with image bytes"
        )
