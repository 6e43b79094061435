"""What the benchmark scripts share: options, the way out of an error; and for a model: loading, pictures, resuming.

A model is described by the options of `add_model_options`: its name, and the layers around it. Generation itself is
`Guard.batch`, so that what is measured is what a user gets.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from halluguard.errors import HalluguardError, InputError, SettingsError
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.stats import UndefinedScoreWarning

LAYERS = ("model", "imagination", "decoding", "set", "adapter", "detector", "dtype", "device")
"""Options that decide what a model says; resuming checks that they are the same."""


def options(doc: str | None, given: str | None) -> tuple[argparse.ArgumentParser, argparse._MutuallyExclusiveGroup]:
    """A parser with what every script takes, and its group of sources: `--model`, or a file by the name `given`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    if given:
        source.add_argument(f"--{given}", type=Path, help="published outputs to score, without a model")
    source.add_argument("--model", help="hub name, folder, or sandbox")
    parser.add_argument("--json", type=Path, required=True, help="write the score here")
    parser.add_argument("--limit", type=_positive, help="only the first so many")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap, and of every random choice")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap size; 0: no intervals")
    return parser, source


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text}")
    return int(text)


def add_model_options(parser: argparse.ArgumentParser, max_new_tokens: int, batch_size: int) -> None:
    """The options of a model and of the layers around it."""
    model = parser.add_argument_group("with --model")
    model.add_argument("--images", type=Path, help="folder of pictures, named by image id or as in COCO")
    model.add_argument("--imagination", type=float, help="decoding knob in [-1, 1]; negative is more grounded")
    model.add_argument("--decoding", help="a decoding method by name, such as VCD, or a preset, such as ICD:paper")
    model.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an argument of --decoding")
    model.add_argument("--adapter", help="PEFT adapter, fine-tuned for the model: hub name or folder, or sandbox")
    model.add_argument("--detector", help="expert that corrects what is said: hub name, folder, or sandbox")
    model.add_argument("--max-new-tokens", type=_positive, default=max_new_tokens)
    model.add_argument("--batch-size", type=_positive, default=batch_size)
    model.add_argument("--dtype", help="bfloat16, float16, float32 or auto")
    model.add_argument("--device", help="cuda, cpu, ...")


def main(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    """Parse and run; what is wrong with the input is one sentence and the exit status 1."""
    given = parser.parse_args()
    warnings.simplefilter("ignore", UndefinedScoreWarning)  # printed with the score they belong to
    try:
        run(given)
    except HalluguardError as error:
        sys.exit(f"error: {error}")


def heading(label: str, columns: Sequence[str]) -> str:
    """First two lines of the Markdown table whose rows are `Score.markdown_row`."""
    return f"\n| {label} | {' | '.join(columns)} | signature |\n|{'---|' * (len(columns) + 2)}"


# --- a model -----------------------------------------------------------------------------------------------------


def load(given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The Guard that the options describe, and the settings that decide what it says."""
    settings = {name: getattr(given, name) for name in LAYERS}
    guard = _guard(**{**settings, "set": tuple(settings["set"])})
    return guard, {**settings, "max_new_tokens": given.max_new_tokens, "seed": given.seed}


def method(name: str | None, arguments: Sequence[str], imagination: float | None) -> Any:
    """The method `decoding.get_method(name)`, with NAME=VALUE arguments; or the knob; or None."""
    from halluguard import decoding

    if name is None:
        if arguments:
            raise SettingsError(f"--set gives arguments to a method, got {arguments[0]!r} without --decoding")
        return None if imagination is None else decoding.Imagination(imagination)
    if imagination is not None:
        raise SettingsError("--imagination is a decoding method itself, got --decoding too; choose one")
    found = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise SettingsError(f"--set must be NAME=VALUE, got {argument!r}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return decoding.get_method(name, **found)


@cache
def _guard(
    model: str,
    imagination: float | None,
    decoding: str | None,
    set: tuple[str, ...],
    adapter: str | None,
    detector: str | None,
    dtype: str | None,
    device: str | None,
) -> Any:
    from halluguard import sandbox
    from halluguard.guard import Guard

    return Guard.from_pretrained(
        sandbox.MLLM if model == "sandbox" else model,
        detector=sandbox.DETECTOR if detector == "sandbox" else detector,
        decoding=method(decoding, set, imagination),
        adapter=sandbox.ADAPTER if adapter == "sandbox" else adapter,
        dtype=dtype,
        device=device,
    )


def sandbox_objects(limit: int | None = None) -> dict[int, list[str]]:
    """What is in each of the sandbox's test scenes, by image id."""
    from halluguard.sandbox import scenes

    return {sample.image_id: list(sample.names) for sample in scenes(limit)}


def pictures(given: argparse.Namespace, wanted: Sequence[Any]) -> dict[str, Any]:
    """image key -> picture or path, of all the wanted images.

    Raises:
        InputError: there is no folder of pictures, or one is missing in it.
    """
    if given.model == "sandbox" and not given.images:
        from halluguard.sandbox import scenes

        found: dict[str, Any] = {str(sample.image_id): sample.image for sample in scenes()}
    elif given.images and given.images.is_dir():
        found = {image_key(path.name): path for path in sorted(given.images.iterdir()) if path.is_file()}
    else:
        raise InputError(f"a model needs pictures, got --images {given.images}; name a folder of them")
    keys = list(dict.fromkeys(image_key(image) for image in wanted))
    missing = [key for key in keys if key not in found]
    if missing:
        raise InputError(
            f"every image must have its picture in {given.images}, {len(missing)} of {len(keys)} have none, such as "
            f"{missing[0]}; add them, named by image id, or leave the images out of the file"
        )
    return {key: found[key] for key in keys}


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
        file.flush()
        starts = range(0, len(left), batch_size)
        for start in track(starts, description=path.name) if left else ():
            for row in ask(left[start : start + batch_size]):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
