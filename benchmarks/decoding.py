"""Measure every decoding method and baseline on fresh scenes of the sandbox: CHAIR (captions) and POPE (yes or no).

    python benchmarks/decoding.py --out DIR                     # everything that is not in DIR yet
    python benchmarks/decoding.py --out DIR --only "VCD*"       # some runs, so that the table can be made in pieces
    python benchmarks/decoding.py --list
    python benchmarks/decoding_report.py DIR --plot docs/imagination.svg

Methods are found by their files (`halluguard.decoding.METHODS`), each at its defaults, under greedy search and under
sampling at temperature 1; OPERA, which is made for beams, also with five beams. `Imagination` runs at nine settings,
and at two that rise along the answer. The baselines: plain, the plausibility mask alone, and for each method that
contrasts branches, plain sampling as sharp as it. One JSON file per run, with every caption and the margin
logit(Yes) - logit(No) of every question; the report scores them. Needs the extra `sandbox`, to draw scenes.

Three methods are given what they need. MARINE gets the objects that the sandbox's detector finds in each image, at the
score at which it supports a claim. AllPath gets the head list of `head_lists.py`. PTI gets directions from the
detector's boxes on 50 scenes that are not measured. "step back" and "best of 4" judge their sentences with the same
detector while they write; they have captions only, as written, before any correction.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from head_lists import head_list
from PIL.Image import Image

from halluguard import sandbox
from halluguard.controller import Controller
from halluguard.correction.verification import thresholds_of
from halluguard.decoding import (
    MARINE,
    METHODS,
    PTI,
    AllPath,
    DecodingMethod,
    Imagination,
    TemperatureMatched,
    get_method,
)
from halluguard.decoding.distillation import distil
from halluguard.decoding.imagination import ramp
from halluguard.decoding.methods.pti import PromptDirections
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.errors import HalluguardError
from halluguard.guard import Guard
from halluguard.records import DEFAULT_PROMPT, XYXY
from halluguard.sandbox import measure
from halluguard.sandbox.world import CATEGORIES

SETTINGS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
MODES: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True},
    "beams": {"do_sample": False, "num_beams": 5},
}
CHECKED: dict[str, dict[str, Any]] = {"step back": {"step_back": True}, "best of 4": {"best_of": 4}}
"""Rows in which the sandbox's detector judges each sentence while the model writes: their arguments of `Guard`."""
DEMONSTRATIONS = 30_000_000
"""Scenes from this seed on are for methods that learn from images (VTI, the distilled controller); none is measured."""


Make = Callable[[Guard, Sequence[Image]], DecodingMethod | None]
"""A guard, and the images of a batch -> the method for them; None is plain generation."""


@dataclass(frozen=True)
class Run:
    """One row of the tables.

    Args:
        name: name in the tables.
        mode: mode of generation, one of `MODES`.
        make: makes the method.
        asks: whether the questions are asked too.
        guard: arguments of the Guard beside the model; with any, it has the sandbox's detector too.
    """

    name: str
    mode: str
    make: Make
    asks: bool = True
    guard: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.mode} {self.name}.json".replace(" ", "_")


def every_run() -> list[Run]:
    """All runs, plain first. Questions are asked once per method: their margins do not depend on the mode."""
    runs = [Run("plain", "greedy", _plain)]
    runs += [Run(f"imagination {e:+.2f}", "greedy", partial(_imagination, e)) for e in SETTINGS]
    runs += [Run(f"rising {e:+.2f}", "greedy", partial(_rising, e)) for e in (-1.0, -0.5)]
    methods = sorted([*(name for name, cls in METHODS.items() if not cls.is_baseline), "Contrast:crop"])
    runs += [Run(name, "greedy", partial(method, name)) for name in methods]
    runs += [Run(f"distilled {e:+.2f}", "greedy", partial(distilled, e)) for e in SETTINGS if e]
    runs += [Run(name, "greedy", _plain, False, given) for name, given in CHECKED.items()]
    runs += [Run("plain", "sampling", _plain, False)]
    runs += [Run("PlausibilityOnly", "sampling", partial(method, "PlausibilityOnly"), False)]
    for name in methods:
        runs += [Run(name, "sampling", partial(method, name), False)]
        if not get_method(name).acts_inside:
            runs += [Run(f"as sharp as {name}", "sampling", partial(_as_sharp, name), False)]
    runs += [Run(name, "sampling", _plain, False, given) for name, given in CHECKED.items()]
    runs += [Run("plain", "beams", _plain, False)]
    runs += [Run("OPERA", "beams", partial(method, "OPERA"), False)]
    return runs


def _plain(guard: Guard, images: Sequence[Image]) -> None:
    return None


def _imagination(imagination: float, guard: Guard, images: Sequence[Image]) -> DecodingMethod:
    return Imagination(imagination)


def _rising(imagination: float, guard: Guard, images: Sequence[Image]) -> DecodingMethod:
    """A rise from a quarter of the setting to all of it at token 25, chosen on 300 scenes from seed 20,000,000 on."""
    return Imagination(imagination, schedule=ramp(0.25, 1.0, 25))


def _as_sharp(name: str, guard: Guard, images: Sequence[Image]) -> DecodingMethod:
    return TemperatureMatched(method(name, guard, images))


def method(name: str, guard: Guard, images: Sequence[Image]) -> DecodingMethod:
    """A method at its defaults, or a preset, for some images."""
    if name == "MARINE":
        return MARINE(objects=[list(dict.fromkeys(name for name, _ in detected(image))) for image in images])
    return _fitted(name, guard)


@cache
def _fitted(name: str, guard: Guard) -> DecodingMethod:
    """A method at its defaults; what it learns, it learns from 50 scenes that are not measured."""
    if name not in METHODS or METHODS[name].is_baseline:
        return get_method(name)
    if name == "AllPath":
        return AllPath(**head_list(guard, list(sandbox.fresh_scenes(50, DEMONSTRATIONS))))
    if name == "PTI":
        found = [detected(image) for image in _demonstrations()]
        names = [[name for name, _ in row] for row in found]
        boxes = [[box for _, box in row] for row in found]
        return PTI(PromptDirections.fit(guard.model, guard.processor, _demonstrations(), boxes, names))
    return METHODS[name].fit(guard.model, guard.processor, _demonstrations())


@cache
def _detector() -> ZeroShotDetector:
    return ZeroShotDetector.from_pretrained(sandbox.DETECTOR)


_found: dict[int, list[tuple[str, XYXY]]] = {}  # by the id of an image; the samples are kept all the time


def detected(image: Image) -> list[tuple[str, XYXY]]:
    """The objects that the sandbox's detector finds, at the score at which it supports a claim, each with its box."""
    if id(image) not in _found:
        limits = thresholds_of(_detector())
        (boxes,) = _detector().detect([image], [list(CATEGORIES)])
        named = [(CATEGORIES[box.phrase], box) for box in boxes if box.phrase is not None]
        _found[id(image)] = [(name, box.xyxy) for name, box in named if box.xyxy and box.score >= limits.of(name)[0]]
    return _found[id(image)]


@cache
def _demonstrations() -> list[Image]:
    return [sample.image for sample in sandbox.fresh_scenes(50, DEMONSTRATIONS)]


def distilled(imagination: float, guard: Guard, images: Sequence[Image]) -> DecodingMethod:
    """`Imagination` with a controller distilled on 1,000 scenes that are not measured."""
    return Imagination(imagination, controller=_controller(guard))


@cache
def _controller(guard: Guard) -> Controller:
    samples = sandbox.fresh_scenes(1000, DEMONSTRATIONS)
    prompts = [DEFAULT_PROMPT] * 100
    return distil(
        guard.model, (guard.inputs([s.image for s in batch], prompts) for batch in measure.batches(list(samples), 100))
    )


def measured(run: Run, guard: Guard, samples: list[Any], exam: Any, given: argparse.Namespace) -> dict[str, Any]:
    """Captions and margins of one run."""
    started = time.process_time()
    if run.guard:
        guard = Guard(guard.model, guard.processor, detector=_detector(), **run.guard)
    mode = MODES[run.mode] | ({"seed": given.seed} if run.mode == "sampling" else {})
    captions: list[str] = []
    decoding: DecodingMethod | None = None
    for batch in measure.batches(samples, given.batch_size):
        images = [sample.image for sample in batch]
        decoding = run.make(guard, images)
        captions += guard.drafts(images, [given.prompt] * len(batch), decoding=decoding, **mode)
    margins: list[float] = []
    pairs = exam.distinct if run.asks else []
    for questions in measure.batches(pairs, given.batch_size):
        images = [exam.samples[image].image for image, _ in questions]
        margins += guard.margins(images, [text for _, text in questions], decoding=run.make(guard, images))
    return {
        "run": run.name,
        "mode": run.mode,
        "settings": settings(given),
        "method": "plain" if decoding is None else repr(decoding)[:400],
        "captions": [[sample.image_id, text] for sample, text in zip(samples, captions, strict=True)],
        "margins": [[image, text, margin] for (image, text), margin in zip(pairs, margins, strict=True)],
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def examination(samples: list[Any], seed: int, splits: list[str]) -> measure.Exam:
    """POPE's questions of some of its splits."""
    exam = measure.Exam.of(samples, seed=seed)
    return measure.Exam(exam.samples, {split: qs if split in splits else [] for split, qs in exam.questions.items()})


def settings(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("scenes", "start", "seed", "prompt", "batch_size", "splits")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the runs")
    parser.add_argument("--only", action="append", help="runs to make, by name, by mode and name, or by pattern")
    parser.add_argument("--list", action="store_true", help="list the names of the runs, and stop")
    parser.add_argument("--scenes", type=int, default=500, help="number of scenes [500]")
    parser.add_argument("--start", type=int, default=sandbox.FRESH_SEEDS, help="seed of the first scene [10000000]")
    parser.add_argument("--seed", type=int, default=0, help="seed of sampling and of the questions [0]")
    parser.add_argument(
        "--splits", nargs="+", choices=measure.SPLITS, default=list(measure.SPLITS), help="splits of POPE"
    )
    parser.add_argument("--prompt", default=DEFAULT_PROMPT, help="prompt of the captions")
    parser.add_argument("--batch-size", type=int, default=100, help="answers per batch [100]")
    given = parser.parse_args()
    runs = [r for r in every_run() if not given.only or any(_fits(r, pattern) for pattern in given.only)]
    if given.list:
        print("\n".join(f"{run.mode} {run.name}" for run in runs))
        return
    if given.out is None:
        parser.error("--out is needed: the folder of the runs")
    given.out.mkdir(parents=True, exist_ok=True)
    samples = list(sandbox.fresh_scenes(given.scenes, given.start))
    exam = examination(samples, given.seed, given.splits)
    guard = Guard.from_pretrained(sandbox.MLLM, device="cpu", local_files_only=True)
    failed: list[str] = []
    for run in runs:
        path = given.out / run.file
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8"))["settings"] != settings(given):
                parser.error(f"{path} was made with other settings; remove it, or name another folder")
            continue
        try:
            record = measured(run, guard, samples, exam, given)
        except (HalluguardError, RuntimeError) as error:
            failed.append(f"{run.mode} {run.name}: {type(error).__name__}: {error}")
            continue
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(record) + "\n", encoding="utf-8")
        beside.rename(path)
        print(f"{run.mode} {run.name}: {record['cpu_seconds']} s", flush=True)
    if failed:
        sys.exit("failed, and in no table:\n" + "\n".join(failed))


def _fits(run: Run, pattern: str) -> bool:
    return fnmatch.fnmatchcase(run.name, pattern) or fnmatch.fnmatchcase(f"{run.mode} {run.name}", pattern)


if __name__ == "__main__":
    main()
