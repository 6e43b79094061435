"""Read safetensors files that may be damaged or hostile: only their headers, or all tensors.

This is the only module that opens tensors, besides the loaders of transformers and peft.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, isfinite

from halluguard.errors import InputError, first_line
from halluguard.io import parse_json

MAX_HEADER = 100_000_000
"""Largest safetensors header that the format allows, in bytes."""
MAX_MEMORY = 512 * 1024**2
"""Most memory that a header may take, in bytes, by an estimate."""


def read_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (name, shape) of each tensor, from the header alone.

    Raises:
        InputError: the header is damaged, or no regular file is there.
    """
    try:
        if not path.is_file():
            raise ValueError("no regular file")
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(MAX_HEADER, path.stat().st_size):
                raise ValueError(f"a header of {length:,} bytes")
            header = parse_json(file.read(length), MAX_MEMORY)
        for key, entry in header.items():
            if key != "__metadata__":
                yield key, tuple(int(size) for size in entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected safetensors in {str(path)!r}, got {first_line(error)}; the file is damaged, copy it again"
        ) from error


def read_tensors(path: str | Path, *, content: str, advice: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata.

    Args:
        path: the file.
        content: expected content, for the error ("a controller").
        advice: advice about another kind of file, for the error.

    Raises:
        InputError: no such file, it is damaged, or a value is NaN or infinite.
    """
    try:
        if not Path(path).is_file():
            raise OSError("no such file")
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise InputError(
            f"expected {content} in safetensors, cannot read {str(path)!r} ({first_line(error)}); {advice}"
        ) from error
    infinite = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not isfinite(tensor).all()]
    if infinite:
        raise InputError(f"expected {content} in {str(path)!r}, got NaN or infinite values in {infinite[:3]}; {advice}")
    return tensors, metadata
