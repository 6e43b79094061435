"""RITUAL: a second look through a random transformation.

    s = l(v, x) + alpha l(T(v), x),   on { y : p(y | v, x) >= beta max p(. | v, x) }
    T: one of flip (two ways), rotation, colour jitter, blur, crop, drawn for each picture

Woo et al. 2024, "RITUAL: random image transformations as a universal anti-hallucination lever in LVLMs", arXiv
2405.17821. Original code: sangminwoo/RITUAL (MIT), `ritual_utils/ritual_sample.py` and `eval_bench/*.py`. An ensemble,
not a contrast: where the two looks agree the scores are multiplied by 1 + alpha, which alone sharpens sampling (see
`controls.TemperatureMatched`).

We differ: the draw is a function of the picture and a seed, so that an answer does not change with its batch; the
transformations are Pillow's, with torchvision's ranges; fp32, one folded forward, every mode of generation; alpha = 0
is plain generation, where the original still applies the support.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.image_transforms import TransformedImage
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.errors import InputError, SettingsError


def ensemble(logits: Tensor, transformed: Tensor, alpha: float) -> Tensor:
    """logits + alpha * transformed, all (..., V)."""
    return logits + alpha * transformed


def _rotated(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.rotate(draw.uniform(-180, 180))


def _jittered(image: Image.Image, draw: random.Random) -> Image.Image:
    """Brightness, contrast and saturation by factors in [0, 2], hue by up to half the circle."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(draw.uniform(0, 2))
    hue, saturation, value = image.convert("HSV").split()
    shift = draw.randrange(256)
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


def _blurred(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(draw.uniform(1.5, 2.0)))


def _cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    """A part of 8 to 100 % of the area, at an aspect ratio of 3/4 to 4/3, scaled to the picture's own size."""
    area = draw.uniform(0.08, 1.0) * image.width * image.height
    ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    width = min(image.width, max(1, round(math.sqrt(area * ratio))))
    height = min(image.height, max(1, round(math.sqrt(area / ratio))))
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height)).resize(image.size)


def _flipped(image: Image.Image, draw: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def _upended(image: Image.Image, draw: random.Random) -> Image.Image:
    return ImageOps.flip(image)


TRANSFORMATIONS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "horizontal flip": _flipped,
    "vertical flip": _upended,
    "rotation": _rotated,
    "color jitter": _jittered,
    "gaussian blur": _blurred,
    "crop": _cropped,
}
"""The original's six, by its names."""


@dataclass(frozen=True)
class RITUAL(DecodingMethod):
    """Ensemble with the same prompt and a transformed picture.

    Needs the pictures themselves (`images=[...]` beside the inputs), except for flips, which pixels suffice for.
    Cost: two rows a forward and a second vision pass. Refuses nothing beside what every view refuses.

    Args:
        alpha: weight of the second look, >= 0; 0 is plain generation. Code: 3 (`ritual_alpha_pos`).
        beta: plausibility in [0, 1]. Code: 0.1.
        transform: one of `TRANSFORMATIONS`, or "random": one for each picture, as the original draws.
        seed: of the draw.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "code": {"alpha": 3.0, "beta": 0.1, "transform": "random"},
    }

    alpha: float = 3.0
    beta: float = 0.1
    transform: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the second look off")
        check_beta(self.beta)
        if self.transform not in ("random", *TRANSFORMATIONS):
            raise SettingsError(
                f"transform must be 'random' or one of {list(TRANSFORMATIONS)}, got {self.transform!r}"
                "; for a transformation of your own use AGLA(view=...)"
            )

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        pixels = self.flipped_pixels if self.transform.endswith("flip") else None
        return (TransformedImage(self.transformed, pixels, "RITUAL's transformed picture"),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return ensemble(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)

    def flipped_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W), flipped."""
        if pixels.ndim != 4:
            raise InputError(
                f"pixels must be whole pictures (N, C, H, W) to be flipped, got shape {tuple(pixels.shape)} of tiles "
                "or patches; pass images=[...] so that the pictures are flipped before the processor"
            )
        return pixels.flip(-1 if self.transform == "horizontal flip" else -2)

    def transformed(self, image: Image.Image) -> Image.Image:
        """The picture (RGB) as the second row sees it, at its own size."""
        image = image.convert("RGB")
        draw = random.Random(f"{self.seed} {zlib.crc32(image.tobytes())}")
        name = draw.choice(list(TRANSFORMATIONS)) if self.transform == "random" else self.transform
        return TRANSFORMATIONS[name](image, draw)
