"""Contrast: the contrastive family's one formula, with any spoilt picture in the further row.

    s = (1 + alpha) l(v) - alpha mean_r l(v_r),   on { y : p(y | v) >= beta max p(. | v) }
    v_r: the picture cropped ("crop"), with most of it masked ("mask"), or as a function of yours changes it

VCD's formula (Leng et al., CVPR 2024, arXiv 2311.16922, eq. 3) without VCD's noise; cropped and masked pictures are
the usual stand-ins for it. No published method has these defaults: they are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.image_transforms import Cropped, Masked, TransformedImage, of_one_size
from halluguard.decoding.methods.vdd import debias
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.errors import SettingsError

Change = Callable[["Image.Image"], "Image.Image"]

CHANGES: dict[str, Change] = {"crop": Cropped(), "mask": Masked()}
"""Changes by name: a quarter of the picture, at a drawn place; a quarter of its 64 cells, the rest in its mean colour.
Other shares are settings of `pictures.Cropped` and `pictures.Masked`."""


@dataclass(frozen=True)
class Contrast(DecodingMethod):
    """Contrast with the same prompt and a spoilt picture, or several.

    Needs the pictures themselves (`images=[...]` beside the inputs), unless a change has a method `pixels`, as those
    of `pictures` have for pixels of whole pictures. Cost: a row a forward and a vision pass for each changed picture.
    Refuses nothing beside what every view refuses.

    Args:
        picture: "crop", "mask", or a callable from picture (PIL, RGB) to picture of the same size; or a tuple of
            such, one row each: their logits are averaged.
        alpha: strength, >= 0; 0 is plain generation.
        beta: plausibility in [0, 1]; 0 allows every token.

    Example:
        >>> Contrast(Masked(share=0.9)).on(model, processor).generate(**inputs, images=[image])  # doctest: +SKIP
        >>> Contrast(("crop", lambda image: image.convert("L").convert("RGB")), alpha=0.5)       # doctest: +SKIP
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "crop": {"picture": "crop"},
        "mask": {"picture": "mask"},
        "crop and mask": {"picture": ("crop", "mask")},
    }

    picture: str | Change | tuple[str | Change, ...] = "mask"
    alpha: float = 1.0
    beta: float = 0.1

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the contrast off")
        check_beta(self.beta)
        if isinstance(self.picture, list):
            object.__setattr__(self, "picture", tuple(self.picture))
        if not self._changes:
            raise SettingsError(f"picture must name at least one change, got none; there are {list(CHANGES)}")
        for change in self._changes:
            if not (callable(change) or change in CHANGES):
                raise SettingsError(
                    f"picture must be one of {list(CHANGES)} or a callable from picture to picture, got {change!r}; "
                    "for noise use VCD, for no picture VDD"
                )

    @property
    def _changes(self) -> tuple[str | Change, ...]:
        return self.picture if isinstance(self.picture, tuple) else (self.picture,)

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        changes = [CHANGES[change] if isinstance(change, str) else change for change in self._changes]
        return tuple(
            TransformedImage(of_one_size(c), getattr(c, "pixels", None), "Contrast's picture") for c in changes
        )

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return debias(branches[0], branches[1:], self.alpha), plausible(branches[0], self.beta)
