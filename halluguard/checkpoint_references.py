"""Refuse a checkpoint whose files refer to something outside it: another model, a host, or a module of code.

transformers and peft follow the references in a model folder: an adapter names its base model, a processor an audio
tokenizer, an attention implementation a package of compiled code on the hub. A folder must be complete without them, so
such references are refused before anything is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from halluguard.checkpoint_sizes import find_file, read_json_file
from halluguard.errors import InputError, UnsupportedModelError

ADAPTER = "adapter_config.json"
FILES = (
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("video_preprocessor_config.json", "tokenizer_config.json", "audio_tokenizer_config.json"),
)
"""Files of settings that transformers reads from a checkpoint."""
MAX_BEAMS = 1000
"""Most answers or beams per prompt that a checkpoint may ask for by default."""
MAX_SIDE, MAX_AREA = 16_384, 100_000_000
"""Largest images that a checkpoint may ask for: pixels of a side, pixels of the whole image."""

_ATTENTION = re.compile(r"_?attn_implementation(_internal)?")
_PATHS = re.compile(r"_(file|path|url)$|^(file|path|url)$")
_SIDES = ("height", "width", "max_height", "max_width")
_BEAMS = ("num_beams", "num_return_sequences", "num_beam_groups")
_PATTERNS = ("target_modules", "exclude_modules", "layers_pattern", "modules_to_save", "target_parameters")
"""Settings of an adapter whose values may be regular expressions."""
_REPEATED_GROUP = re.compile(r"\)[*+{]")
"""A repeated group, which can make a regular expression search for ever."""


def check_references(name: str | Path, *, model: bool, **source: Any) -> None:
    """Refuse a checkpoint that is an adapter, refers to something outside it, or asks for too much memory.

    Args:
        name: hub name or folder.
        model: True when a model or its configuration is loaded; False for a processor, which may lie beside an adapter.
        source: `revision`, `cache_dir`, ... as transformers takes them.

    Raises:
        UnsupportedModelError: the checkpoint is refused; the message names the file and the setting.
        InputError: a file is not JSON, or is a pipe or device, whose reading might never end.
    """
    for path in Path(name).iterdir() if Path(name).is_dir() else ():
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"expected the files of a checkpoint, got a pipe or device at {str(path)!r}; remove it")
    if model and find_file(name, ADAPTER, source) is not None:
        raise UnsupportedModelError(
            f"{str(name)!r} holds a PEFT adapter ({ADAPTER}), which names a base model to be fetched; load the base "
            "model by its own name and give this as its adapter, or remove the file from a merged model"
        )
    if not Path(name).is_dir():  # a checkpoint of the hub refers to the hub again, which the caller named
        return
    for file in FILES:
        path = Path(name) / file
        if path.is_file():
            for keys, value, beside in _values(read_json_file(path)):
                if reason := _reason(keys, value, beside):
                    raise UnsupportedModelError(
                        f"{str(path)!r} sets {'.'.join(keys)} = {json.dumps(value)[:100]}, {reason}; remove the setting"
                    )


def _reason(keys: tuple[str, ...], value: object, beside: Collection[str]) -> str:
    """The reason to refuse a setting, or an empty text. `beside` holds all keys of the object that contains it."""
    key = keys[-1]
    if any(part.startswith("audio_tokenizer") for part in keys) and isinstance(value, str):
        return "which leads to another checkpoint"
    if isinstance(value, str):
        if any(_ATTENTION.fullmatch(part) for part in keys) and "/" in value:
            return "which is code to be fetched from the hub"
        if value.startswith(("hf-hub:", "hf_hub:", "local-dir:", "local_dir:")) or key == "repo_path":
            return "which leads to another checkpoint"
        if _PATHS.search(key) and "://" in value:
            return "which is an address on a network"
    if isinstance(value, int | float) and not isinstance(value, bool):
        limit = _limit(keys, beside)
        if limit is not None and value > limit:
            return f"which is more than {limit:,}"
    return ""


def _limit(keys: tuple[str, ...], beside: Collection[str]) -> int | None:
    key, within = keys[-1], keys[-2] if len(keys) > 1 else ""
    if key in _BEAMS:
        return MAX_BEAMS
    if within in ("size", "crop_size", "pad_size", "max_image_size"):
        side = key in _SIDES or (key == "shortest_edge" and "longest_edge" not in beside)
        return MAX_SIDE if side else MAX_AREA  # if both edges are given, they are areas for some processors
    if key in ("size", "crop_size", "image_size"):
        return MAX_SIDE
    return MAX_AREA if key == "min_pixels" else None


def _values(settings: object) -> Iterator[tuple[tuple[str, ...], object, Collection[str]]]:
    """Yield (path of keys, value, keys of its object) for each value that is not a container, without recursion."""
    stack: list[tuple[tuple[str, ...], object, Collection[str]]] = [((), settings, ())]
    while stack:
        keys, value, beside = stack.pop()
        if isinstance(value, Mapping):
            stack.extend(((*keys, str(key)), inner, value) for key, inner in value.items())
        elif isinstance(value, list):
            stack.extend((keys, inner, beside) for inner in value)
        elif keys:
            yield keys, value, beside


def check_adapter(adapter: str | Path, shapes: Mapping[str, tuple[int, ...]], **source: Any) -> None:
    """Refuse an adapter whose settings name code or other adapters, or ask for more than its weights hold.

    Args:
        adapter: hub name or folder.
        shapes: name -> shape of each of its tensors.
        source: as for `check_references`.

    Raises:
        UnsupportedModelError: the settings are refused; the message names them.
        InputError: the adapter has no readable settings.
    """
    path = find_file(adapter, ADAPTER, source)
    settings = read_json_file(path) if path is not None else None
    if not isinstance(settings, Mapping):
        raise InputError(
            f"expected a JSON object in {ADAPTER} of the adapter {str(adapter)!r}, got none; copy it again"
        )
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    refused = {key: settings[key] for key in ("megatron_config", "layer_replication") if settings.get(key)}
    if str(settings.get("peft_type", "")).upper() in ("XLORA", "POLY"):
        refused["peft_type"] = settings["peft_type"]
    for keys, value, _ in _values(settings):
        is_rank = keys[0] in ("r", "rank_pattern") or keys[-1] in ("rank", "num_virtual_tokens")
        if is_rank and isinstance(value, int | float) and value > largest:
            refused[".".join(keys)] = value
        if isinstance(value, str) and (len(value) > 10_000 or (keys[0] in _PATTERNS and _REPEATED_GROUP.search(value))):
            refused[".".join(keys)] = value[:100]
    if refused:
        raise UnsupportedModelError(
            f"the adapter {str(adapter)!r} has settings that are refused: {refused}; they name code, other "
            "weights, or more than its weights hold; use an adapter without them"
        )
