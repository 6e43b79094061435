"""Measure what a decoding method costs per token, beside plain greedy search, in one process.

    python benchmarks/speed/decoding.py --dtype bfloat16
    python benchmarks/speed/decoding.py --only "Imagination:off" AllPath PTI VAF VGA VisualEntropy
    python benchmarks/speed/decoding.py --device cuda --hidden 4096 --layers 32 --grid 24  # the shape of a 7B model

A LLaVA of about 200M parameters with random weights, one prompt, one thread, CPU time; on a GPU, wall-clock time. Times
do not depend on the weights. Only decoding is timed, from the first new token to the last, without the prompt; the
first token (reading prompt and images, making branches) has a column of its own; "outside" is the ratio of the time
that no forward takes. Every method of `halluguard.decoding.METHODS` runs at its `law_settings`, and they take turns
round by round; a ratio is the median over rounds of the time in that round over plain's in the same round.
"Imagination:off" is plain generation called through a view: its distance from 1 is the noise of the run.

"two forwards" is what contrastive decoding costs elsewhere: the second branch run alone with a cache of its own, here
in a bare loop that computes VCD. MitigV, a library that does so, is measured beside it when it is installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from halluguard import decoding
from halluguard.controller import Controller
from halluguard.decoding.base import plausible
from halluguard.decoding.methods.vcd import contrast

IMAGE, VOCABULARY, PATCH = 31999, 32000, 14
SINGLE = ("AllPath", "PTI", "VAF", "VGA", "VisualEntropy")
"""Methods with one branch and one reading."""
TARGETS = {"VCD": 1.15, "Imagination": 1.15, "Imagination, controller": 1.03, **dict.fromkeys(SINGLE, 1.05)}
"""The largest ratio aimed at, in bfloat16."""


class Clock(list[float]):
    """A streamer that notes the time of every token; generate puts the prompt first.

    `forwards` has the seconds spent in the language model and its head until each token.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now, self.started = now, now()
        self.forwards: list[float] = []
        self.inside = 0.0

    def put(self, value: Any) -> None:
        self.append(self.now())
        self.forwards.append(self.inside)

    def end(self) -> None: ...

    def seconds(self) -> tuple[float, float]:
        """Seconds until the first new token, and per token after it."""
        return self[1] - self.started, (self[-1] - self[1]) / (len(self) - 2)

    def outside(self) -> float:
        """Seconds of each token after the first that no forward took: choosing it, and what a method computes."""
        return self.seconds()[1] - (self.forwards[-1] - self.forwards[1]) / (len(self) - 2)

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Add up the time of the model's forwards; twins of the model inherit the hooks."""
        parts = (model.model.language_model, model.lm_head)
        hooks = [part.register_forward_pre_hook(lambda *_: self._add(-1)) for part in parts]
        hooks += [part.register_forward_hook(lambda *_: self._add(1)) for part in parts]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, sign: int) -> None:
        self.inside += sign * self.now()


Way = Callable[[Clock, int], Any]
"""Generates a number of tokens and notes the time of each."""


@dataclass
class Cost:
    """The cost of one way of decoding: times of each round in seconds, and the resources of one call.

    `cache_bytes` are of every key-value cache the call made, full; `logits_bytes` of the head's largest output.
    """

    first: list[float] = field(default_factory=list)
    token: list[float] = field(default_factory=list)
    vision_passes: int = 0
    cache_bytes: int = 0
    logits_bytes: int = 0
    outside: list[float] = field(default_factory=list)


@dataclass
class Use:
    """Counts on one call, by hooks that twins of the model inherit."""

    vision_passes: int = 0
    caches: dict[int, Any] = field(default_factory=dict)
    logits: int = 0

    def of(self, model: Any, call: Callable[[], Any]) -> Cost:
        hooks = [
            model.model.vision_tower.register_forward_hook(self._seen),
            model.model.language_model.register_forward_hook(self._cached),
            model.lm_head.register_forward_hook(self._read),
        ]
        try:
            call()
        finally:
            for hook in hooks:
                hook.remove()
        kept = [t for cache in self.caches.values() for layer in cache.layers for t in (layer.keys, layer.values)]
        return Cost([], [], self.vision_passes, sum(t.nbytes for t in kept), self.logits)

    def _seen(self, module: Any, args: Any, output: Any) -> None:
        self.vision_passes += 1

    def _cached(self, module: Any, args: Any, output: Any) -> None:
        if output.past_key_values is not None:
            self.caches[id(output.past_key_values)] = output.past_key_values

    def _read(self, module: Any, args: Any, output: Any) -> None:
        self.logits = max(self.logits, output.nbytes)


def llava(dtype: torch.dtype, seed: int = 0, hidden: int = 1024, layers: int = 12, grid: int = 12) -> Any:
    """A LLaVA with random weights: CLIP tower, projector, Llama."""
    from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=hidden // 4,
        intermediate_size=hidden // 2,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=grid * PATCH,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 16 if hidden < 256 else hidden // 64,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=-2)
    model = LlavaForConditionalGeneration(config).eval().to(dtype)
    with torch.no_grad():  # far from uniform, and moved by the image
        model.lm_head.weight.mul_(4)
        model.model.multi_modal_projector.linear_2.weight.mul_(8)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=None, pad_token_id=0)
    return model


def prompt(model: Any, words: int = 32, seed: int = 1) -> dict[str, torch.Tensor]:
    """One image and a number of random tokens."""
    draw = torch.Generator().manual_seed(seed)
    side = model.config.vision_config.image_size
    text = torch.randint(3, IMAGE, (words,), generator=draw)
    ids = torch.cat([torch.tensor([1] + [IMAGE] * (side // PATCH) ** 2), text])[None]
    pixels = torch.randn(1, 3, side, side, generator=draw).to(model.dtype)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def ways(model: Any, inputs: dict[str, torch.Tensor], seed: int = 0) -> dict[str, Way]:
    """Every way of decoding that is compared, plain first."""
    controller = Controller.of(model).to("cpu")  # drawn there, so that a seed gives the same on all devices
    torch.nn.init.normal_(controller.up, std=0.02, generator=torch.Generator().manual_seed(seed))
    controller.to(model.device)
    methods: dict[str, decoding.DecodingMethod] = {
        "Imagination:off": decoding.get_method("Imagination:off"),
        "VCD": decoding.VCD(seed=seed),
        "Imagination": decoding.Imagination(),
        "Imagination, controller": decoding.Imagination(controller=controller),
    }
    for name, cls in decoding.METHODS.items():
        if name not in methods and not cls.is_baseline:
            methods[name] = cls(**{**cls.required_settings(model), **cls.law_settings})

    def generated(by: Any) -> Way:
        fixed = {"do_sample": False, "num_beams": 1}
        return lambda clock, n: by.generate(**inputs, max_new_tokens=n, min_new_tokens=n, streamer=clock, **fixed)

    first = {"plain": generated(model)}
    first["two forwards"] = lambda clock, n: two_forwards(model, inputs, decoding.VCD(seed=seed), clock, n)
    return first | {name: generated(method.on(model)) for name, method in methods.items()} | mitigv(model, inputs)


@torch.inference_mode()
def two_forwards(
    model: Any, inputs: dict[str, torch.Tensor], vcd: decoding.VCD, clock: Clock, tokens: int
) -> torch.Tensor:
    """VCD by greedy search as its branches are run elsewhere: one after the other, each with its own cache."""
    from transformers import DynamicCache

    noised = inputs | {"pixel_values": vcd.noised_pixels(inputs["pixel_values"])}
    caches = [DynamicCache(config=model.config.get_text_config()) for _ in range(2)]
    feeds, ids, mask = [inputs, noised], inputs["input_ids"], inputs["attention_mask"]
    clock.put(ids)
    for _ in range(tokens):
        both = [
            model(**feed, past_key_values=cache, logits_to_keep=1).logits[:, -1].float()
            for feed, cache in zip(feeds, caches, strict=True)
        ]
        allowed = plausible(both[0], vcd.beta)
        assert allowed is not None  # beta is above 0
        scores = contrast(both[0], both[1], vcd.alpha).masked_fill(~allowed, -torch.inf)
        chosen = scores.argmax(-1, keepdim=True)
        clock.put(chosen)
        ids, mask = torch.cat([ids, chosen], 1), torch.cat([mask, torch.ones_like(chosen)], 1)
        feeds = [{"input_ids": chosen, "attention_mask": mask}] * 2
    return ids


def mitigv(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, Way]:
    """MitigV's own loop with alpha 0, and its VCD; nothing when it is not installed."""
    try:
        from mitigv.algorithms.vcd import VCD, VCDConfig
        from mitigv.backends.llava import LlavaModelAdapter
    except ImportError:
        return {}

    class Tokens:
        """The members of a processor that MitigV uses, with the prompt already made."""

        eos_token_id, pad_token_id = None, 0

        @property
        def tokenizer(self) -> Tokens:
            return self

        def prepare_inputs(self, prompt: Any, images: Any) -> dict[str, torch.Tensor]:
            return {name: value.clone() for name, value in inputs.items()}

        def batch_decode(self, rows: Any, **_: Any) -> list[Any]:
            return [row.tolist() for row in rows]

    def way(rows: int, **settings: float) -> Way:
        method = VCD(LlavaModelAdapter(model), Tokens(), config=VCDConfig(**settings))

        def run(clock: Clock, tokens: int) -> None:
            # It has no streamer: the clock is told when a forward of the first branch begins.
            begun: list[float] = []
            watch = model.model.language_model.register_forward_pre_hook(lambda *_: begun.append(clock.now()))
            try:
                method.generate(None, "", max_new_tokens=tokens)
            finally:
                watch.remove()
            clock.extend([clock.started, *begun[rows::rows]])

        return run

    return {"MitigV, alpha 0": way(1, alpha=0.0, beta=0.0), "MitigV, VCD": way(2, alpha=1.0, beta=0.1)}


def measure(
    model: Any,
    inputs: dict[str, torch.Tensor],
    rounds: int,
    tokens: int,
    now: Callable[[], float] = time.process_time,
    only: Sequence[str] = (),
    watches: bool = False,
) -> dict[str, Cost]:
    """Run every way, or plain and those of `only`, once to warm up and count what it uses, then in turns.

    With `watches`, the time outside the forwards is measured too.
    """
    compared = {name: way for name, way in ways(model, inputs).items() if not only or name in ("plain", *only)}
    costs = {name: Use().of(model, partial(way, Clock(now), tokens)) for name, way in compared.items()}
    for _ in range(rounds):
        for name, way in compared.items():
            clock = Clock(now)
            with clock.watching(model) if watches else nullcontext():
                way(clock, tokens)
            first, token = clock.seconds()
            costs[name].first.append(first)
            costs[name].token.append(token)
            if watches and clock.forwards:
                costs[name].outside.append(clock.outside())
    return costs


def ratios(costs: dict[str, Cost], name: str, of: str = "token") -> list[float]:
    """Ratios of one way's times to plain's, round by round."""
    pairs = zip(getattr(costs[name], of), getattr(costs["plain"], of), strict=True)
    return [mine / plain for mine, plain in pairs]


def table(costs: dict[str, Cost]) -> str:
    watched = any(cost.outside for cost in costs.values())
    lines = ["| | ms a token | of plain | rounds | first token | vision passes | cache MiB | logits KiB |"]
    lines[0] += " outside |" * watched
    lines.append("|---" * (8 + watched) + "|")
    for name, cost in costs.items():
        each = ratios(costs, name)
        # MitigV's clock starts with the second forward, so it tells nothing of the first token.
        first = "–" if name.startswith("MitigV") else f"{statistics.median(ratios(costs, name, 'first')):.2f}"
        outside = f"{statistics.median(ratios(costs, name, 'outside')):.2f}" if cost.outside else "–"
        lines.append(
            f"| {name} | {1000 * statistics.median(cost.token):.1f} | {statistics.median(each):.2f} "
            f"| {min(each):.2f} to {max(each):.2f} | {first} | {cost.vision_passes} "
            f"| {cost.cache_bytes / 2**20:.1f} | {cost.logits_bytes / 2**10:.0f} |" + f" {outside} |" * watched
        )
    return "\n".join(lines)


def judged(costs: dict[str, Cost]) -> list[str]:
    """A line for every target."""
    lines = []
    for name, most in TARGETS.items():
        if name not in costs:
            continue
        ratio = statistics.median(ratios(costs, name))
        lines.append(f"{name}: {ratio:.3f} of plain, at most {most} aimed at: {'met' if ratio <= most else 'MISSED'}")
    if "Imagination" not in costs:
        return lines
    more = costs["Imagination"].vision_passes - costs["plain"].vision_passes
    lines.append(f"branch without the image: {more} more vision passes, 0 aimed at: {'MISSED' if more else 'met'}")
    return lines


def cpu_has() -> dict[str, bool]:
    """Instruction sets that bfloat16 and float32 need, as Linux reports them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return {name: name in flags for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")} if flags else {}


def device_clock() -> float:
    """Seconds, once all work of the GPU is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="type of the weights [bfloat16]"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of all ways in turn [5]")
    parser.add_argument("--tokens", type=int, default=24, help="tokens generated each time, at least 4 [24]")
    parser.add_argument("--threads", type=int, default=1, help="threads; with more than one, wall time is measured [1]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the model [1024]")
    parser.add_argument("--layers", type=int, default=12, help="layers of the model [12]")
    parser.add_argument("--grid", type=int, default=12, help="image tokens along a side [12]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and inputs [0]")
    parser.add_argument("--only", nargs="+", default=[], help="ways to measure beside plain [all]")
    parser.add_argument("--small", action="store_true", help="use a tiny model, to try the script")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    given = parser.parse_args()
    if given.rounds < 1 or given.tokens < 4:
        parser.error(f"expected --rounds >= 1 and --tokens >= 4, got {given.rounds} and {given.tokens}")
    torch.set_num_threads(given.threads)
    sizes = {name: getattr(given, name) for name in ("hidden", "layers", "grid")}
    if given.small:
        sizes = {"hidden": 64, "layers": 4, "grid": 4}
    on_gpu = torch.device(given.device).type == "cuda"
    with torch.device(given.device):
        model = llava(getattr(torch, given.dtype), given.seed, **sizes)
    inputs = {name: value.to(model.device) for name, value in prompt(model, seed=given.seed + 1).items()}
    about = {
        "model": f"random LLaVA, {sum(p.numel() for p in model.parameters()) / 1e6:.0f}M parameters",
        "prompt tokens": inputs["input_ids"].shape[1],
        "processor": torch.cuda.get_device_name() if on_gpu else cpu_has(),
        "torch": torch.__version__,
        **{name: getattr(given, name) for name in ("dtype", "threads", "rounds", "tokens", "seed")},
    }
    print(", ".join(f"{name}: {value}" for name, value in about.items()))
    now = device_clock if on_gpu else time.process_time if given.threads == 1 else time.perf_counter
    costs = measure(model, inputs, given.rounds, given.tokens, now, given.only, watches=True)
    print(table(costs))
    if "MitigV, VCD" not in costs:
        print("mitigv is not installed")
    print(*judged(costs), sep="\n")
    if given.json:
        given.json.write_text(json.dumps({**about, **{name: asdict(cost) for name, cost in costs.items()}}) + "\n")


if __name__ == "__main__":
    main()
