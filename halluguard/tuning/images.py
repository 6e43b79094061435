"""Negative images: recipes that change an image so that an answer about it should no longer be given.

    Erased    objects filled in from their surroundings: the truth is known, one object is gone
    Crop      1 to 20 % of the area, blown up to the old size (mDPO, Wang et al. 2024, arXiv 2406.11839)
    Shuffled  patches in random order
    Noised    diffusion noise (POVID, Zhou et al. 2024, arXiv 2402.11411)

Each is a frozen record of the source and a seed. Pixels are made only when a trainer asks for them, and are always the
same. All recipes work on the PIL image before any processor, so they fit tiling and packing processors alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import PIL.Image
from PIL.Image import Image

from halluguard.boxes import area, intersection
from halluguard.errors import SettingsError
from halluguard.records import XYXY
from halluguard.tuning.rows import RowImage, open_image

NOISE_STEPS = 1000

Fill: TypeAlias = Callable[[Image, Sequence[XYXY], int], Image]
"""(image, boxes, seed) -> the image with the boxes filled in, such as an inpainting model."""


@dataclass(frozen=True)
class Erased:
    """`source` with `boxes` filled in by `fill`, or by `erase` where that is None."""

    source: RowImage
    boxes: tuple[XYXY, ...]
    seed: int
    fill: Fill | None = None

    def make(self) -> Image:
        image = open_image(self.source)
        if self.fill is not None:
            return self.fill(image, self.boxes, self.seed)
        return erase(image, self.boxes, seed=self.seed)


@dataclass(frozen=True)
class Crop:
    """A random window of `source`, enlarged to the size of the whole.

    Args:
        source: the image to crop.
        seed: seed of the window.
        least, most: smallest and largest share of the area, in (0, 1]; the share is drawn uniformly between them, the
            aspect ratio from 3:4 to 4:3 as in mDPO's `RandomResizedCrop`.
        keep_out: boxes in pixels that the window should avoid: a crop that still shows the object of the answer is
            not a negative image. The first of 20 windows that keeps at most `keep` of their area is taken, else the
            best one.
        keep: share of the area of `keep_out` that a window may keep, in [0, 1].
    """

    source: RowImage
    seed: int
    least: float = 0.01
    most: float = 0.20
    keep_out: tuple[XYXY, ...] = ()
    keep: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most <= 1:
            raise SettingsError(f"a crop needs 0 < least <= most <= 1, got {self.least} and {self.most}; correct them")

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 of the window in an image of that size."""
        rng = random.Random(self.seed)
        whole = sum(map(area, self.keep_out))
        best, smallest = (0, 0, width, height), math.inf
        for _ in range(20):
            window = _draw_window(rng, width, height, rng.uniform(self.least, self.most))
            kept = sum(intersection(window, box) for box in self.keep_out)
            if kept < smallest:
                best, smallest = window, kept
            if kept <= self.keep * whole:
                return window
        return best

    def make(self) -> Image:
        image = open_image(self.source)
        window = self.window(*image.size)
        return image.resize(image.size, PIL.Image.Resampling.BICUBIC, box=window)


def _draw_window(rng: random.Random, width: int, height: int, share: float) -> tuple[int, int, int, int]:
    """A window of that share of the area; the aspect ratio is uniform in its logarithm, and fitted into the image."""
    area = share * width * height
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(area / w)))
    w = min(width, max(1, round(area / h)))
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    return x, y, x + w, y + h


@dataclass(frozen=True)
class Shuffled:
    """`source` cut into `grid` x `grid` patches in random order; none stays in its place."""

    source: RowImage
    seed: int
    grid: int = 8

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise SettingsError(f"grid must be at least 2, got {self.grid}; one patch cannot be shuffled")

    def make(self) -> Image:
        image = open_image(self.source)
        wide, high = (max(self.grid, side // self.grid * self.grid) for side in image.size)
        pixels = np.asarray(image.resize((wide, high)) if (wide, high) != image.size else image)
        h, w = high // self.grid, wide // self.grid
        patches = pixels.reshape(self.grid, h, self.grid, w, 3).swapaxes(1, 2).reshape(-1, h, w, 3)
        mixed = patches[_without_fixed_points(len(patches), self.seed)]
        rows = mixed.reshape(self.grid, self.grid, h, w, 3).swapaxes(1, 2)
        shuffled = PIL.Image.fromarray(np.ascontiguousarray(rows.reshape(high, wide, 3)))
        return shuffled if shuffled.size == image.size else shuffled.resize(image.size)


def _without_fixed_points(count: int, seed: int) -> list[int]:
    """A random cyclic order (Sattolo): every patch moves."""
    rng, order = random.Random(seed), list(range(count))
    for last in range(count - 1, 0, -1):
        other = rng.randrange(last)
        order[last], order[other] = order[other], order[last]
    return order


@dataclass(frozen=True)
class Noised:
    """x_t = sqrt(a_t) x + sqrt(1 - a_t) e on pixels in [0, 1], e standard normal, clipped: step `step` of 1000.

    a_t is the product of 1 - b_i over i <= t, with POVID's b = sigmoid(linspace(-6, 6, 1000)) * (5e-3 - 1e-5) + 1e-5.
    """

    source: RowImage
    seed: int
    step: int = 500

    def __post_init__(self) -> None:
        if not 0 <= self.step < NOISE_STEPS:
            raise SettingsError(f"step must be in 0..{NOISE_STEPS - 1}, got {self.step}; 500 is POVID's")

    def make(self) -> Image:
        pixels = np.asarray(open_image(self.source))
        kept = float(kept_signal()[self.step])
        draws = np.random.Generator(np.random.SFC64(self.seed)).integers(0, 1 << 16, pixels.shape, dtype=np.uint16)
        noise = np.take(normal_quantiles() * np.float32(255 * math.sqrt(1 - kept)), draws)
        noise += np.multiply(pixels, np.float32(math.sqrt(kept)), dtype=np.float32)
        return PIL.Image.fromarray(np.clip(noise, 0, 255, out=noise).astype(np.uint8))


@lru_cache(maxsize=1)
def normal_quantiles() -> np.ndarray:
    """(65536,) quantiles of the standard normal, to draw by look-up: twice as fast, equal in 8-bit pixels."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / (1 << 16)) for i in range(1 << 16)], np.float32)


@lru_cache(maxsize=1)
def kept_signal() -> np.ndarray:
    """(1000,) values a_t, the share of the image's variance left at step t; they fall from 1 to about 0.08."""
    steps = np.linspace(-6, 6, NOISE_STEPS)
    return np.cumprod(1 - (1 / (1 + np.exp(-steps)) * (5e-3 - 1e-5) + 1e-5))


def erase(image: Image, boxes: Sequence[XYXY], *, seed: int, margin: int = 2) -> Image:
    """Fill `boxes` from their surroundings: colours blended from the four edges, with the grain of the edges.

    Args:
        image: RGB image.
        boxes: x1, y1, x2, y2 in pixels; parts outside the image are ignored.
        seed: seed of the grain.
        margin: pixels added on every side, so that no outline is left.
    """
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    height, width = pixels.shape[:2]
    generator = np.random.default_rng(seed)
    for box in boxes:
        x1, y1 = max(0, int(box[0]) - margin), max(0, int(box[1]) - margin)
        x2, y2 = min(width, int(box[2]) + margin), min(height, int(box[3]) + margin)
        if x1 >= x2 or y1 >= y2:
            continue
        left, right = pixels[y1:y2, max(0, x1 - 1)], pixels[y1:y2, min(width - 1, x2)]
        above, below = pixels[max(0, y1 - 1), x1:x2], pixels[min(height - 1, y2), x1:x2]
        across = np.linspace(0, 1, x2 - x1, dtype=np.float32)[None, :, None]
        down = np.linspace(0, 1, y2 - y1, dtype=np.float32)[:, None, None]
        sides = _smooth(left)[:, None] * (1 - across) + _smooth(right)[:, None] * across
        ends = _smooth(above)[None] * (1 - down) + _smooth(below)[None] * down
        grain = np.median([(edge - _smooth(edge)).std(0) for edge in (left, right, above, below)], axis=0)
        noise = generator.standard_normal((y2 - y1, x2 - x1, 3), dtype=np.float32) * grain
        pixels[y1:y2, x1:x2] = (sides + ends) / 2 + noise
    return PIL.Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def _smooth(edge: np.ndarray) -> np.ndarray:
    """(n, 3) moving average of an edge over nine pixels."""
    padded = np.pad(edge, ((4, 4), (0, 0)), mode="edge")
    return np.stack([padded[i : i + len(edge)] for i in range(9)]).mean(0)
