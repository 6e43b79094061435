"""Compare a configuration with the sizes of its weights, before a model is built from it.

A configuration of a few bytes can ask for 10^9 layers, which would take for ever to build. The headers of the
safetensors files state the number and the sizes of the tensors, so the tensors need not be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from halluguard import hub
from halluguard.errors import InputError, UnsupportedModelError, first_line
from halluguard.io import parse_json
from halluguard.tensor_files import read_shapes

WEIGHTS = ("model.safetensors.index.json", "model.safetensors")
MAX_SETTINGS = 64 * 1024**2
"""Largest file of settings or index of weights, in bytes."""
MAX_SETTINGS_MEMORY = 512 * 1024**2
"""Most memory that such a file may take as JSON, in bytes, by an estimate."""
PACKING = 8
"""Most weights that one stored number of a quantized checkpoint may hold."""

_LAYERS = re.compile(r"layers?$|^depths?$|^(num|n)_.*(blocks?|stages?)$|^num_hidden_layers")
_PARTS = re.compile(
    r"^(num|n)_|_num$|heads?$|experts?$|(hidden|vocab|intermediate|embed|ffn|mlp|projection)_(size|dim)$"
)
_FEW = 4096
"""Number of parts that is always accepted, because so few are built in a moment."""


def tensor_shapes(name: str | Path, files: tuple[str, ...] = WEIGHTS, **source: Any) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each tensor in a checkpoint's safetensors files, from their headers; empty without them.

    Args:
        name: hub name or folder.
        files: names of the file with the weights or their index; the first that exists counts.
        source: `revision`, `cache_dir`, ... as transformers takes them.

    Raises:
        InputError: a header is damaged, or a file named by the index is missing.
    """
    for file in files:
        path = find_file(name, file, source)
        if path is None:
            continue
        if path.suffix != ".json":
            return dict(read_shapes(path))
        index = read_json_file(path)
        parts = index.get("weight_map") if isinstance(index, Mapping) else None
        if not isinstance(parts, Mapping) or not all(isinstance(part, str) for part in parts.values()):
            raise InputError(f"the index {str(path)!r} has no weight_map of tensors and files; download it again")
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(parts, ())
        for part in sorted(set(parts.values())):
            if Path(part).name != part:
                raise InputError(f"the index {str(path)!r} names a file outside its folder, {part!r}; do not load it")
            shard = path.parent / part
            if shard.exists():  # the shards of a hub checkpoint are fetched later
                shapes.update(read_shapes(shard))
            elif Path(name).is_dir():
                raise InputError(f"the checkpoint {str(name)!r} lacks {part!r}, which its index names; copy it again")
        return shapes
    return {}


def find_file(name: str | Path, file: str, source: Mapping[str, Any]) -> Path | None:
    """A file of a checkpoint, fetched from the hub if need be; None where there is none."""
    if not Path(name).exists() and not source.get("local_files_only") and hub.why_unreachable():
        source = {**source, "local_files_only": True}
    try:
        with hub.SETTINGS, hub.no_retries_in_vain():
            path = cached_file(
                str(name),
                file,
                **source,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
    except Exception as error:  # the loader reports the error in the name
        if not isinstance(error, OSError | ValueError) and not hub.is_network_error(error):
            raise
        return None
    return None if path is None else Path(path)


def read_json_file(path: Path) -> Any:
    """The JSON value in a file of a checkpoint.

    Raises:
        InputError: it cannot be read, is larger than `MAX_SETTINGS`, or is not JSON.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_SETTINGS:
            raise ValueError(f"no regular file of at most {MAX_SETTINGS:,} bytes")
        return parse_json(path.read_text(encoding="utf-8"), MAX_SETTINGS_MEMORY)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(path)!r} as JSON: {first_line(error)}; copy the file again") from error


def check_config(name: str | Path, shapes: Mapping[str, tuple[int, ...]], **source: Any) -> None:
    """Refuse a configuration that asks for more layers or parts than the weights can fill.

    Args:
        name: hub name or folder.
        shapes: result of `tensor_shapes`.
        source: as for `tensor_shapes`.

    Raises:
        UnsupportedModelError: a number is too large; the message names it.
        InputError: config.json is damaged.
    """
    path = find_file(name, "config.json", source)
    if path is None or not shapes:
        return
    config = read_json_file(path)
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    packed = PACKING if isinstance(config, Mapping) and "quantization_config" in config else 1
    for key, value in _numbers(config):
        limit: float = math.inf
        if _LAYERS.search(key):
            limit = len(shapes)
        elif _PARTS.search(key) and largest:  # without shapes (hub shards not fetched yet) there is no limit
            limit = max(_FEW, packed * largest)
        if value > limit:
            raise UnsupportedModelError(
                f"the configuration of {str(name)!r} asks for {key} = {value:,}, but its weights are {len(shapes):,} "
                f"tensors of at most {largest:,} rows; use the configuration that belongs to the weights"
            )


def check_parameters(name: str | Path, parameters: int, shapes: Mapping[str, tuple[int, ...]], quantized: bool) -> None:
    """Refuse a model with several times as many parameters as its weights hold, before memory is taken for them.

    Args:
        name: hub name or folder.
        parameters: number of the model's parameters.
        shapes: result of `tensor_shapes`.
        quantized: True if several weights may be packed into one stored number.

    Raises:
        UnsupportedModelError: the model has too many parameters.
    """
    if not shapes or (any(not shape for shape in shapes.values()) and not any(shapes.values())):
        return
    stored = sum(math.prod(shape) for shape in shapes.values())
    if parameters > 4 * (PACKING if quantized else 1) * stored + 1_000_000:
        raise UnsupportedModelError(
            f"the configuration of {str(name)!r} asks for {parameters:,} parameters, but its weights hold {stored:,}; "
            "use the configuration that belongs to the weights"
        )


def _numbers(config: object, key: str = "") -> Iterator[tuple[str, int]]:
    """Yield (key, value) of each integer in a configuration, at any depth, without recursion."""
    stack = [(key, config)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, bool):
            continue
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            yield key, int(value)
        elif isinstance(value, Mapping):
            stack.extend((str(inner), item) for inner, item in value.items())
        elif isinstance(value, list):
            stack.extend((key, item) for item in value)
