"""Measure the first token and a nine-token answer of each method beside plain generation, and beside older code.

    python benchmarks/speed/first_token.py --dtype float32 [--against FOLDER] [--images 64 576 2880]

The model is `decoding.py`'s LLaVA with random weights, with 50 tokens of text around the image; one prompt, one thread.
Ways take turns round by round, and a ratio is the median over rounds of the way's time over plain's in the same round.
With `--against`, the checkout in FOLDER is measured in the same rounds by a second process, with its own copy of
`decoding.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = ("plain", "Imagination", "VCD", "VDD", "M3ID", "PAI")
SETTINGS: dict[str, dict[str, Any]] = {"Imagination": {"imagination": -0.5}}
TEXT = 50


def work() -> None:
    """Answer lines "images dtype method" with the seconds of one and of nine tokens, on standard output."""
    import time

    import torch

    sys.path.insert(0, str(Path(os.environ["PYTHONPATH"]) / "benchmarks" / "speed"))
    from decoding import IMAGE, PATCH, llava

    from halluguard import decoding as methods

    torch.set_num_threads(1)
    models: dict[tuple[str, str], Any] = {}
    for line in sys.stdin:
        count, dtype, name = line.split()
        side = math.isqrt(int(count))
        if (count, dtype) not in models:
            models = {(count, dtype): llava(getattr(torch, dtype), grid=side)}
        model = models[count, dtype]
        torch.manual_seed(0)
        ids = torch.cat([torch.tensor([1, *[IMAGE] * side**2]), torch.randint(3, 30000, (TEXT,))])[None]
        pixels = torch.randn(1, 3, side * PATCH, side * PATCH, dtype=model.dtype)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
        view = model
        if name != "plain":
            view = getattr(methods, name)(**SETTINGS.get(name, {})).on(model)
        seconds = []
        for tokens in (1, 9):
            started = time.perf_counter()
            view.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            seconds.append(time.perf_counter() - started)
        print(json.dumps(seconds), flush=True)


class Worker:
    """A process that measures the code in one folder."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, __file__, "--worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def seconds(self, images: int, dtype: str, method: str) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{images} {dtype} {method}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--against", type=Path, help="checkout of older code")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, nargs="+", default=[64, 576, 2880])
    options = parser.parse_args()
    if options.worker:
        work()
        return
    folders = {"after": Path(__file__).parents[2]} | ({"before": options.against} if options.against else {})
    workers = {name: Worker(folder.resolve()) for name, folder in folders.items()}
    print("| image tokens | method | " + " | ".join(f"first token, {w} | nine tokens, {w}" for w in workers) + " |")
    print("|---" * (2 + 2 * len(workers)) + "|")
    for images in options.images:
        times: dict[tuple[str, str], list[list[float]]] = {}
        for turn in range(options.rounds + 1):
            for name, worker in workers.items():
                for method in METHODS:
                    seconds = worker.seconds(images, options.dtype, method)
                    if turn:  # the first round warms up
                        times.setdefault((name, method), []).append(seconds)
        for method in METHODS:
            cells = []
            for name in workers:
                pairs = list(zip(times[name, method], times[name, "plain"], strict=True))
                cells += [f"{statistics.median(way[i] / plain[i] for way, plain in pairs):.2f}" for i in (0, 1)]
            print(f"| {math.isqrt(images) ** 2} | {method} | " + " | ".join(cells) + " |", flush=True)
    for worker in workers.values():
        worker.process.terminate()


if __name__ == "__main__":
    main()
