"""What the benchmark scripts share when a model is run: loading, pictures, batches, resuming."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from halluguard.errors import InputError
from halluguard.metrics.ground_truth import image_key


def load(given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The Guard that the options describe, and the settings that decide what it says."""
    names = ("model", "imagination", "detector", "dtype", "device")
    settings = {name: getattr(given, name) for name in names}
    return _guard(**settings), {**settings, "max_new_tokens": given.max_new_tokens}


@cache
def _guard(model: str, imagination: float | None, detector: str | None, dtype: str | None, device: str | None) -> Any:
    from halluguard import sandbox
    from halluguard.decoding import Imagination
    from halluguard.guard import Guard

    return Guard.from_pretrained(
        sandbox.MLLM if model == "sandbox" else model,
        detector=sandbox.DETECTOR if detector == "sandbox" else detector,
        decoding=None if imagination is None else Imagination(imagination),
        dtype=dtype,
        device=device,
    )


def pictures(given: argparse.Namespace, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """image key -> picture or path, of the wanted images."""
    if given.model == "sandbox" and not given.images:
        from halluguard.sandbox import scenes

        found: dict[str, Any] = {str(sample.image_id): sample.image for sample in scenes()}
    elif given.images and given.images.is_dir():
        found = {image_key(path.name): path for path in sorted(given.images.iterdir()) if path.is_file()}
    else:
        raise InputError(f"a model needs pictures, got --images {given.images}; name a folder of them")
    shown = {key: found[key] for key in wanted if key in found}
    if not shown:
        raise InputError(f"none of the {len(wanted)} images is in {given.images}; name them by image id")
    missing = [key for key in wanted if key not in found]
    if missing:
        print(f"{len(missing)} images have no picture, such as {missing[0]}; they are left out")
    return shown


def resume(
    path: Path,
    key: str,
    wanted: Sequence[Any],
    ask: Callable[[list[Any]], list[dict[str, Any]]],
    batch_size: int,
    settings: Mapping[str, Any],
) -> None:
    """Fill the JSON lines of `path` with one row for each of `wanted`, keeping the whole rows already there.

    Raises:
        InputError: the file was begun with other settings.
    """
    from rich.progress import track

    beside = path.with_suffix(".settings.json")
    told = json.loads(json.dumps(settings))
    rows: list[str] = []
    if path.exists() and beside.exists():
        before = json.loads(beside.read_text(encoding="utf-8"))
        if before != told:
            differ = sorted(name for name in {*before, *told} if before.get(name) != told.get(name))
            raise InputError(f"{path} was begun with other settings ({', '.join(differ)}); remove it or name another")
        # An interruption can leave half a line, which has no end.
        rows = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    beside.write_text(json.dumps(told) + "\n", encoding="utf-8")
    done = {str(json.loads(row)[key]) for row in rows}
    left = [item for item in wanted if str(item) not in done]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(rows)
        starts = range(0, len(left), batch_size)
        for start in track(starts, description=path.name) if left else ():
            for row in ask(left[start : start + batch_size]):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
