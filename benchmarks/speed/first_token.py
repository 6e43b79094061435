"""Measure the first token and a nine-token answer of each method beside plain generation, and beside older code.

    python benchmarks/speed/first_token.py --dtype float32 [--against FOLDER] [--images 64 576 2880] [--batch 16]

The model is `decoding.py`'s LLaVA with random weights, with 50 tokens of text around the image; one thread, CPU time.
On a GPU (`--device cuda --dtype bfloat16 --hidden 4096 --layers 32` is the shape of a 7B model) it is wall-clock time.
Ways take turns round by round, and a ratio is the median over rounds of the way's time over plain's in the same round.
The last column is the time of a token after the first.
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
    """Answer lines "images dtype method batch hidden layers" with seconds: of one token, of nine, of a later one."""
    import time

    import torch

    sys.path.insert(0, str(Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "benchmarks" / "speed"))
    from decoding import IMAGE, PATCH, llava

    from halluguard import decoding as methods

    torch.set_num_threads(1)
    torch.set_default_device(os.environ["DEVICE"])
    on_gpu = torch.get_default_device().type == "cuda"

    def now() -> float:
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() if on_gpu else time.process_time()

    models: dict[tuple[str, str], Any] = {}
    for line in sys.stdin:
        count, dtype, name, batch, hidden, layers = line.split()
        side = math.isqrt(int(count))
        if (count, dtype) not in models:
            models.clear()
            models[count, dtype] = llava(getattr(torch, dtype), grid=side, hidden=int(hidden), layers=int(layers))
        model = models[count, dtype]
        torch.manual_seed(0)
        ids = torch.cat([torch.tensor([1, *[IMAGE] * side**2]), torch.randint(3, 30000, (TEXT,))])
        ids = ids.repeat(int(batch), 1)
        pixels = torch.randn(int(batch), 3, side * PATCH, side * PATCH, dtype=model.dtype)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
        view = model
        if name != "plain":
            view = getattr(methods, name)(**SETTINGS.get(name, {})).on(model)
        seconds = []
        for tokens in (1, 9):
            started = now()
            view.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            seconds.append(now() - started)
        seconds.append((seconds[1] - seconds[0]) / 8)
        print(json.dumps(seconds), flush=True)


class Worker:
    """A process that measures the code in one folder."""

    def __init__(self, folder: Path, device: str) -> None:
        path = [str(folder), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "DEVICE": device}
        command = [sys.executable, __file__, "--worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def seconds(self, *setting: object) -> list[float]:
        """Of one token, of nine and of a later one; the setting is a line of `work`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, setting)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--against", type=Path, help="checkout of older code")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, nargs="+", default=[64, 576, 2880])
    parser.add_argument("--batch", type=int, default=1, help="prompts of a call [1]")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the model [1024]")
    parser.add_argument("--layers", type=int, default=12, help="layers of the model [12]")
    parser.add_argument("--methods", nargs="+", default=METHODS[1:], help="methods beside plain generation")
    options = parser.parse_args()
    if options.worker:
        work()
        return
    folders = {"after": Path(__file__).parents[2]} | ({"before": options.against} if options.against else {})
    workers = {name: Worker(folder.resolve(), options.device) for name, folder in folders.items()}
    columns = [f"{what}, {name}" for name in workers for what in ("first token", "nine tokens", "a later token")]
    print("| image tokens | method | " + " | ".join(columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    ways = ("plain", *options.methods)
    for images in options.images:
        times: dict[tuple[str, str], list[list[float]]] = {}
        for turn in range(options.rounds + 1):
            for name, worker in workers.items():
                for method in ways:
                    sizes = options.batch, options.hidden, options.layers
                    seconds = worker.seconds(images, options.dtype, method, *sizes)
                    if turn:  # the first round warms up
                        times.setdefault((name, method), []).append(seconds)
        for method in ways:
            cells = []
            for name in workers:
                pairs = list(zip(times[name, method], times[name, "plain"], strict=True))
                cells += [f"{statistics.median(way[i] / plain[i] for way, plain in pairs):.2f}" for i in range(3)]
            print(f"| {math.isqrt(images) ** 2} | {method} | " + " | ".join(cells) + " |", flush=True)
    for worker in workers.values():
        worker.process.terminate()


if __name__ == "__main__":
    main()
