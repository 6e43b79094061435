"""`python -m halluguard.sandbox.train STAGE --out DIR`: see `--help`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from halluguard.sandbox.train import adapter, detector, mllm, scenes, tower
from halluguard.sandbox.train.export import export
from halluguard.sandbox.train.loop import Facts

STAGES = ("tower", "mllm", "detector", "adapter", "export", "all")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m halluguard.sandbox.train", description=__doc__)
    parser.add_argument("stage", choices=STAGES, help="stage to train")
    parser.add_argument("--out", type=Path, default=Path("runs/sandbox"), help="working folder [runs/sandbox]")
    parser.add_argument("--scenes", type=int, default=60_000, help="training scenes to draw [60000]")
    parser.add_argument("--steps", type=int, help="override the stage's number of steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the stage [0]")
    parser.add_argument("--threads", type=int, help="torch threads [all cores]")
    options = parser.parse_args()

    if options.threads:
        torch.set_num_threads(options.threads)
    if options.stage in ("tower", "mllm", "detector", "all"):
        drawn = scenes.load(options.out, options.scenes)
        trainers = {"tower": (tower.train, 2200), "mllm": (mllm.train, 2800), "detector": (detector.train, 3600)}
        for name, (train, steps) in trainers.items():
            if options.stage in (name, "all"):
                report(name, train(drawn, options.out, options.steps or steps, options.seed))
    if options.stage in ("adapter", "all"):
        report("adapter", adapter.train(options.out, seed=options.seed))
    if options.stage in ("export", "all"):
        export(options.out)


def report(name: str, facts: Facts) -> None:
    print(json.dumps({name: facts}), flush=True)


if __name__ == "__main__":
    main()
