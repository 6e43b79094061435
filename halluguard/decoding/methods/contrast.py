"""Contrast: the contrastive family's one formula, with any changed image in the further branches.

    s = (1 + alpha) l(v) - alpha mean_r l(v_r),   on { y : p(y | v) >= beta max p(. | v) }
    v_r: the image cropped ("crop"), with most of it masked ("mask"), or changed by a callable of yours

VCD's formula (Leng et al., CVPR 2024, arXiv 2311.16922, eq. 3) without VCD's noise; cropped and masked images are the
usual stand-ins for it. No published method has these defaults: they are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.image_transforms import Cropped, ImageChange, Masked, TransformedImage
from halluguard.decoding.methods.vdd import debias
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError

CHANGES: dict[str, ImageChange] = {"crop": Cropped(), "mask": Masked()}
"""Changes by name: a quarter of the image, at a drawn place; a quarter of its 64 cells, the rest in its mean colour.
Other shares are settings of `image_transforms.Cropped` and `image_transforms.Masked`."""


@dataclass(frozen=True)
class Contrast(DecodingMethod):
    """Contrast with the same prompt and a changed image, or several.

    Needs the images themselves (`images=[...]` beside the inputs), unless a change has a method `pixels`, as those of
    `image_transforms` have for whole images. Each change costs one branch and one encoding.

    Args:
        change: "crop", "mask", or a callable from image (RGB) to image of the same size; or a tuple of these, one
            branch each, whose logits are averaged.
        alpha: strength of the contrast, >= 0; 0 is plain generation.
        beta: plausibility bound in [0, 1]; 0 allows every token.

    Example:
        >>> Contrast(Masked(share=0.9)).on(model, processor).generate(**inputs, images=[image])  # doctest: +SKIP
        >>> greyscale = Contrast(("crop", lambda image: image.convert("L").convert("RGB")), alpha=0.5)
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "crop": Preset(
            {"change": "crop"}, "VCD's numbers; the share (a quarter of the image, at a drawn place) is ours"
        ),
        "mask": Preset({"change": "mask"}, "the same; three quarters of 8 x 8 cells in the image's mean colour"),
        "crop and mask": Preset({"change": ("crop", "mask")}, "the same; both branches, their mean"),
    }
    reference = "Ours: VCD's formula with any changed image; `halluguard/decoding/methods/contrast.py`"
    cost = Cost(
        branches=2,
        encodings=1,
        requires="images as `images=[...]`, or pixels of whole images; one more branch and encoding per further change",
    )
    law_settings: ClassVar = {"alpha": 4.0}

    change: str | ImageChange | tuple[str | ImageChange, ...] = "mask"
    alpha: float = 1.0
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_beta(self.beta)
        if isinstance(self.change, list):
            object.__setattr__(self, "change", tuple(self.change))
        if not self._changes:
            raise SettingsError(f"change must name at least one change, got none; there are {list(CHANGES)}")
        for change in self._changes:
            if not (callable(change) or change in CHANGES):
                raise SettingsError(
                    f"change must be one of {list(CHANGES)} or a callable from image to image, got {change!r}; "
                    "for noise use VCD, for no image VDD"
                )

    @property
    def _changes(self) -> tuple[str | ImageChange, ...]:
        return self.change if isinstance(self.change, tuple) else (self.change,)

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        changes = [CHANGES[change] if isinstance(change, str) else change for change in self._changes]
        return tuple(TransformedImage.by(change, "Contrast's image") for change in changes)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return debias(branches[0], branches[1:], self.alpha), plausible(branches[0], self.beta)
