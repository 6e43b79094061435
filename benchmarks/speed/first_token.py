"""Measure the first token and a nine-token answer of each method beside plain generation, and beside older code.

    python benchmarks/speed/first_token.py --dtype float32 [--against FOLDER] [--images 64 576 2880] [--batch 16]

The model is `decoding.py`'s LLaVA with random weights, with 50 tokens of text around the image; one thread, CPU time.
On a GPU (`--device cuda --dtype bfloat16 --hidden 4096 --layers 32` is the shape of a 7B model) it is wall-clock time.
Ways take turns round by round, and a ratio is the median over rounds of the way's time over plain's in the same round.
"A later token" is the time of a token after the first. "Memory" is the growth of the largest memory in use while nine
tokens are written, beyond what was held before: of the process on Linux, of the GPU's tensors there.
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
COLUMNS = ("first token", "nine tokens", "a later token", "memory")
STATUS = Path("/proc/self/status")


def work() -> None:
    """Answer lines "images dtype method batch hidden layers".

    The answer has the seconds of one token, of nine and of a later one, and the growth of memory in bytes.
    """
    import gc
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

    def held(most: bool) -> float:
        """Bytes in use, or the most since the last call with `most` false."""
        if on_gpu:
            return torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()
        lines = dict(line.split(":") for line in STATUS.read_text().splitlines()) if STATUS.exists() else {}
        return 1024 * float(lines.get("VmHWM" if most else "VmRSS", "nan kB").split()[0])

    def forget() -> None:
        """Count the most from now on."""
        gc.collect()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        elif STATUS.exists():
            STATUS.with_name("clear_refs").write_text("5")

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
            forget()
            before = held(False)
            started = now()
            view.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            seconds.append(now() - started)
        seconds.append((seconds[1] - seconds[0]) / 8)
        print(json.dumps([*seconds, held(True) - before]), flush=True)


class Worker:
    """A process that measures the code in one folder."""

    def __init__(self, folder: Path, device: str) -> None:
        path = [str(folder), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "DEVICE": device}
        command = [sys.executable, __file__, "--worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def measured(self, *setting: object) -> list[float]:
        """Seconds for one token, for nine and for a later one, and bytes; the setting is a line of `work`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, setting)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def ratio(value: float, plain: float) -> float:
    return value / plain if plain else math.nan  # a tiny model needs no new memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--against", type=Path, help="folder with older code of halluguard")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--dtype", default="float32", help="type of the weights [float32]")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements; the median is taken [5]")
    parser.add_argument(
        "--images", type=int, nargs="+", default=[64, 576, 2880], help="numbers of image tokens [64 576 2880]"
    )
    parser.add_argument("--batch", type=int, default=1, help="prompts per call [1]")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the model [1024]")
    parser.add_argument("--layers", type=int, default=12, help="layers of the model [12]")
    parser.add_argument("--methods", nargs="+", default=METHODS[1:], help="methods beside plain generation")
    options = parser.parse_args()
    if options.worker:
        work()
        return
    folders = {"after": Path(__file__).parents[2]} | ({"before": options.against} if options.against else {})
    workers = {name: Worker(folder.resolve(), options.device) for name, folder in folders.items()}
    columns = [f"{what}, {name}" for name in workers for what in COLUMNS]
    print("| image tokens | method | " + " | ".join(columns) + " |")
    print("|---" * (2 + len(columns)) + "|")
    ways = ("plain", *options.methods)
    for images in options.images:
        rows: dict[tuple[str, str], list[list[float]]] = {}
        for turn in range(options.rounds + 1):
            for name, worker in workers.items():
                for method in ways:
                    sizes = options.batch, options.hidden, options.layers
                    values = worker.measured(images, options.dtype, method, *sizes)
                    if turn:  # the first round warms up
                        rows.setdefault((name, method), []).append(values)
        for method in ways:
            cells = []
            for name in workers:
                pairs = list(zip(rows[name, method], rows[name, "plain"], strict=True))
                cells += [f"{statistics.median(ratio(way[i], plain[i]) for way, plain in pairs):.2f}" for i in range(4)]
            print(f"| {math.isqrt(images) ** 2} | {method} | " + " | ".join(cells) + " |", flush=True)
    for worker in workers.values():
        worker.process.terminate()


if __name__ == "__main__":
    main()
