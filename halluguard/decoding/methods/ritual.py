"""RITUAL: ensemble with a randomly transformed image.

    s = l(v, x) + alpha l(T(v), x),   on { y : p(y | v, x) >= beta max p(. | v, x) }
    T: one of flip (two ways), rotation, colour jitter, blur, crop, drawn for each image

Woo et al. 2024, "RITUAL: random image transformations as a universal anti-hallucination lever in LVLMs", arXiv
2405.17821. Original code: sangminwoo/RITUAL (MIT), `ritual_utils/ritual_sample.py` and `eval_bench/*.py`. An ensemble,
not a contrast: where the two branches agree the scores are multiplied by 1 + alpha, which alone sharpens sampling (see
`baselines.TemperatureMatched`).

Differences from the original: the draw is a function of the image and a seed, so that an answer does not depend on its
batch; the transformations are Pillow's, with torchvision's ranges; fp32, one folded forward, every mode of generation;
alpha = 0 is plain generation, where the original still applies the mask.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.image_transforms import TransformedImage, whole_images
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError


def ensemble(logits: Tensor, transformed: Tensor, alpha: float) -> Tensor:
    """logits + alpha * transformed, all (..., V)."""
    return logits + alpha * transformed


def _jittered(image: Image.Image, draw: random.Random) -> Image.Image:
    """Brightness, contrast and saturation by factors in [0, 2], hue by up to half the circle."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(draw.uniform(0, 2))
    hue, saturation, value = image.convert("HSV").split()
    shift = draw.randrange(256)
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


def _cropped(image: Image.Image, draw: random.Random) -> Image.Image:
    """A part of 8 to 100 % of the area, at an aspect ratio of 3/4 to 4/3, scaled to the image's own size."""
    area = draw.uniform(0.08, 1.0) * image.width * image.height
    ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
    width = min(image.width, max(1, round(math.sqrt(area * ratio))))
    height = min(image.height, max(1, round(math.sqrt(area / ratio))))
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height)).resize(image.size)


TRANSFORMATIONS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "horizontal flip": lambda image, draw: ImageOps.mirror(image),
    "vertical flip": lambda image, draw: ImageOps.flip(image),
    "rotation": lambda image, draw: image.rotate(draw.uniform(-180, 180)),
    "color jitter": _jittered,
    "gaussian blur": lambda image, draw: image.filter(ImageFilter.GaussianBlur(draw.uniform(1.5, 2.0))),
    "crop": _cropped,
}
"""The original's six, by its names."""


@dataclass(frozen=True)
class RITUAL(DecodingMethod):
    """Ensemble with the same prompt and a transformed image.

    Needs the images themselves (`images=[...]` beside the inputs), except for flips, for which pixels suffice.

    Args:
        alpha: weight of the transformed image, >= 0; 0 is plain generation. Code: 3 (`ritual_alpha_pos`).
        beta: plausibility bound in [0, 1]. Code: 0.1.
        transform: one of `TRANSFORMATIONS`, or "random": one for each image, as the original draws.
        seed: seed of the draw.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "code": Preset({"alpha": 3.0, "beta": 0.1, "transform": "random"}, "argparse of `pope_eval_llava.py`"),
    }
    reference = "Woo et al. 2024, arXiv 2405.17821. Code: sangminwoo/RITUAL"
    cost = Cost(branches=2, encodings=1, requires="images as `images=[...]` (flips: pixels suffice)")
    law_settings: ClassVar = {"transform": "vertical flip", "beta": 0.01}

    alpha: float = 3.0
    beta: float = 0.1
    transform: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to switch the transformed image off")
        check_beta(self.beta)
        if self.transform not in ("random", *TRANSFORMATIONS):
            raise SettingsError(
                f"transform must be 'random' or one of {list(TRANSFORMATIONS)}, got {self.transform!r}"
                "; for a transformation of your own use AGLA(view=...)"
            )

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        pixels = self.flipped_pixels if self.transform.endswith("flip") else None
        return (TransformedImage(self.transformed, pixels, "RITUAL's transformed image"),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return ensemble(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)

    def flipped_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W), flipped."""
        return whole_images(pixels, "flipped").flip(-1 if self.transform == "horizontal flip" else -2)

    def transformed(self, image: Image.Image) -> Image.Image:
        """The image (RGB) as the second branch sees it, at its own size."""
        image = image.convert("RGB")
        draw = random.Random(f"{self.seed} {zlib.crc32(image.tobytes())}")
        name = draw.choice(list(TRANSFORMATIONS)) if self.transform == "random" else self.transform
        return TRANSFORMATIONS[name](image, draw)
