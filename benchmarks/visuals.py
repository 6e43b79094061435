"""Make the image inputs of each family of models: `images` random images of one prompt, in the family's layout."""

from __future__ import annotations

from typing import Any

import torch

Visual = dict[str, Any]


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vision_of(model: Any) -> Any:
    return getattr(model.config, "vision_config", None) or model.config


def pictures(model: Any, images: int, seed: int) -> Visual:
    size = getattr(vision_of(model), "image_size", 56)
    high, wide = size if isinstance(size, list | tuple) else (size, size)
    return {"pixel_values": noise(images, 3, high, wide, seed=seed)}


def sized(model: Any, images: int, seed: int) -> Visual:
    inputs = pictures(model, images, seed)
    return {**inputs, "image_sizes": torch.tensor([list(inputs["pixel_values"].shape[-2:])] * images)}


def instructed(model: Any, images: int, seed: int) -> Visual:
    """An image beside the words that the querying transformer reads with it."""
    words = torch.tensor([[1, 20, 21, 2]])
    return {
        **pictures(model, images, seed),
        "qformer_input_ids": words,
        "qformer_attention_mask": torch.ones_like(words),
    }


def instructed_clip(model: Any, images: int, seed: int) -> Visual:
    """Two frames per prompt."""
    inputs = instructed(model, 2, seed)
    return {**inputs, "pixel_values": inputs["pixel_values"][None]}


def tiles(model: Any, images: int, seed: int) -> Visual:
    """Three tiles of a 2 x 1 image: the whole and its halves."""
    size = vision_of(model).image_size
    grid = {"image_sizes": torch.tensor([[2 * size, size]] * images)}
    return {"pixel_values": noise(images, 3, 3, size, size, seed=seed), **grid}


def several(model: Any, images: int, seed: int) -> Visual:
    size = vision_of(model).image_size
    pixels = noise(1, images, 3, size, size, seed=seed)
    return {"pixel_values": pixels, "pixel_attention_mask": torch.ones(1, images, size, size, dtype=torch.long)}


def packed(model: Any, images: int, seed: int) -> Visual:
    """Patches of all images in one sequence, as the Qwen line packs them: 2 x 3 tokens per image."""
    vision = vision_of(model)
    side, frames = vision.patch_size, getattr(vision, "temporal_patch_size", 1) or 1
    merge = getattr(vision, "spatial_merge_size", None) or getattr(vision, "merge_size", None) or 2
    grid = torch.tensor([[1, 2 * merge, 3 * merge]] * images)
    channels: int = getattr(vision, "in_channels", None) or getattr(vision, "num_channels", None) or 3
    wide = channels * frames * side**2
    return {"pixel_values": noise(int(grid.prod(1).sum()), wide, seed=seed), "image_grid_thw": grid}


def patches(model: Any, images: int, seed: int) -> Visual:
    """The same as `packed`, each patch a small image."""
    inputs, side = packed(model, images, seed), vision_of(model).patch_size
    return {**inputs, "pixel_values": inputs["pixel_values"].reshape(-1, 3, side, side)}


def merging(model: Any, images: int, seed: int) -> Visual:
    return {**packed(model, images, seed), "image_merge_sizes": torch.tensor([2] * images)}


def shaped(model: Any, images: int, seed: int) -> Visual:
    """Patches of a 4 x 4 grid with their shape and mask."""
    wide = 3 * vision_of(model).patch_size ** 2
    grid = {"spatial_shapes": torch.tensor([[4, 4]] * images)}
    mask = torch.ones(images, 16, dtype=torch.long)
    return {"pixel_values": noise(images, 16, wide, seed=seed), "pixel_attention_mask": mask, **grid}


def high_resolution(model: Any, images: int, seed: int) -> Visual:
    size = model.config.high_res_vision_config.image_size
    return {**pictures(model, images, seed), "high_res_pixel_values": noise(images, 3, size, size, seed=seed)}


def crossed(model: Any, images: int, seed: int) -> Visual:
    """Mllama: four tiles per image, of which two are used; the decoder sees them by cross-attention."""
    size = vision_of(model).image_size
    mask = torch.tensor([[[1, 1, 0, 0]] * images])
    pixels = noise(1, images, 4, 3, size, size, seed=seed) * mask[..., None, None, None]
    return {"pixel_values": pixels, "aspect_ratio_ids": torch.full((1, images), 2), "aspect_ratio_mask": mask}


def attended(model: Any, images: int, seed: int) -> Visual:
    """The images of a prompt in one sequence."""
    size = vision_of(model).image_size
    return {"pixel_values": noise(1, images, 3, size, size, seed=seed)}


def flattened(model: Any, images: int, seed: int) -> Visual:
    """Pix2Struct and Kosmos 2.5: 4 x 4 patches of one image, each with its row and column in front."""
    places = torch.tensor([[float(i // 4 + 1), float(i % 4 + 1)] for i in range(16)])
    pixels = noise(images, 16, vision_of(model).patch_embed_hidden_size, seed=seed)
    return {"flattened_patches": torch.cat([places.expand(images, -1, -1), pixels], -1)}


def placed(model: Any, images: int, seed: int) -> Visual:
    """Gemma 4: patches with their column and row; so many patches that 2 x 2 features are left after pooling."""
    side = 2 * vision_of(model).pooling_kernel_size
    places = torch.tensor([[column, row] for row in range(side) for column in range(side)])
    pixels = noise(images, side**2, 3 * vision_of(model).patch_size ** 2, seed=seed).sigmoid()
    return {"pixel_values": pixels, "image_position_ids": places.repeat(images, 1, 1)}


def single_patches(model: Any, images: int, seed: int) -> Visual:
    """Fuyu: patches go to the decoder through one linear layer, one token each."""
    return {"pixel_values": noise(1, 4 * images, 3 * model.config.patch_size**2, seed=seed)}


def doubled(model: Any, images: int, seed: int) -> Visual:
    """The same as `packed`, each patch in two frames that the configuration names otherwise."""
    inputs = packed(model, images, seed)
    return {
        **inputs,
        "pixel_values": torch.cat([inputs["pixel_values"]] * model.config.vision_config.patch_temporal, 1),
    }


def nothing(model: Any, images: int, seed: int) -> Visual:
    """A language model alone."""
    return {}


def viewed(model: Any, images: int, seed: int) -> Visual:
    """DeepSeek OCR 2: each page whole, and two parts of it."""
    size = vision_of(model).sam_config.image_size
    parts = noise(2 * images, 3, size, size, seed=seed + 100)
    whole = {"pixel_values": noise(images, 3, size, size, seed=seed), "pixel_values_local": parts}
    return {**whole, "num_local_patches": torch.tensor([2] * images)}


def viewed_in_lists(model: Any, images: int, seed: int) -> Visual:
    """Unlimited OCR: the same, counted in lists, with the parts' grid."""
    return {**viewed(model, images, seed), "num_local_patches": [2] * images, "patches_grid": [[2, 1]] * images}


def tiled(model: Any, images: int, seed: int) -> Visual:
    """Granite Docling: the images of a prompt as one sequence of tiles, two per image."""
    size = vision_of(model).image_size
    pixels = noise(1, 2 * images, 3, size, size, seed=seed)
    return {"pixel_values": pixels, "pixel_attention_mask": torch.ones(1, 2 * images, dtype=torch.bool)}


def strip(model: Any, images: int, seed: int) -> Visual:
    """MiniCPM-V: the patches of all images of the batch side by side in one strip, 8 x 8 patches per image."""
    side = vision_of(model).patch_size
    pixels = noise(1, 3, side, 64 * side * images, seed=seed)
    return {"pixel_values": pixels, "target_sizes": torch.tensor([[8, 8]] * images, dtype=torch.int32)}


def squares(model: Any, images: int, seed: int) -> Visual:
    """Inkling 2: 2 x 3 squares of pixels per image, colours last."""
    side = vision_of(model).patch_size * vision_of(model).spatial_merge_size
    grid = torch.tensor([[1, 2, 3]] * images)
    return {"pixel_values": noise(6 * images, side, side, 3, seed=seed), "image_grid_thw": grid}


def cubes(model: Any, images: int, seed: int) -> Visual:
    """Inkling: four patches per image, each of all frames, colours last."""
    vision = vision_of(model)
    sides = (vision.temporal_patch_size, vision.patch_size, vision.patch_size, 3)
    return {"pixel_values": noise(4 * images, *sides, seed=seed)}


def pooled(model: Any, images: int, seed: int) -> Visual:
    """Molmo 2: one crop of 4 x 4 patches per image, and which four patches make each of its 2 x 2 tokens."""
    corners = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
    grid = {"image_grids": torch.tensor([[2, 2, 0, 0]] * images), "image_num_crops": torch.ones(images).long()}
    pixels = noise(images, 16, 3 * vision_of(model).patch_size ** 2, seed=seed)
    return {"pixel_values": pixels, "image_token_pooling": torch.cat([corners + 16 * i for i in range(images)]), **grid}


def gridded(model: Any, images: int, seed: int) -> Visual:
    """Nemotron: patches of 4 x 6 grids."""
    pixels = noise(24 * images, 3 * vision_of(model).patch_size ** 2, seed=seed)
    return {"pixel_values": pixels, "image_grid_hw": torch.tensor([[4, 6]] * images)}


def merged_patches(model: Any, images: int, seed: int) -> Visual:
    """Gemma 4 without an encoder: 2 x 2 large patches with their column and row."""
    places = torch.tensor([[column, row] for row in range(2) for column in range(2)])
    pixels = noise(images, 4, 3 * vision_of(model).model_patch_size ** 2, seed=seed).sigmoid()
    return {"pixel_values": pixels, "image_position_ids": places.repeat(images, 1, 1)}


def protein(model: Any, images: int, seed: int) -> Visual:
    """Evolla: its image is a protein, a sequence of twelve amino acids."""
    acids = torch.randint(5, 400, (1, 12), generator=torch.Generator().manual_seed(seed))
    return {"protein_input_ids": acids, "protein_attention_mask": torch.ones_like(acids)}


def one_after_another(prompts: list[Visual]) -> Visual:
    """The images of the prompts of a batch."""
    together: Visual = {}
    for name, first in prompts[0].items():
        values = [visual[name] for visual in prompts]
        together[name] = torch.cat(values) if torch.is_tensor(first) else [part for value in values for part in value]
    return together


def side_by_side(prompts: list[Visual]) -> Visual:
    """The same where all pixels lie in one strip."""
    return {**one_after_another(prompts), "pixel_values": torch.cat([v["pixel_values"] for v in prompts], -1)}


def counted_on(prompts: list[Visual]) -> Visual:
    """The same where tokens name their patches by their place in the batch."""
    before = [sum(len(v["pixel_values"]) * 16 for v in prompts[:i]) for i in range(len(prompts))]
    places = [v["image_token_pooling"] + n for v, n in zip(prompts, before, strict=True)]
    return {**one_after_another(prompts), "image_token_pooling": torch.cat(places)}
