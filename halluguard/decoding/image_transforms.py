"""Make the inputs of branches that see another image, and the ready-made changes of an image.

A change is a callable from image to image of the same size. Its method `pixels`, where it has one, does the same to
normalised pixels, for callers who hold tensors only. Random numbers are drawn again from the seed for every image, so a
branch does not depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, Self

import torch
from PIL import Image, ImageStat
from torch import Tensor

from halluguard.decoding.engine.compatibility import image_makers, image_processor
from halluguard.decoding.negative_inputs import Call, ModelInputs, generator, is_image_input
from halluguard.decoding.setting_checks import check_range, check_whole
from halluguard.errors import InputError, UnsupportedModelError

ImageChange = Callable[[Image.Image], Image.Image]
PixelChange = Callable[[Tensor], Tensor]

TOLERANCE = 0.01
"""Largest difference of pixels that are made again: devices round differently, other images differ by far more."""


@dataclass(frozen=True)
class TransformedImage:
    """The same prompt with every image changed, before the processor or on its pixels.

    Args:
        image: changes an image (RGB) before the processor sees it; used when the call has `images`. It must keep the
            size, so that the prompt keeps its placeholders.
        pixels: changes normalised pixels (..., channels, height, width) when only tensors were given; None where the
            change only makes sense on the image.
        name: name of the changed image in error messages.
    """

    image: ImageChange
    pixels: PixelChange | None = None
    name: str = "the changed image"

    @classmethod
    def by(cls, change: ImageChange, name: str) -> Self:
        """The branch that applies a user's change, whose results must have the size of the original image."""
        return cls(of_one_size(change), getattr(change, "pixels", None), name)

    def __call__(self, call: Call) -> ModelInputs:
        if call.images is not None:
            changed = processed([self.image(image) for image in flat(call.images)], call)
        else:
            changed = {"pixel_values": self._changed_pixels(call)}
        return {**call.inputs, **changed}

    def _changed_pixels(self, call: Call) -> Tensor:
        pixels = call.inputs.get("pixel_values")
        if pixels is None or self.pixels is None:
            raise InputError(
                f"{self.name} is made from the image itself, and the call has no `images` and "
                f"{'no pixel_values' if pixels is None else 'only tensors'}; pass images=[...] beside the inputs, "
                "or negative_inputs={...} with pixels of your own"
            )
        other = [name for name in call.inputs if "pixel_values" in name and name != "pixel_values"]
        if other:
            raise InputError(
                f"{self.name} is made from the pixels in one tensor, and the call has {other} of the same image "
                "beside them; pass images=[...] so that the images are changed before the processor"
            )
        return in_pixel_layout(self.pixels, pixels, call)


def processed(images: list[Image.Image], call: Call) -> ModelInputs:
    """Model inputs of changed images, made by the image processor in the way it made those of the call.

    Families want images as one list or as a list per prompt, and some keep options of the image processor in the
    processor's class. The original images are processed too; the way that reproduces the call's own inputs is used.

    Raises:
        InputError: no way reproduces the call's own inputs.
    """
    if image_processor(call.processor) is None:
        raise InputError(
            f"a processor with an image_processor is needed to change images, got {type(call.processor).__name__}; "
            "give it to .on(model, processor), or pass negative_inputs={'pixel_values': ...}"
        )
    assert call.processor is not None
    originals = flat(call.images or ())
    for counts, maker in product(_layouts(call, len(originals)), image_makers(call.processor)):
        again, changed = (_image_inputs(group, counts, call, maker) for group in (originals, images))
        if not _same(again, call):
            continue
        for name, value in changed.items():
            if value.shape != again[name].shape:
                raise InputError(
                    f"the changed images must give {name!r} of shape {tuple(again[name].shape)} like the originals, "
                    f"got {tuple(value.shape)}; keep the size of every image"
                )
        return {name: value.reshape(call.inputs[name].shape).to(call.inputs[name]) for name, value in changed.items()}
    raise InputError(
        "images=[...] should be the images that the inputs were made of, in the same order, and the processor does not "
        "make those inputs from them again; set options of the images on processor.image_processor before making the "
        "inputs (not in the call of the processor), or pass negative_inputs={...} made from changed images"
    )


def flat(images: Sequence[Image.Image | Sequence[Image.Image]]) -> list[Image.Image]:
    """Images in the order of their placeholders, given as one list or as a list per prompt."""
    return [image for entry in images for image in ([entry] if isinstance(entry, Image.Image) else entry)]


def _layouts(call: Call, count: int) -> Iterator[list[int] | None]:
    """Ways to pass images: in one list (None), or in lists with these numbers of images, one list per prompt."""
    yield None
    entries = call.images or ()
    if entries and not any(isinstance(entry, Image.Image) for entry in entries):
        yield [len(flat([entry])) for entry in entries]
        return
    prompts = len(call.inputs["input_ids"]) if "input_ids" in call.inputs else count
    if prompts and count % prompts == 0:
        yield [count // prompts] * prompts


def _image_inputs(
    images: list[Image.Image], counts: list[int] | None, call: Call, maker: Callable[[Any], Any]
) -> dict[str, Tensor]:
    """Image tensors that the image processor makes and the call has too; empty where it refuses the layout."""
    rest = iter(images)
    layout = images if counts is None else [list(islice(rest, n)) for n in counts]
    try:
        made = maker(layout)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError):
        return {}
    made = {"pixel_values": made} if torch.is_tensor(made) else dict(made)
    return {
        name: value
        for name, value in made.items()
        if torch.is_tensor(value) and name in call.inputs and is_image_input(name, value)
    }


def _same(inputs: dict[str, Tensor], call: Call) -> bool:
    """Whether inputs made again equal those of the call, up to an axis and the rounding of their type."""
    for name, value in inputs.items():
        original = call.inputs[name]
        if not torch.is_tensor(original) or value.numel() != original.numel():
            return False
        again = value.reshape(original.shape).to(original)
        if not torch.allclose(again.double(), original.double(), rtol=TOLERANCE, atol=TOLERANCE):
            return False
    return bool(inputs)


def in_pixel_layout(change: PixelChange, pixels: Tensor, call: Call) -> Tensor:
    """Apply `change` to normalised pixels stored as images (N, C, H, W), tiles (B, T, C, H, W) or packed patches.

    Padding tiles (all zero) stay padding. Packed patches (P, C * frames * side * side) are changed patch by patch,
    alike in every frame of a still image.
    """
    strip = pixels.ndim == 4 and "target_sizes" in call.inputs  # MiniCPM-V: the patches of all images side by side
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
        f"pixels should come as images, tiles or packed patches, got shape {tuple(pixels.shape)} from "
        f"{type(call.model).__name__}; pass images=[...] so that the images are changed before the processor"
    )


@dataclass(frozen=True)
class Cropped:
    """A part of an image, scaled to the image's size.

    Args:
        share: part of each side that is kept, in (0, 1].
        seed: seed of the random place; None takes the middle.
    """

    share: float = 0.5
    seed: int | None = 0

    def __post_init__(self) -> None:
        check_range("share", self.share, 0, 1, above=True, advice="1 keeps the whole image")

    def __call__(self, image: Image.Image) -> Image.Image:
        x, y = self._place
        left, top = x * image.width * (1 - self.share), y * image.height * (1 - self.share)
        box = (left, top, left + image.width * self.share, top + image.height * self.share)
        return image.resize(image.size, box=box)

    def pixels(self, tensor: Tensor) -> Tensor:
        """Apply the same change to normalised pixels (N, C, H, W)."""
        height, width = whole_images(tensor, "cropped").shape[-2:]
        rows, columns = max(1, round(height * self.share)), max(1, round(width * self.share))
        x, y = self._place
        top, left = round((height - rows) * y), round((width - columns) * x)
        kept = tensor[..., top : top + rows, left : left + columns].float()
        scaled = torch.nn.functional.interpolate(kept, (height, width), mode="bilinear", antialias=True)
        return scaled.to(tensor.dtype)

    @property
    def _place(self) -> tuple[float, float]:
        if self.seed is None:
            return 0.5, 0.5
        x, y = torch.rand(2, generator=generator(self.seed), device="cpu").tolist()
        return x, y


@dataclass(frozen=True)
class Masked:
    """An image with a share of its `grid` x `grid` cells in its mean colour.

    Args:
        share: part of the cells that is masked, in [0, 1].
        grid: cells per side, >= 1.
        seed: seed of the masked cells.
    """

    share: float = 0.75
    grid: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("share", self.share, 0, 1, advice="0 leaves the image unchanged")
        check_whole("grid", self.grid, 1, advice="8 makes 64 cells")

    def __call__(self, image: Image.Image) -> Image.Image:
        return masked_image(image, self.share, self.grid, generator(self.seed))

    def pixels(self, tensor: Tensor) -> Tensor:
        """Apply the same change to normalised pixels (N, C, H, W)."""
        size = whole_images(tensor, "masked").shape[-2:]
        cover = masked_cells(self.share, self.grid, generator(self.seed))[None, None].to(tensor.device)
        hidden = torch.nn.functional.interpolate(cover.float(), size, mode="nearest-exact").bool()
        return torch.where(hidden, tensor.mean((-2, -1), keepdim=True), tensor)


def masked_cells(share: float, grid: int, draw: torch.Generator) -> Tensor:
    """(grid, grid) bool: a share of the cells, drawn at random."""
    cells = torch.randperm(grid * grid, generator=draw, device=draw.device)[: int(share * grid * grid)]
    cover = torch.zeros(grid * grid, dtype=torch.bool, device="cpu")
    cover[cells] = True
    return cover.reshape(grid, grid)


def masked_image(image: Image.Image, share: float, grid: int, draw: torch.Generator) -> Image.Image:
    """An image with a share of its `grid` x `grid` cells, drawn at random, in the image's mean colour."""
    image = image.convert("RGB")
    mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
    cover = masked_cells(share, grid, draw).byte() * 255
    mask = Image.fromarray(cover.numpy()).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, mean), image, mask)


def of_one_size(change: ImageChange) -> ImageChange:
    """`change`, with an error when it returns an image of another size than it was given."""

    def checked(image: Image.Image) -> Image.Image:
        changed = change(image)
        if getattr(changed, "size", None) != image.size:
            raise InputError(
                f"a changed image must keep the size {image.size}, got {getattr(changed, 'size', changed)}; resize it "
                "to the size of the original"
            )
        return changed

    return checked


def whole_images(pixels: Tensor, changed: str) -> Tensor:
    """Return `pixels` if they are whole images (N, C, H, W), else raise."""
    if pixels.ndim != 4:
        raise InputError(
            f"pixels must be whole images (N, C, H, W) to be {changed}, got shape {tuple(pixels.shape)} of tiles or "
            f"patches; pass images=[...] so that the images are {changed} before the processor"
        )
    return pixels
