"""VCD: visual contrastive decoding.

    s = (1 + alpha) l(v) - alpha l(v'),   on { y : p(y | v) >= beta max p(. | v) }
    v' = sqrt(abar_t) v + sqrt(1 - abar_t) e,   e ~ N(0, I)

Leng et al., "Mitigating object hallucinations in large vision-language models through visual contrastive decoding",
CVPR 2024, eq. 3 to 6. Original code: DAMO-NLP-SG/VCD (Apache-2.0), `vcd_utils/vcd_sample.py`,
`vcd_utils/vcd_add_noise.py`.

Differences from the original: fp32 instead of the model's type, every mode of generation instead of sampling only, one
forward of two branches instead of two forwards, a seeded draw instead of the global one; alpha = 0 is plain generation,
where the original still applies the plausibility mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.image_transforms import TransformedImage
from halluguard.decoding.negative_inputs import NegativeInputs, generator
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError


def contrast(logits: Tensor, negative: Tensor, alpha: float) -> Tensor:
    """(1 + alpha) * logits - alpha * negative, all (..., V)."""
    return (1 + alpha) * logits - alpha * negative


def noise_schedule(step: int) -> tuple[float, float]:
    """Weights of image and noise after `step` of 1000 diffusion steps (sigmoid schedule of the original code).

    >>> [round(w, 3) for w in noise_schedule(500)]
    [0.863, 0.505]
    """
    betas = torch.sigmoid(torch.linspace(-6, 6, 1000, device="cpu")) * (0.5e-2 - 1e-5) + 1e-5
    kept = float((1 - betas).cumprod(0)[step])
    return kept**0.5, (1 - kept) ** 0.5


@dataclass(frozen=True)
class VCD(DecodingMethod):
    """Contrast with the same prompt and a noised image.

    Noise is added to the image before the processor when the call has `images`, otherwise to the normalised pixels, as
    in the original. The two agree in strength (`resolution`), not in the draw.

    Args:
        alpha: strength of the contrast, >= 0; 0 is plain generation. Paper: 1.
        beta: plausibility bound in [0, 1]. Paper and `eval/object_hallucination_vqa_llava.py`: 0.1; the script
            `llava1.5_pope.bash` passes 0.2.
        step: diffusion steps of noise, in 0..999. All official scripts: 500.
        seed: seed of the noise.
        resolution: random draws along the longer side of an image. The model's input size keeps the strength of the
            noise through the processor's resize.

    Example:
        >>> VCD(alpha=1.0).on(model, processor).generate(**inputs, num_beams=3)  # doctest: +SKIP
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "paper": Preset(
            {"alpha": 1.0, "beta": 0.1, "step": 500}, "paper; argparse of `object_hallucination_vqa_llava.py`"
        ),
        "pope script": Preset({"alpha": 1.0, "beta": 0.2, "step": 500}, "`cd_scripts/llava1.5_pope.bash`"),
        "omitted arguments": Preset(
            {"alpha": 0.5, "beta": 0.1, "step": 500}, "the loop of `vcd_sample.py`, when given none"
        ),
    }
    reference = "Leng et al., CVPR 2024, arXiv 2311.16922. Code: DAMO-NLP-SG/VCD"
    cost = Cost(branches=2, encodings=1, requires="images as `images=[...]`, or pixels")
    law_settings: ClassVar = {"alpha": 2.0, "step": 900}

    alpha: float = 1.0
    beta: float = 0.1
    step: int = 500
    seed: int = 0
    resolution: int = 336

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        if not (isinstance(self.step, int) and 0 <= self.step < 1000):
            raise SettingsError(f"step must be a whole number in 0..999, got {self.step}; the paper uses 500")

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (TransformedImage(self.noised_image, self.noised_pixels, "VCD's noised image"),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return contrast(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)

    def noised_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (..., C, H, W) with the schedule's noise, the same draw for every image."""
        of_image, of_noise = noise_schedule(self.step)
        draw = generator(self.seed)
        tiles = pixels.shape[-4] if pixels.ndim > 4 else 1  # the tiles of one image differ
        noise = torch.stack([torch.randn(pixels.shape[-3:], generator=draw, device=draw.device) for _ in range(tiles)])
        noise = noise.to(device=pixels.device, dtype=pixels.dtype)
        return of_image * pixels + of_noise * (noise if pixels.ndim > 4 else noise[0])

    def noised_image(self, image: Image.Image) -> Image.Image:
        """An image (RGB) with the schedule's noise, in units of a CLIP-normalised image, clipped to 8 bits."""
        of_image, of_noise = noise_schedule(self.step)
        pixels = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
        pixels = pixels.reshape(image.height, image.width, 3) / 255
        scale = min(1.0, self.resolution / max(image.size))
        grid = [max(1, round(side * scale)) for side in (image.height, image.width)]
        noise = torch.randn([1, 3, *grid], generator=generator(self.seed), device="cpu")
        noise = torch.nn.functional.interpolate(noise, (image.height, image.width))[0].permute(1, 2, 0)
        mean, spread = torch.tensor([[0.481, 0.458, 0.408], [0.269, 0.261, 0.276]], device="cpu")  # CLIP's
        noised = (of_image * (pixels - mean) / spread + of_noise * noise) * spread + mean
        return Image.fromarray((noised.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
