"""Measure halluguard on one GPU in about eight minutes, offline: exactness, costs, detectors, training.

    python benchmarks/gpu.py [--minutes 8] [--json gpu.json]
    python benchmarks/gpu.py --small --device cpu

The models have random weights: times do not depend on them. LLaVA has the language model of a 7B checkpoint and 576
image tokens, in bfloat16; the detector has the shape of Grounding DINO base and reads 800 x 1333 pixels. Exactness is
measured in float32 on four layers of the same width, where rounding is small: the scores that the view gives at each
token against those of its formula on two plain forwards from the whole prompt. `--small` takes tiny models, to see the
script run. A part that does not fit into the time left is named as not run.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.append(str(Path(__file__).parent))  # tests load this file by its path
from siblings import beside

import halluguard
from halluguard import decoding as methods
from halluguard.decoding.base import Step

TOKENS, BATCHES = 24, (1, 8)
LORA = r".*language_model.*\.(q_proj|v_proj)"


speed = beside("decoding", "speed")


class Machine:
    """A device, its clock and its memory.

    Args:
        name: "cuda" or "cpu".
        seconds: time that the whole run may take.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self.device, self.end = torch.device(name), time.perf_counter() + seconds

    def now(self) -> float:
        """Seconds, once all work of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    @property
    def is_late(self) -> bool:
        return time.perf_counter() > self.end

    def peak(self, call: Callable[[], Any]) -> float | None:
        """Largest memory in GiB while `call` runs, beyond what was held before; None on a CPU."""
        if self.device.type != "cuda":
            call()
            return None
        gc.collect()  # what an earlier call left would be freed in this one, and hide its memory
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**30

    @contextmanager
    def building(self, dtype: torch.dtype) -> Iterator[None]:
        """Models are made on the device, in a type."""
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                yield
        finally:
            torch.set_default_dtype(torch.float32)


def llava(machine: Machine, dtype: torch.dtype, small: bool, layers: int = 32) -> Any:
    sizes = {"hidden": 64, "layers": 2, "grid": 4} if small else {"hidden": 4096, "layers": layers, "grid": 24}
    with machine.building(dtype):
        return speed.llava(dtype, **sizes).to(machine.device)


def prompt(machine: Machine, model: Any, batch: int) -> dict[str, Any]:
    inputs = speed.prompt(model, words=50)
    return {name: value.to(machine.device).repeat_interleave(batch, 0) for name, value in inputs.items()}


def exactness(machine: Machine, small: bool, steps: int = 16) -> dict[str, float]:
    """Largest error of the imagination setting's scores, relative to the largest score, and how many tokens agree."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, method = llava(machine, torch.float32, small, layers=4), methods.Imagination(-0.5)
    inputs = prompt(machine, model, 1)
    settings: dict[str, Any] = {"max_new_tokens": steps, "min_new_tokens": steps, "do_sample": False}
    output = method.on(model).generate(**inputs, **settings, return_dict_in_generate=True, output_logits=True)
    ids = output.sequences
    start, worst, agree = inputs["input_ids"].shape[1], 0.0, 0
    for i, seen in enumerate(output.logits):
        whole = ids[:, : start + i]
        text = whole[whole != speed.IMAGE][None]
        with torch.inference_mode():
            one = model(input_ids=whole, pixel_values=inputs["pixel_values"], use_cache=False, logits_to_keep=1).logits
            two = model(input_ids=text, use_cache=False, logits_to_keep=1).logits
            true, _ = method.combine_logits([one, two], Step(torch.tensor([i], device=machine.device), 1))
        worst = max(worst, float((seen - true[:, -1]).abs().max() / true.abs().max()))
        agree += int(true[0, -1].argmax()) == int(ids[0, start + i])
    return {"largest relative error": worst, "tokens that agree": agree, "of": steps}


def ways(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """Plain generation, and methods at the settings of the laws: those named, or all."""
    views: dict[str, Any] = {"plain": model}
    for name, cls in methods.METHODS.items():
        if name in names or not (names or cls.is_baseline):
            views[name] = cls(**{**cls.required_settings(model), **cls.law_settings}).on(model)
    return views


def overheads(machine: Machine, model: Any, batch: int, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Seconds to the first token and of each after it, beside plain's of the same round, and the memory of one call."""
    inputs, table = prompt(machine, model, batch), dict[str, dict[str, Any]]()
    views, tokens = ways(model, given.methods), 4 if given.small else TOKENS

    def generate(view: Any, clock: Any) -> None:
        fixed = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
        stop = noting(clock)
        view.generate(**inputs, **fixed, stopping_criteria=stop)

    for name, view in views.items():  # the first call warms up
        if machine.is_late:
            table[name] = {"not run": "no time left"}
            continue
        try:
            table[name] = {"GiB": machine.peak(partial(generate, view, Ticks(machine))), "times": []}
        except (halluguard.errors.HalluguardError, torch.OutOfMemoryError) as error:
            table[name] = {"not run": str(error).splitlines()[0]}
    measured = {name: row for name, row in table.items() if "times" in row}
    for _ in range(given.rounds):
        if machine.is_late:
            break
        for name, row in measured.items():  # in turns, so that a slow moment touches all
            gc.collect()
            ticks = Ticks(machine)
            generate(views[name], ticks)
            row["times"].append(ticks.seconds())
    plain = measured["plain"]["times"]
    for row in measured.values():
        times = row.pop("times")
        if not times:
            row["not run"] = "no time left"
            continue
        for place, what in enumerate(("first", "token")):
            row[what] = statistics.median(pair[place] for pair in times)
            row[f"{what} of plain"] = statistics.median(
                mine[place] / its[place] for mine, its in zip(times, plain, strict=True)
            )
    return table


class Ticks(list[float]):
    """The time of each token of a call."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine, self.started = machine, machine.now()

    def seconds(self) -> tuple[float, float]:
        """Seconds until the first token, and per token after it."""
        return self[0] - self.started, (self[-1] - self[0]) / (len(self) - 1)


def noting(ticks: Ticks) -> transformers.StoppingCriteriaList:
    """A criterion that notes the time of each token of any batch, and never stops."""

    def note(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        ticks.append(ticks.machine.now())
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return transformers.StoppingCriteriaList([note])


def detector(machine: Machine, small: bool, rounds: int) -> dict[str, float]:
    """Images per second of a model of Grounding DINO base's shape, in batches of 1 and 8."""
    swin: dict[str, Any] = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12}
    size, settings = (800, 1344), dict[str, Any]()
    if small:
        swin = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}
        bert = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        settings = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32}
        settings |= {"decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        settings |= {"num_queries": 10, "text_config": {"model_type": "bert", **bert}}
        size = (64, 96)
    swin["out_indices"] = [2, 3, 4]
    config = transformers.GroundingDinoConfig(backbone_config=transformers.SwinConfig(**swin), **settings)
    with machine.building(torch.float32):
        model = transformers.GroundingDinoForObjectDetection._from_config(config).eval().to(machine.device)
    speeds = {}
    for batch in BATCHES:
        ids = torch.tensor([[101, *[2003, 1012] * 8, 102]] * batch, device=machine.device)
        pixels = torch.rand(batch, 3, *size, device=machine.device)
        seconds = []
        for _ in range(rounds + 1):
            started = machine.now()
            with torch.inference_mode():
                model(pixel_values=pixels, input_ids=ids, attention_mask=torch.ones_like(ids))
            seconds.append(machine.now() - started)
        speeds[f"images a second, batch {batch}"] = batch / statistics.median(seconds[1:])
    return speeds


def training(machine: Machine, model: Any, rounds: int) -> dict[str, Any]:
    """Seconds and memory of one step of DPO with LoRA on two answers of 32 tokens to one prompt."""
    import peft

    model = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules=LORA)).train()
    inputs = prompt(machine, model, 2)
    answers = torch.randint(3, 30000, (2, 32), device=machine.device)
    ids = torch.cat([inputs["input_ids"], answers], 1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def scored() -> torch.Tensor:
        logits = model(input_ids=ids, pixel_values=inputs["pixel_values"], logits_to_keep=33).logits[:, :-1]
        return logits.float().log_softmax(-1).gather(-1, answers[..., None])[..., 0].sum(-1)

    def step() -> None:
        with torch.no_grad(), model.disable_adapter():
            before = scored()
        gained = scored() - before
        (-torch.nn.functional.logsigmoid(0.1 * (gained[0] - gained[1]))).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    peak, seconds = machine.peak(step), []
    for _ in range(rounds):
        started = machine.now()
        step()
        seconds.append(machine.now() - started)
    return {"seconds a step": statistics.median(seconds), "GiB": peak}


def shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The results as Markdown."""
    for part, found in results.items():
        yield f"\n**{part}**\n"
        rows = found if all(isinstance(row, dict) for row in found.values()) else {"": found}
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        yield "| | " + " | ".join(columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for name, row in rows.items():
            yield f"| {name} | " + " | ".join(shown(row.get(column, "")) for column in columns) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="device to measure on [cuda if there is one]",
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="minutes that the whole run may take [8]")
    parser.add_argument("--rounds", type=int, default=3, help="calls of each way, in turns; the median is taken [3]")
    parser.add_argument("--methods", nargs="*", default=[], help="methods to measure [all]")
    parser.add_argument("--small", action="store_true", help="use tiny models, to try the script")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    given = parser.parse_args()
    machine = Machine(given.device, 60 * given.minutes)
    card = torch.cuda.get_device_name() if machine.device.type == "cuda" else "CPU"
    versions = (
        f"torch {torch.__version__}, transformers {transformers.__version__}, halluguard {halluguard.__version__}"
    )
    print(f"{card}, {versions}" + (", tiny models: the times mean nothing" if given.small else ""), flush=True)
    results: dict[str, Any] = {}

    def part(name: str, call: Callable[[], dict[str, Any]]) -> None:
        if machine.is_late:
            results[name] = {"not run": "no time left"}
        else:
            try:
                results[name] = call()
            except Exception as error:  # one part that fails leaves the others
                results[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        print(*lines({name: results[name]}), sep="\n", flush=True)

    part("View against recomputation, float32", lambda: exactness(machine, given.small))
    model = llava(machine, torch.bfloat16, given.small)
    for batch in BATCHES:
        part(
            f"Seconds and memory, bfloat16, batch {batch}",
            partial(overheads, machine, model, batch, given),
        )
    part("Detector of Grounding DINO base's shape", lambda: detector(machine, given.small, given.rounds))
    part("A training step", lambda: training(machine, model, given.rounds))
    if given.json:
        given.json.write_text(json.dumps({"card": card, "versions": versions, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
