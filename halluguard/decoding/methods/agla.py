"""AGLA: assembly of a global and a local view.

    s = l(v, x) + alpha l(view(v), x),   on { y : p(y | v, x) >= beta max p(. | v, x) }

An et al. 2024, "Mitigating object hallucinations in large vision-language models with assembly of global and local
attention", arXiv 2406.12718. Original code: Lackel/AGLA (no licence file found), `eval/sample.py`,
`eval/augmentation.py`. There the view is the image with everything blacked out that BLIP's image-text matching finds
irrelevant to the question (GradCAM at block 6). In that code the local branch runs on the cache of the original branch
from the second token on, so it is l itself and s = (1 + alpha) l: long answers of the original are plain decoding at
temperature 1 / (1 + alpha) under the mask.

Differences from the original: the view is any callable from image to image of the same size (a detector's crop, a
GradCAM mask, a person's box); the default is the middle of the image, which needs no other model and is a stand-in, not
the paper's view. The local branch keeps a cache of its own. fp32, one folded forward, every mode of generation;
alpha = 0 is plain generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step, plausible
from halluguard.decoding.image_transforms import Cropped, ImageChange, TransformedImage
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.decoding.setting_checks import check_alpha, check_beta
from halluguard.errors import SettingsError

MIDDLE = Cropped(share=0.75, seed=None)


def assembly(logits: Tensor, local: Tensor, alpha: float) -> Tensor:
    """logits + alpha * local, all (..., V)."""
    return logits + alpha * local


@dataclass(frozen=True)
class AGLA(DecodingMethod):
    """Ensemble with the same prompt and a local view of the image.

    Needs the images themselves (`images=[...]` beside the inputs), unless the view has a method `pixels`, as
    `image_transforms.Cropped` has. The view runs once per image.

    Args:
        alpha: weight of the local view, >= 0; 0 is plain generation. Scripts: 2; default of the code: 1.
        beta: plausibility bound in [0, 1]. Scripts and default of the code: 0.5.
        view: callable from image (RGB) to image of the same size.
    """

    PRESETS: ClassVar = {
        "off": Preset({"alpha": 0.0}),
        "scripts": Preset({"alpha": 2.0, "beta": 0.5}, "scripts"),
        "omitted arguments": Preset({"alpha": 1.0, "beta": 0.5}, "`eval/sample.py`, when given none"),
    }
    reference = "An et al. 2024, arXiv 2406.12718. Code: Lackel/AGLA"
    cost = Cost(branches=2, encodings=1, requires="images as `images=[...]`; a view of them")
    law_settings: ClassVar = {"alpha": 4.0, "beta": 0.01}

    alpha: float = 2.0
    beta: float = 0.5
    view: ImageChange = MIDDLE

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "use 0 to switch the local view off")
        check_beta(self.beta)
        if not callable(self.view):
            raise SettingsError(
                f"view must be callable from image to image, got {self.view!r}; see image_transforms.Cropped"
            )

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (TransformedImage.by(self.view, "AGLA's local view"),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return assembly(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)
