"""`python -m halluguard.sandbox.train STAGE --out DIR`: see `--help`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

STAGES = ("scenes", "tower", "mllm", "detector", "adapter", "all")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m halluguard.sandbox.train", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/sandbox"), help="working folder [runs/sandbox]")
    parser.add_argument("--scenes", type=int, default=60_000, help="training scenes to draw [60000]")
    parser.add_argument("--steps", type=int, help="override the stage's number of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="torch threads [all cores]")
    options = parser.parse_args()

    import torch

    from halluguard.sandbox.train import detector, mllm, scenes, tower

    if options.threads:
        torch.set_num_threads(options.threads)
    stages = {
        "tower": (tower.train, 2200),
        "mllm": (mllm.train, 2800),
        "detector": (detector.train, 1800),
    }
    drawn = scenes.load(options.out, options.scenes)
    for name, (train, steps) in stages.items():
        if options.stage in (name, "all"):
            facts = train(drawn, options.out, options.steps or steps, options.seed)
            print(json.dumps({name: facts}), flush=True)


if __name__ == "__main__":
    main()
