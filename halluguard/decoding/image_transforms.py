"""Rows that see another picture: how a picture is changed in a call, and ready-made changes.

    TransformedImage     the same prompt with every picture changed, before the processor or on its pixels
    Cropped    a part of the picture
    Masked     most of it in its mean colour

A change is a callable from picture to picture of the same size, with `pixels` for callers who hold tensors only. What
is drawn at random is drawn anew from the seed for every picture, so a row does not change with its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageStat
from torch import Tensor

from halluguard.decoding.negative_inputs import Call, generator
from halluguard.errors import InputError, SettingsError, UnsupportedModelError


@dataclass(frozen=True)
class TransformedImage:
    """The same prompt with every picture changed.

    Args:
        picture: changes a picture (PIL, RGB) before the processor sees it; used when the call has `images`.
            It must keep the size, so that the prompt keeps its placeholders.
        pixels: changes normalised pixels (..., channels, height, width) when only tensors were given;
            None where the change only makes sense on the picture.
        name: what it is called in messages.
    """

    picture: Callable[[Image.Image], Image.Image]
    pixels: Callable[[Tensor], Tensor] | None = None
    name: str = "the changed picture"

    def __call__(self, call: Call) -> dict[str, Any]:
        if call.images is not None:
            changed = pictures_processed([self.picture(image) for image in call.images], call)
        else:
            changed = {"pixel_values": self._tensor(call)}
        return {**call.inputs, **changed}

    def _tensor(self, call: Call) -> Tensor:
        pixels = call.inputs.get("pixel_values")
        if pixels is None or self.pixels is None:
            raise InputError(
                f"{self.name} is made from the picture itself, and the call has no `images` and "
                f"{'no pixel_values' if pixels is None else 'only tensors'}; pass images=[...] beside the inputs, "
                "or negative_inputs={...} with pixels of your own"
            )
        other = [name for name in call.inputs if "pixel_values" in name and name != "pixel_values"]
        if other:
            raise InputError(
                f"{self.name} is made from the pixels in one tensor, and the call has {other} of the same picture "
                "beside them; pass images=[...] so that the pictures are changed before the processor"
            )
        return in_pixel_layout(self.pixels, pixels, call)


def pictures_processed(images: list[Image.Image], call: Call) -> dict[str, Any]:
    """Model inputs of `images`, by the call's own image processor, on the device and in the type of the original's."""
    maker = getattr(call.processor, "image_processor", None)
    if maker is None:
        raise InputError(
            f"a processor with an image_processor is needed to change pictures, got {type(call.processor).__name__}; "
            "give it to .on(model, processor), or pass negative_inputs={'pixel_values': ...}"
        )
    made = dict(maker(images=images, return_tensors="pt"))
    taken = {}
    for name, value in made.items():
        like = call.inputs.get(name)
        if like is None:
            continue  # the processor adds what the model does not take
        if not torch.is_tensor(value) or value.shape != like.shape:
            raise InputError(
                f"the changed pictures must give {name!r} of shape {tuple(like.shape)} like the originals, got "
                f"{tuple(getattr(value, 'shape', ()))}; pass the same pictures, in the same order, at the same size"
            )
        taken[name] = value.to(device=like.device, dtype=like.dtype)
    return taken


def in_pixel_layout(change: Callable[[Tensor], Tensor], pixels: Tensor, call: Call) -> Tensor:
    """Apply `change` to normalised pixels stored as pictures (N, C, H, W), tiles (B, T, C, H, W) or packed patches.

    Padding tiles (all zero) stay padding. Packed patches (P, C * frames * side * side) are changed patch by patch,
    alike in every frame of a still picture.
    """
    strip = pixels.ndim == 4 and "target_sizes" in call.inputs  # MiniCPM-V: the patches of all pictures side by side
    if pixels.ndim in (4, 5, 6) and pixels.is_floating_point() and not strip:
        changed = change(pixels)
        return torch.where(pixels.flatten(-3).any(-1)[..., None, None, None], changed, pixels)
    vision = getattr(call.model.config, "vision_config", None)
    frames, side = getattr(vision, "temporal_patch_size", None), getattr(vision, "patch_size", None)
    if pixels.ndim == 2 and "image_grid_thw" in call.inputs and isinstance(frames, int) and isinstance(side, int):
        patches = pixels.reshape(pixels.shape[0], -1, frames, side, side).transpose(1, 2)  # (P, frames, C, side, side)
        grids = call.inputs["image_grid_thw"].prod(-1).tolist()
        parts = [change(p[:, :1].transpose(0, 1)).transpose(0, 1) for p in patches.split(grids)]
        return torch.cat(parts).expand_as(patches).transpose(1, 2).reshape(pixels.shape)
    raise UnsupportedModelError(
        f"pixels should come as pictures, tiles or packed patches, got shape {tuple(pixels.shape)} from "
        f"{type(call.model).__name__}; pass images=[...] so that the pictures are changed before the processor"
    )


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
        height, width = _whole(tensor, "cropped").shape[-2:]
        rows, columns = max(1, round(height * self.share)), max(1, round(width * self.share))
        x, y = self._place
        top, left = round((height - rows) * y), round((width - columns) * x)
        kept = tensor[..., top : top + rows, left : left + columns].float()
        grown = torch.nn.functional.interpolate(kept, (height, width), mode="bilinear", antialias=True)
        return grown.to(tensor.dtype)

    @property
    def _place(self) -> tuple[float, float]:
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
        size = _whole(tensor, "masked").shape[-2:]
        cover = masked_cells(self.share, self.grid, generator(self.seed))[None, None].to(tensor.device)
        hidden = torch.nn.functional.interpolate(cover.float(), size, mode="nearest-exact").bool()
        return torch.where(hidden, tensor.mean((-2, -1), keepdim=True), tensor)


def masked_cells(share: float, grid: int, draw: torch.Generator) -> Tensor:
    """(grid, grid) bool: a share of the cells, drawn at random."""
    cells = torch.randperm(grid * grid, generator=draw)[: int(share * grid * grid)]
    cover = torch.zeros(grid * grid, dtype=torch.bool)
    cover[cells] = True
    return cover.reshape(grid, grid)


def masked_picture(image: Image.Image, share: float, grid: int, draw: torch.Generator) -> Image.Image:
    """A picture with a share of its `grid` x `grid` cells, drawn at random, in the picture's mean colour."""
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
