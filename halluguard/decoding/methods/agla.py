"""AGLA: assembly of a global and a local view.

    s = l(v, x) + alpha l(view(v), x),   on { y : p(y | v, x) >= beta max p(. | v, x) }

An et al. 2024, "Mitigating object hallucinations in large vision-language models with assembly of global and local
attention", arXiv 2406.12718. Original code: Lackel/AGLA (no licence file found), `eval/sample.py`,
`eval/augmentation.py`. There the view is the picture with what BLIP's image-text matching finds irrelevant to the
question blacked out (GradCAM at block 6). In that code the local row runs on the cache of the original row from the
second token on, so it is l itself and s = (1 + alpha) l: long answers of the original are plain decoding at
temperature 1 / (1 + alpha) under the support.

We differ: the view is any callable from picture to picture of the same size - a detector's crop, a GradCAM mask, a
person's box; the default is the middle of the picture, which needs no other model and is a stand-in, not the paper's
view. The local row keeps a cache of its own. fp32, one folded forward, every mode of generation; alpha = 0 is plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from halluguard.decoding.base import Combined, DecodingMethod, Step, check_beta, plausible
from halluguard.decoding.image_transforms import Cropped, TransformedImage, of_one_size
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.errors import SettingsError

MIDDLE = Cropped(share=0.75, seed=None)


def assembly(logits: Tensor, local: Tensor, alpha: float) -> Tensor:
    """logits + alpha * local, all (..., V)."""
    return logits + alpha * local


@dataclass(frozen=True)
class AGLA(DecodingMethod):
    """Ensemble with the same prompt and a local view of the picture.

    Needs the pictures themselves (`images=[...]` beside the inputs), unless the view has a method `pixels` as
    `pictures.Cropped` has. Cost: two rows a forward, a second vision pass, and whatever the view costs, once a picture.
    Refuses nothing beside what every view refuses.

    Args:
        alpha: weight of the local view, >= 0; 0 is plain generation. Scripts: 2; the loop takes 1 when given none.
        beta: plausibility in [0, 1]. Scripts and loop: 0.5.
        view: from a picture (PIL, RGB) to a picture of the same size.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "off": {"alpha": 0.0},
        "scripts": {"alpha": 2.0, "beta": 0.5},
        "omitted arguments": {"alpha": 1.0, "beta": 0.5},
    }

    alpha: float = 2.0
    beta: float = 0.5
    view: Callable[[Image.Image], Image.Image] = MIDDLE

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the local view off")
        check_beta(self.beta)
        if not callable(self.view):
            raise SettingsError(
                f"view must be callable from picture to picture, got {self.view!r}; see pictures.Cropped"
            )

    @property
    def is_identity(self) -> bool:
        return self.alpha == 0

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        return (TransformedImage(of_one_size(self.view), getattr(self.view, "pixels", None), "AGLA's local view"),)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return assembly(branches[0], branches[1], self.alpha), plausible(branches[0], self.beta)
