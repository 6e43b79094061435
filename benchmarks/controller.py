"""Compare a trained controller with training-free `Imagination` over the settings, on the sandbox.

    python benchmarks/controller.py train --out runs/controller      # two minutes of one core
    python benchmarks/controller.py measure --out runs/controller    # skips settings that are measured
    python benchmarks/controller.py table --out runs/controller

`train` learns from pairs of captions of one scene: the objects in it (epsilon -1), and these with what the language
prior expects besides (epsilon +1). `measure` captions fresh scenes greedily at nine epsilons, and at as many settings
of `Imagination` without a controller. `table` also compares the two at equal recall, by straight lines between their
settings.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from halluguard import sandbox
from halluguard.sandbox import measure
from halluguard.sandbox.language import BLIND, CAPTION_PROMPTS, CLEAN, caption
from halluguard.tuning import PreferenceRow

SETTINGS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
TRAINING_SEEDS = 6_000_000
SHOWN = ("CHAIRi", "CHAIRs", "recall", "length")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "measure", "table"), help="step to run")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/controller"), help="folder of the runs [runs/controller]"
    )
    parser.add_argument("--scenes", type=int, default=1000, help="training scenes [1000]")
    parser.add_argument("--fresh", type=int, default=500, help="evaluation scenes [500]")
    parser.add_argument("--rank", type=int, default=64, help="rank of the controller [64]")
    parser.add_argument("--epochs", type=float, default=3.0, help="passes over the training scenes [3]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training [0]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.command == "table":
        print("\n".join(table(options.out)))
    else:
        {"train": train, "measure": measure_all}[options.command](options)


def rows(scenes: int, seed: int) -> list[PreferenceRow]:
    """Grounded and imaginative captions of the same scenes; equal pairs are left out."""
    rng = random.Random(seed)
    pairs = []
    for sample in sandbox.fresh_scenes(scenes, start=TRAINING_SEEDS + 100_000 * seed):
        grounded, free = (caption(sample.scene, rng, bias) for bias in (CLEAN, BLIND))
        if grounded != free:
            pairs.append(PreferenceRow((sample.image,), rng.choice(CAPTION_PROMPTS), grounded, free))
    return pairs


def train(options: argparse.Namespace) -> None:
    from halluguard.controller import Controller
    from halluguard.tuning.control import control_rows, train_controller

    model, processor = sandbox.load_mllm()
    facts = train_controller(
        model,
        processor,
        control_rows(rows(options.scenes, options.seed)),
        options.out / "controller.safetensors",
        controller=Controller.of(model, rank=options.rank, seed=options.seed),
        learning_rate=2e-3,
        epochs=options.epochs,
        seed=options.seed,
        device="cpu",
    )
    print(json.dumps(facts))


def measure_all(options: argparse.Namespace) -> None:
    import torch

    from halluguard import Guard
    from halluguard.controller import Controller
    from halluguard.decoding import Imagination

    torch.set_num_threads(1)
    guard = Guard.from_pretrained(sandbox.MLLM, device="cpu", local_files_only=True)
    controller = Controller.load(options.out / "controller.safetensors")
    samples = list(sandbox.fresh_scenes(options.fresh))
    for kind in ("trained", "free"):
        for setting in SETTINGS:
            target = options.out / f"{kind}{setting:+.2f}.json"
            if target.exists():
                continue
            if kind == "free":
                captions = measure.captions(guard, samples, decoding=Imagination(setting) if setting else None)
            else:
                with controller.attached(guard.model, setting):
                    captions = measure.captions(guard, samples)
            score = measure.chair_of(captions, samples)
            record: dict[str, Any] = {
                "kind": kind,
                "setting": setting,
                "values": dict(score.values),
                "signature": score.signature,
            }
            record |= {"intervals": dict(score.intervals), "captions": captions}
            target.write_text(json.dumps(record) + "\n")
            print(kind, setting, {name: round(score[name], 4) for name in SHOWN}, flush=True)


def table(out: Path) -> Iterator[str]:
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*[0-9].json"))]
    yield f"| kind | setting | {' | '.join(SHOWN)} |"
    yield f"|{'---|' * (len(SHOWN) + 2)}"
    for kind in ("trained", "free"):
        for run in sorted((run for run in runs if run["kind"] == kind), key=lambda run: run["setting"]):
            yield f"| {kind} | {run['setting']:+.2f} | {' | '.join(_cell(name, run) for name in SHOWN)} |"
    yield ""
    yield "| recall | CHAIRi trained | CHAIRi free |"
    yield "|---|---|---|"
    ordered = sorted(runs, key=lambda run: run["setting"])
    curves = {kind: [run["values"] for run in ordered if run["kind"] == kind] for kind in ("trained", "free")}
    for recall in (0.86, 0.87, 0.88, 0.89, 0.90, 0.91):
        both = [_at(curve, recall) for curve in curves.values()]
        if any(value is not None for value in both):
            cells = ("not reached" if value is None else f"{100 * value:.1f}" for value in both)
            yield f"| {100 * recall:.0f} | {' | '.join(cells)} |"


def _at(curve: list[dict[str, float]], recall: float) -> float | None:
    """The least CHAIRi at this recall, on straight lines from each setting to the next."""
    points = [(values["recall"], values["CHAIRi"]) for values in curve]
    values = []
    for (r0, c0), (r1, c1) in pairwise(points):
        if min(r0, r1) <= recall <= max(r0, r1):
            values.append(c0 if r0 == r1 else c0 + (c1 - c0) * (recall - r0) / (r1 - r0))
    return min(values) if values else None


def _cell(name: str, run: dict[str, Any]) -> str:
    scale = 1.0 if name == "length" else 100.0
    low, high = (bound * scale for bound in run["intervals"].get(name, (run["values"][name],) * 2))
    return f"{run['values'][name] * scale:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
