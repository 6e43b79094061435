"""Passes, FLOPs and CPU time of open-vocabulary detectors at 1, 2, 4 and 8 phrases per image.

    python benchmarks/speed/detectors.py --family grounding-dino --shorter-side 320

Models have random weights and the sizes of transformers' default configuration, which are those of the published
checkpoints (SAM 3 has `--vision-layers` of 32 and a smaller image). Ways of asking:

    rows         one row per phrase, nothing shared: what a plain batch costs
    image once   the default: one row per phrase, everything that depends on the image alone once
    joint        all phrases in one prompt first; no phrase is near a threshold, so none is asked alone
    joint, k     the same, and k phrases are asked alone

Per way it prints passes, rows of the image backbone, FLOPs (`torch.utils.flop_counter`) and CPU time, the last two as
ratios to one phrase of the same way. All runs are interleaved on one thread; FLOPs do not depend on the machine.

`--flops` prints FLOPs alone, for large images: they add up, so two passes tell them all. One has a single phrase, and
says how much of it the image parts take; one has all phrases in one prompt.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForZeroShotObjectDetection,
    BertTokenizer,
    DetrImageProcessorPil,
    GroundingDinoImageProcessorPil,
)

from halluguard.detectors.image_parts import existing
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.sandbox.models import build_detector_processor

NAMES = ["dog", "cat", "bus", "person", "book", "chair", "clock", "kite"]
SEPARATORS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
SWIN = {"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
SWIN |= {"out_features": ["stage2", "stage3", "stage4"]}
BACKBONES = {
    "grounding-dino": "model.backbone.conv_encoder.model",
    "mm-grounding-dino": "model.backbone.conv_encoder.model",
    "omdet-turbo": "vision_backbone.vision_backbone",
    "sam3": "vision_encoder.backbone",
}


def bert() -> BertTokenizer:
    """A tokenizer that knows the names, with the separators at the ids that the models expect."""
    words = [f"[unused{i}]" for i in range(1100)]
    for token, index in SEPARATORS.items():
        words[index] = token
    words[1030 : 1030 + len(NAMES)] = NAMES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(words) + "\n", encoding="utf-8")
        return BertTokenizer(vocab=str(path), model_max_length=512)


def built(family: str, side: int, vision_layers: int) -> tuple[Any, Any]:
    """(model, processor) of a family, with random weights."""
    torch.manual_seed(0)
    if family.endswith("grounding-dino"):
        config = AutoConfig.for_model(family, backbone_config={**SWIN, "image_size": 224}, use_timm_backbone=False)
        images: Any = GroundingDinoImageProcessorPil(size={"shortest_edge": side, "longest_edge": 2 * side})
        model = AutoModelForZeroShotObjectDetection.from_config(config)
        return model, SimpleNamespace(tokenizer=bert(), image_processor=images)
    tokenizer = build_detector_processor().tokenizer
    if family == "omdet-turbo":
        config = AutoConfig.for_model(family, backbone_config={**SWIN, "image_size": side}, use_timm_backbone=False)
        model = AutoModelForZeroShotObjectDetection.from_config(config)
        images = DetrImageProcessorPil(size={"height": side, "width": side})
        return model, SimpleNamespace(tokenizer=tokenizer, image_processor=images)
    side = max(14 * 24, side // (14 * 24) * 14 * 24)
    backbone = {"model_type": "sam3_vit_model", "num_hidden_layers": vision_layers, "image_size": side}
    backbone |= {"global_attn_indexes": [vision_layers - 1]}
    config = AutoConfig.for_model(
        family, vision_config={"model_type": "sam3_vision_model", "backbone_config": backbone}
    )
    images = DetrImageProcessorPil(size={"height": side, "width": side})
    return AutoModel.from_config(config), SimpleNamespace(tokenizer=tokenizer, image_processor=images)


def ways(model: Any, processor: Any) -> dict[str, tuple[ZeroShotDetector, int]]:
    """Way of asking -> detector, and how many phrases it asks alone after asking all together (-1: it asks apart)."""
    plain = ZeroShotDetector(model, processor, floor=0.0)
    plain.family = dataclasses.replace(plain.family, image_parts=(), replaced={})
    found = {"rows": (plain, -1), "image once": (ZeroShotDetector(model, processor, floor=0.0), -1)}
    if not plain.family.independent:
        for alone in (0, 1, 2):
            name = f"joint, {alone}" if alone else "joint"
            found[name] = (ZeroShotDetector(model, processor, floor=0.0, joint=0.5), alone)
    return found


def asked_alone(detector: ZeroShotDetector, most: int) -> None:
    """Let the first `most` phrases be near a threshold: random scores say nothing about real ones."""
    left = iter([True] * max(most, 0))
    near: Callable[..., bool] = lambda scores, boxes: next(left, False)  # noqa: E731
    detector._near = near  # type: ignore[method-assign]


@dataclasses.dataclass
class Cost:
    """The cost of one call."""

    passes: int
    images: int
    flops: int
    seconds: float


def cost(detector: ZeroShotDetector, image: Image.Image, phrases: int, alone: int, path: str) -> Cost:
    rows: list[int] = []
    passes: list[int] = []

    def entered(module: Any, args: Any, kwargs: Any) -> None:
        rows.append(len(next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))))

    handles = [
        detector.model.get_submodule(path).register_forward_pre_hook(entered, with_kwargs=True),
        detector.model.register_forward_pre_hook(lambda *args: passes.append(1)),
    ]
    asked_alone(detector, alone)
    counter = FlopCounterMode(display=False)
    with counter:
        detector.detect([image], [NAMES[:phrases]])
    for handle in handles:
        handle.remove()
    asked_alone(detector, alone)
    start = time.process_time()
    detector.detect([image], [NAMES[:phrases]])
    return Cost(len(passes), sum(rows), counter.get_total_flops(), time.process_time() - start)


def flops(model: Any, processor: Any, image: Image.Image, phrases: list[int]) -> None:
    """Print FLOPs of every way from one pass of a single phrase and one of all."""
    plain = ways(model, processor)["rows"][0]
    parts = existing(model, ZeroShotDetector(model, processor).family.image_parts)
    counter = FlopCounterMode(display=False)
    with counter:
        plain.detect([image], [NAMES[:1]])
    whole = counter.get_total_flops()
    of_module = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    of_image = sum(of_module.get(f"{type(model).__name__}.{path}", 0) for path in parts)
    together = {1: whole}
    if not plain.family.independent:
        plain.isolate = False
        counter = FlopCounterMode(display=False)
        with counter:
            plain.detect([image], [NAMES[: max(phrases)]])
        together[max(phrases)] = counter.get_total_flops()
    print(f"one phrase: {whole / 1e9:.1f} GFLOP, of which the image parts {of_image / whole:.1%}")
    print("| phrases | rows | image once | joint | joint, 1 | joint, 2 |")
    print("|---|---|---|---|---|---|")
    for count in phrases:
        cells = [count * whole, of_image + count * (whole - of_image)]
        if count in together:
            joint = together[count]
            cells += [joint + alone * (whole - of_image) for alone in range(3 if count > 1 else 1)]
        print(f"| {count} | " + " | ".join(f"{cell / whole:.2f}" for cell in cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--family", choices=BACKBONES, default="grounding-dino", help="family of detectors [grounding-dino]"
    )
    parser.add_argument("--shorter-side", type=int, default=320, help="pixels of the image's shorter side")
    parser.add_argument("--vision-layers", type=int, default=8, help="layers of SAM 3's image encoder")
    parser.add_argument(
        "--phrases", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of phrases per image [1 2 4 8]"
    )
    parser.add_argument("--flops", action="store_true", help="measure FLOPs alone, from two passes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, processor = built(options.family, options.shorter_side, options.vision_layers)
    side = options.shorter_side
    pixels = np.random.default_rng(0).integers(0, 255, (side, side * 4 // 3, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    one: dict[str, Cost] = {}
    if options.flops:
        print(f"{options.family}, image {image.width} x {image.height}, random weights")
        flops(model, processor, image, options.phrases)
        return
    print(f"{options.family}, image {image.width} x {image.height}, random weights, one thread")
    print("| way | phrases | passes | backbone rows | GFLOP | FLOPs / one phrase | CPU time / one phrase |")
    print("|---|---|---|---|---|---|---|")
    for phrases in options.phrases:
        for way, (detector, alone) in ways(model, processor).items():
            this = cost(detector, image, phrases, min(alone, phrases), BACKBONES[options.family])
            base = one.setdefault("joint" if way.startswith("joint") else way, this)
            print(
                f"| {way} | {phrases} | {this.passes} | {this.images} | {this.flops / 1e9:.1f} | "
                f"{this.flops / base.flops:.2f} | {this.seconds / base.seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
