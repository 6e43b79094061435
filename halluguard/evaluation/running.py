"""Share code among the benchmarks: options, errors, loading a model and its images, resuming.

The options of `add_model_options` name the model and the layers around it. The answers come from `Guard.batch`, so a
benchmark measures exactly what a user gets.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar, get_args

from halluguard import io
from halluguard.errors import HalluguardError, InputError, SettingsError
from halluguard.metrics.final_answers import Forms
from halluguard.metrics.ground_truth import ImageId, image_key
from halluguard.metrics.score import JsonObject, Score
from halluguard.metrics.stats import UndefinedScoreWarning
from halluguard.printing import printable, show

if TYPE_CHECKING:  # scoring published outputs loads no model
    from PIL import Image

    from halluguard.decoding import DecodingMethod
    from halluguard.guard import Guard

Item = TypeVar("Item")

LAYERS = ("model", "imagination", "decoding", "set", "adapter", "detector", "dtype", "device")
"""Options that decide a model's answers. A run can be resumed only with the same values."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors, which quote the arguments, are safe to print."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with status 2."""
        super().error(printable(message))


def options(doc: str | None, published: str | None) -> tuple[argparse.ArgumentParser, argparse._MutuallyExclusiveGroup]:
    """A parser with the options of every benchmark, and its group of sources: `--model` or `--<published>` FILE."""
    parser = scoring_options(doc)
    source = parser.add_mutually_exclusive_group(required=True)
    if published:
        source.add_argument(f"--{published}", type=Path, help="published outputs to score, without a model")
    source.add_argument("--model", help="model to run: hub name, folder, or sandbox")
    return parser, source


def scoring_options(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every score, for a model's outputs and for published outputs."""
    parser = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write the score to")
    parser.add_argument("--limit", type=_positive, help="use only the first LIMIT items")
    parser.add_argument("--seed", type=seed, default=0, help="seed of the bootstrap and of every random choice [0]")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap samples; 0: no intervals [1000]")
    return parser


def answers_options(doc: str | None, answers: str) -> argparse.ArgumentParser:
    """A parser with the options of a score of a file of answers.

    Args:
        doc: the description.
        answers: help text of --answers.
    """
    parser = scoring_options(doc)
    parser.add_argument("--answers", type=Path, required=True, help=answers)
    add_answer_options(parser)
    return parser


class AnswersSettings(TypedDict):
    """Arguments of a metric's `score` for a file of answers."""

    forms: Forms
    seed: int
    resamples: int


def answers_settings(given: argparse.Namespace) -> AnswersSettings:
    """The values of --forms, --seed and --resamples."""
    return {"forms": given.forms, "seed": given.seed, "resamples": given.resamples}


def seed(text: str) -> int:
    """The value of --seed: a whole number, at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 0, got {text}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text}")
    return int(text)


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Add --forms, which sets how answers are cleaned before a parser, and --answer-key, the field with the answer."""
    text = "final: read answers without reasoning, boxes, JSON and emphasis; raw: unchanged [final]"
    parser.add_argument("--forms", choices=get_args(Forms), default="final", help=text)
    parser.add_argument("--answer-key", help="name of the field with the answer [prediction, response, answer, ...]")


def add_model_options(parser: argparse.ArgumentParser, max_new_tokens: int, batch_size: int) -> None:
    """Add the options of a model and of the layers around it."""
    model = parser.add_argument_group("with --model")
    model.add_argument("--images", type=Path, help="folder of images, named by image id or as in COCO")
    model.add_argument("--imagination", type=float, help="imagination in [-1, 1]; negative is more grounded")
    model.add_argument("--decoding", help="decoding method by name, such as VCD, or preset, such as ICD:paper")
    model.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the method of --decoding; may be repeated",
    )
    model.add_argument("--adapter", help="PEFT adapter that was trained for the model: hub name, folder, or sandbox")
    model.add_argument("--detector", help="detector whose verdicts correct the answers: hub name, folder, or sandbox")
    model.add_argument(
        "--max-new-tokens", type=_positive, default=max_new_tokens, help=f"tokens per answer [{max_new_tokens}]"
    )
    model.add_argument("--batch-size", type=_positive, default=batch_size, help=f"answers per batch [{batch_size}]")
    model.add_argument("--dtype", help="type of the weights: bfloat16, float16, float32 or auto")
    model.add_argument("--device", help="device: cuda, cpu, ...")


def main(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None]) -> None:
    """Parse the arguments and run. Bad input ends with one sentence and exit status 1."""
    given = parser.parse_args()
    prepare()
    try:
        run(given)
    except HalluguardError as error:
        sys.exit(f"error: {error}")


def prepare() -> None:
    """Set up printing: any file name can be printed, and warnings appear with their score."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.simplefilter("ignore", UndefinedScoreWarning)


def heading(label: str, columns: Sequence[str]) -> str:
    """The first two lines of the Markdown table whose rows are `Score.markdown_row`."""
    return f"\n| {label} | {' | '.join(columns)} | signature |\n|{'---|' * (len(columns) + 2)}"


def show_scores(
    given: argparse.Namespace, result: Score, columns: Sequence[str], baselines: Mapping[str, Score]
) -> None:
    """Print a score of the file --answers and its baselines as a table, and write the score to --json."""
    show("\n".join(result.lines()))
    show(heading("answers", columns))
    show(result.markdown_row(given.answers.name, columns))
    for name, baseline in baselines.items():
        show(baseline.markdown_row(f"baseline: {name}", columns))
    result.save(given.json)


# --- a model -----------------------------------------------------------------------------------------------------


def load(given: argparse.Namespace) -> tuple[Guard, JsonObject]:
    """The Guard that the options describe, and the settings that decide its answers."""
    settings = {name: getattr(given, name) for name in LAYERS}
    guard = _guard(**{**settings, "set": tuple(settings["set"])})
    return guard, {**settings, "max_new_tokens": given.max_new_tokens, "seed": given.seed}


def method(name: str | None, arguments: Sequence[str], imagination: float | None) -> DecodingMethod | None:
    """The method `decoding.get_method(name)` with NAME=VALUE arguments, or Imagination, or None."""
    from halluguard import decoding

    if name is None:
        if arguments:
            raise SettingsError(
                f"--set gives arguments to a method, got {arguments[0]!r} without --decoding; name the method"
            )
        return None if imagination is None else decoding.Imagination(imagination)
    if imagination is not None:
        raise SettingsError("--imagination is itself a decoding method, got --decoding too; choose one")
    values = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise SettingsError(f"--set must be NAME=VALUE, got {argument!r}; correct it")
        try:
            values[key] = json.loads(value)
        except (ValueError, RecursionError):
            values[key] = value
    return decoding.get_method(name, **values)


@cache
def _guard(
    *,
    model: str,
    imagination: float | None,
    decoding: str | None,
    set: tuple[str, ...],
    adapter: str | None,
    detector: str | None,
    dtype: str | None,
    device: str | None,
) -> Guard:
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


def sandbox_objects() -> dict[int, list[str]]:
    """The objects in each of the sandbox's test scenes, by image id."""
    from halluguard.sandbox import scenes

    return {sample.image_id: list(sample.names) for sample in scenes()}


def load_images(given: argparse.Namespace, image_ids: Iterable[ImageId]) -> dict[str, Image.Image | Path]:
    """Image key -> image or path, for all `image_ids`.

    Raises:
        InputError: there is no folder of images, or an image is missing from it.
    """
    files: dict[str, Image.Image | Path]
    if given.model == "sandbox" and not given.images:
        from halluguard.sandbox import scenes

        files = {str(sample.image_id): sample.image for sample in scenes()}
    elif given.images and given.images.is_dir():
        files = {image_key(path.name): path for path in sorted(given.images.iterdir()) if path.is_file()}
    else:
        raise InputError(f"a model needs images, got --images {given.images}; name a folder of them")
    keys = list(dict.fromkeys(image_key(image) for image in image_ids))
    missing = [key for key in keys if key not in files]
    if missing:
        raise InputError(
            f"every image must be in {given.images}, {len(missing)} of {len(keys)} are not, such as "
            f"{missing[0]}; add them, named by image id, or leave the images out of the file"
        )
    return {key: files[key] for key in keys}


def resume(
    path: Path,
    key: str,
    items: Iterable[Item],
    ask: Callable[[list[Item]], list[JsonObject]],
    batch_size: int,
    settings: JsonObject,
) -> None:
    """Complete the JSON lines in `path` to one row per item. Rows that are already there are kept.

    Args:
        path: file of rows; the settings are kept beside it.
        key: field of a row that identifies its item.
        items: the items; each gets one row.
        ask: function from a batch of items to their rows.
        batch_size: items per batch.
        settings: settings that decide the rows' contents.

    Raises:
        InputError: the file was begun with other settings, or its settings file is missing.
    """
    from rich.markup import escape
    from rich.progress import track

    settings_path = path.with_suffix(".settings.json")
    current = json.loads(json.dumps(settings))
    rows = _whole_rows(path, key)
    if rows:
        if not settings_path.exists():
            raise InputError(f"{path} has rows, but {settings_path} is missing; restore it, or remove {path}")
        before = io.read_json(settings_path)
        if not isinstance(before, dict):
            raise InputError(f"expected an object of settings in {settings_path}, got something else; restore it")
        if before != current:
            differ = sorted(name for name in {*before, *current} if before.get(name) != current.get(name))
            raise InputError(f"{path} was begun with other settings ({', '.join(differ)}); remove it or name another")
    io.write_text(settings_path, json.dumps(current) + "\n")
    with io.replacing(path, "wb") as file:
        file.writelines(rows.values())
    left = [item for item in items if str(item) not in rows]
    with path.open("a", encoding="utf-8", newline="\n") as file:
        starts = range(0, len(left), batch_size)
        for start in track(starts, description=escape(printable(path.name))) if left else ():
            file.writelines(map(io.json_line, ask(left[start : start + batch_size])))
            file.flush()


def _whole_rows(path: Path, key: str) -> dict[str, bytes]:
    """Item -> its line, for the complete rows of a file; the last write may have been interrupted at any byte."""
    rows: dict[str, bytes] = {}
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        try:
            rows.setdefault(str(json.loads(line)[key]), line + b"\n")
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # asked again
    return rows
