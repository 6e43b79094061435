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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from halluguard.decoding.branches import Step, folded_view
from halluguard.decoding.negatives import Negative, Spoilt
from halluguard.decoding.plausibility import plausible
from halluguard.errors import InputError, SettingsError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def assembly(logits: Tensor, local: Tensor, alpha: float) -> Tensor:
    """logits + alpha * local, all (..., V)."""
    return logits + alpha * local


@dataclass(frozen=True)
class Middle:
    """The middle of a picture, at the picture's size.

    Args:
        share: of each side that is kept, in (0, 1].
    """

    share: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingsError(f"share must be in (0, 1], got {self.share}; 1 keeps the whole picture")

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = (side * (1 - self.share) / 2 for side in image.size)
        return image.resize(image.size, box=(width, height, image.width - width, image.height - height))

    def pixels(self, tensor: Tensor) -> Tensor:
        """The same on normalised pixels (N, C, H, W)."""
        import torch

        if tensor.ndim != 4:
            raise InputError(
                f"pixels must be whole pictures (N, C, H, W) to be cropped, got shape {tuple(tensor.shape)} of tiles "
                "or patches; pass images=[...] so that the pictures are cropped before the processor"
            )
        height, width = tensor.shape[-2:]
        rows, columns = max(1, round(height * self.share)), max(1, round(width * self.share))
        top, left = (height - rows) // 2, (width - columns) // 2
        kept = tensor[..., top : top + rows, left : left + columns].float()
        grown = torch.nn.functional.interpolate(kept, (height, width), mode="bilinear", antialias=True)
        return grown.to(tensor.dtype)


@dataclass(frozen=True)
class AGLA:
    """Ensemble with the same prompt and a local view of the picture.

    Needs the pictures themselves (`images=[...]` beside the inputs), unless the view has a method `pixels` as
    `Middle` has. Cost: two rows a forward, a second vision pass, and whatever the view costs, once a picture.
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
    view: Callable[[Image.Image], Image.Image] = field(default_factory=Middle)

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SettingsError(f"alpha must be >= 0, got {self.alpha}; use 0 to switch the local view off")
        if not 0 <= self.beta <= 1:
            raise SettingsError(f"beta must be in [0, 1], got {self.beta}; use 0 to allow every token")
        if not callable(self.view):
            raise SettingsError(f"view must be callable from picture to picture, got {self.view!r}; see agla.Middle")

    @property
    def neutral(self) -> bool:
        return self.alpha == 0

    @property
    def negatives(self) -> tuple[Negative, ...]:
        return (Spoilt(self.local, getattr(self.view, "pixels", None), "AGLA's local view"),)

    def fold(self, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]:
        return assembly(rows[0], rows[1], self.alpha), plausible(rows[0], self.beta)

    def on(self, model: Any, processor: Any = None) -> Any:
        """A view of `model` that generates with this method; see `branches.folded_view`."""
        return folded_view(self, model, processor)

    def local(self, image: Image.Image) -> Image.Image:
        """What the view makes of a picture."""
        seen = self.view(image)
        if getattr(seen, "size", None) != image.size:
            raise InputError(
                f"the view must return a picture of the size {image.size}, got {getattr(seen, 'size', seen)}; "
                "resize what it crops to the size of the picture"
            )
        return seen
