"""Drawn scenes on disk, read back as arrays: what the training commands learn from."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from halluguard.sandbox.drawing import Drawing, draw
from halluguard.sandbox.models import GRID, MEAN, PATCH, STD
from halluguard.sandbox.world import CATEGORIES, IMAGE_SIZE, Scene

TRAIN_SEEDS = 0
"""Training scenes have the seeds 0, 1, 2, ..."""
SHIPPED_SEEDS = 20_000_000
"""The scenes shipped with the package start here."""

INDEX = {name: i for i, name in enumerate(CATEGORIES)}
_LEAST = 25  # pixels of an object that make a patch its own


@dataclass(frozen=True)
class Scenes:
    """pixels: (n, S, S, 3) uint8; patches: (n, G, G) int16, category index + 1 of each patch, 0 for background;
    owners: (n, G, G) int16, index of the scene's object seen in each patch, or -1."""

    pixels: np.ndarray
    patches: np.ndarray
    owners: np.ndarray
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def patch_owners(drawing: Drawing) -> np.ndarray:
    """(G, G): the object that covers most of each patch; an object that wins no patch gets its best free one."""
    owners = np.full((GRID, GRID), -1, np.int16)
    best = np.full((GRID, GRID), _LEAST)
    for index in range(len(drawing.scene.objects)):
        covered = (drawing.owner == index).reshape(GRID, PATCH, GRID, PATCH).sum((1, 3))
        wins = covered > best
        owners[wins], best[wins] = index, covered[wins]
        spot = np.unravel_index(covered.argmax(), covered.shape)
        if not wins.any() and owners[spot] < 0:
            owners[spot] = index
    return owners


def to_pixel_values(pixels: np.ndarray) -> torch.Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32, as the processors do it."""
    values = torch.from_numpy(np.array(pixels)).float()
    return ((values / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


def _row(seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    drawing = draw(seed)
    return drawing.pixels, patch_owners(drawing), json.dumps(drawing.scene.to_dict())


def load(folder: Path, count: int, start: int = TRAIN_SEEDS) -> Scenes:
    """The `count` seeds from `start`, drawn into `folder` the first time; scenes without objects are left out."""
    stem = folder / f"scenes-{start}-{count}"
    truth = stem.with_suffix(".jsonl")
    if not truth.exists():
        _draw_all(stem, count, start)
    scenes = [Scene.from_dict(json.loads(line)) for line in truth.read_text().splitlines()]
    owners = np.load(stem.with_suffix(".owners.npy"))
    pixels = np.load(stem.with_suffix(".pixels.npy"), mmap_mode="r")
    patches = np.zeros_like(owners)
    for row, scene in enumerate(scenes):
        lookup = np.array([INDEX[thing.name] + 1 for thing in scene.objects] + [0], np.int16)
        patches[row] = lookup[owners[row]]
    return Scenes(pixels, patches, owners, scenes)


def _draw_all(stem: Path, count: int, start: int) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(
        stem.with_suffix(".pixels.npy"), mode="w+", dtype=np.uint8, shape=(count, IMAGE_SIZE, IMAGE_SIZE, 3)
    )
    owners: list[np.ndarray] = []
    truths: list[str] = []
    with multiprocessing.Pool() as pool:
        for image, owner, truth in pool.imap(_row, range(start, start + count), chunksize=64):
            if '"objects": []' not in truth:
                pixels[len(truths)] = image
                owners.append(owner)
                truths.append(truth)
    pixels.flush()
    np.save(stem.with_suffix(".owners.npy"), np.stack(owners))
    stem.with_suffix(".jsonl").write_text("\n".join(truths) + "\n")
