"""Ready-made changes of a picture, for rows that see another one: a part of it, or most of it masked.

Each is a callable from picture to picture of the same size, with `pixels` for callers who hold tensors only. What is
drawn at random is drawn anew from the seed for every picture, so a row does not change with its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halluguard.decoding.negatives import generator
from halluguard.errors import InputError, SettingsError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class Cropped:
    """A part of a picture, scaled to the picture's size.

    Args:
        share: of each side that is kept, in (0, 1].
        seed: of the place; None: the middle.
    """

    share: float = 0.5
    seed: int | None = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingsError(f"share must be in (0, 1], got {self.share}; 1 keeps the whole picture")

    def __call__(self, image: Image.Image) -> Image.Image:
        x, y = self._place
        left, top = x * image.width * (1 - self.share), y * image.height * (1 - self.share)
        box = (left, top, left + image.width * self.share, top + image.height * self.share)
        return image.resize(image.size, box=box)

    def pixels(self, tensor: Tensor) -> Tensor:
        """The same on normalised pixels (N, C, H, W)."""
        import torch

        height, width = _whole(tensor, "cropped").shape[-2:]
        rows, columns = max(1, round(height * self.share)), max(1, round(width * self.share))
        x, y = self._place
        top, left = round((height - rows) * y), round((width - columns) * x)
        kept = tensor[..., top : top + rows, left : left + columns].float()
        grown = torch.nn.functional.interpolate(kept, (height, width), mode="bilinear", antialias=True)
        return grown.to(tensor.dtype)

    @property
    def _place(self) -> tuple[float, float]:
        import torch

        if self.seed is None:
            return 0.5, 0.5
        x, y = torch.rand(2, generator=generator(self.seed)).tolist()
        return x, y


@dataclass(frozen=True)
class Masked:
    """A picture with a share of its `grid` x `grid` cells in its mean colour.

    Args:
        share: of the cells that are masked, in [0, 1].
        grid: cells a side, >= 1.
        seed: of the cells.
    """

    share: float = 0.75
    grid: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingsError(f"share must be in [0, 1], got {self.share}; 0 leaves the picture as it is")
        if not (isinstance(self.grid, int) and self.grid >= 1):
            raise SettingsError(f"grid must be a whole number >= 1, got {self.grid}; 8 makes 64 cells")

    def __call__(self, image: Image.Image) -> Image.Image:
        return masked_picture(image, self.share, self.grid, generator(self.seed))

    def pixels(self, tensor: Tensor) -> Tensor:
        """The same on normalised pixels (N, C, H, W)."""
        import torch

        size = _whole(tensor, "masked").shape[-2:]
        cover = masked_cells(self.share, self.grid, generator(self.seed))[None, None].to(tensor.device)
        hidden = torch.nn.functional.interpolate(cover.float(), size, mode="nearest-exact").bool()
        return torch.where(hidden, tensor.mean((-2, -1), keepdim=True), tensor)


def masked_cells(share: float, grid: int, draw: torch.Generator) -> Tensor:
    """(grid, grid) bool: a share of the cells, drawn at random."""
    import torch

    cells = torch.randperm(grid * grid, generator=draw)[: int(share * grid * grid)]
    cover = torch.zeros(grid * grid, dtype=torch.bool)
    cover[cells] = True
    return cover.reshape(grid, grid)


def masked_picture(image: Image.Image, share: float, grid: int, draw: torch.Generator) -> Image.Image:
    """A picture with a share of its `grid` x `grid` cells, drawn at random, in the picture's mean colour."""
    from PIL import Image, ImageStat

    image = image.convert("RGB")
    mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
    cover = masked_cells(share, grid, draw).byte() * 255
    mask = Image.fromarray(cover.numpy()).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, mean), image, mask)


def of_one_size(change: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """`change`, refused when it returns a picture of another size than it was given."""

    def changed(image: Image.Image) -> Image.Image:
        seen = change(image)
        if getattr(seen, "size", None) != image.size:
            raise InputError(
                f"a changed picture must keep the size {image.size}, got {getattr(seen, 'size', seen)}; resize it to "
                "the size of the picture it was made from"
            )
        return seen

    return changed


def _whole(tensor: Tensor, changed: str) -> Tensor:
    if tensor.ndim != 4:
        raise InputError(
            f"pixels must be whole pictures (N, C, H, W) to be {changed}, got shape {tuple(tensor.shape)} of tiles or "
            f"patches; pass images=[...] so that the pictures are {changed} before the processor"
        )
    return tensor
