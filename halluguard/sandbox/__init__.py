"""A small drawn world whose truth is known, and two models trained in it.

`MLLM` and `DETECTOR` are folders that transformers loads without any code of ours:

    AutoModelForImageTextToText.from_pretrained(sandbox.MLLM)
    AutoModelForZeroShotObjectDetection.from_pretrained(sandbox.DETECTOR)

`scenes()` gives the shipped test scenes, which no training has used; `fresh_scenes(n)` draws new ones (needs the extra
`sandbox`). The sandbox shows mechanisms and directions, never the size of gains on real models. Images: OpenMoji,
CC BY-SA 4.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import Image

from halluguard.errors import SettingsError
from halluguard.images import load_image
from halluguard.sandbox.world import CATEGORIES, Scene, SceneObject

if TYPE_CHECKING:  # the scenes need no torch
    from transformers import PreTrainedModel, ProcessorMixin

__all__ = [
    "ADAPTER",
    "CATEGORIES",
    "DETECTOR",
    "MLLM",
    "Sample",
    "Scene",
    "SceneObject",
    "fresh_scenes",
    "load_detector",
    "load_mllm",
    "scenes",
]

WEIGHTS = Path(__file__).parent / "weights"
MLLM = WEIGHTS / "mllm"
"""Folder of the trained image-text-to-text model (LLaVA architecture)."""
DETECTOR = WEIGHTS / "detector"
"""Folder of the trained open-vocabulary detector (OWL-ViT architecture)."""
ADAPTER = WEIGHTS / "adapter"
"""Folder of the LoRA adapter of `MLLM`, fine-tuned on negative images and negative instructions."""
TEST_SCENES = Path(__file__).parent / "scenes"

FRESH_SEEDS = 10_000_000
"""Scenes with these seeds and up are for evaluation: no training touches them."""


@dataclass(frozen=True)
class Sample:
    """An image with its truth; `image_id` is the scene's seed."""

    image_id: int
    image: Image
    scene: Scene

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        return self.scene.objects

    @property
    def names(self) -> tuple[str, ...]:
        return self.scene.names


def scenes(limit: int | None = None) -> list[Sample]:
    """The shipped test scenes (200), or the first `limit` of them."""
    if limit is not None and limit < 1:
        raise SettingsError(f"limit must be at least 1, got {limit}; use None for all scenes")
    lines = (TEST_SCENES / "scenes.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
    truths = [Scene.from_dict(json.loads(line)) for line in lines]
    return [Sample(truth.seed, load_image(TEST_SCENES / f"{truth.seed}.webp"), truth) for truth in truths]


def fresh_scenes(count: int, start: int = FRESH_SEEDS) -> Iterator[Sample]:
    """Draw `count` scenes from seed `start` on. Needs the extra `sandbox` (OpenMoji's font)."""
    from halluguard.sandbox.drawing import drawings

    for drawing, _ in zip(drawings(start), range(count), strict=False):
        yield Sample(drawing.scene.seed, drawing.image, drawing.scene)


def load_mllm(folder: str | Path = MLLM) -> tuple[PreTrainedModel, ProcessorMixin]:
    """The sandbox model in float32 and evaluation mode, and its processor."""
    from halluguard import checkpoints

    return checkpoints.load_mllm(folder, dtype="float32")


def load_detector(folder: str | Path = DETECTOR) -> tuple[PreTrainedModel, ProcessorMixin]:
    """The sandbox detector in float32 and evaluation mode, and its processor."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    from halluguard import checkpoints

    expected, advice = "a zero-shot detector", "name the sandbox's detector"
    kind = AutoModelForZeroShotObjectDetection
    model = checkpoints.load_model(kind, folder, expected=expected, advice=advice, dtype="float32")
    return model, checkpoints.load_processor(AutoProcessor, folder)
