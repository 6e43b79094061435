"""Tiny random models of many architectures, built on the spot: no download, fp32, CPU, milliseconds.

Each family's default config is shrunk, its weights are scaled up so that answers depend on the picture and on every
token, and its prompts are made of tensors, as its processor would make them. Tests, `coverage.py` and the speed
benchmarks build their models here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

BOS, EOS, PAD, SEPARATOR, IMAGE, VIDEO, VOCABULARY = 1, 2, 0, 5, 900, 901, 1000

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Tiny:
    """A model and what makes its inputs.

    `prompt(texts, seed=1, images=1)` gives one prompt per text, left-padded: pictures first, then the text, a list
    of token ids below 900. Picture i of row r is drawn from `seed + 10 * r + i`, so a row does not depend on its
    neighbours.
    """

    name: str
    model: Any
    prompt: Callable[..., Inputs]


@dataclass(frozen=True)
class Family:
    """How one architecture is built small.

    Args:
        changes: config values beside `SMALL`, by dotted path.
        pictures: (seeds of each row, config) -> picture inputs of the batch.
        placeholders: number of placeholder tokens per picture; None asks the model for its features.
        beside: further inputs from (ids, config), such as token types.
        model: class name, where the mapping's own is not the one to build.
    """

    changes: dict[str, Any]
    pictures: Callable[[list[list[int]], Any], Inputs]
    placeholders: int | None = None
    beside: Callable[[torch.Tensor, Any], Inputs] = lambda ids, config: {}
    model: str | None = None


SMALL = {
    **dict.fromkeys(("hidden_size", "out_hidden_size", "projection_dim", "d_model", "embed_dim", "vision_output_dim"), 64),
    **dict.fromkeys(("text_hidden_size", "projector_hidden_size", "encoder_hidden_size"), 64),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "mlp_dim"), 96),
    **dict.fromkeys(("num_hidden_layers", "depth", "encoder_layers", "decoder_layers", "layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("attention_heads", "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "image_size": 56,
    "patch_size": 14,
    "max_position_embeddings": 512,
    "moe_num_shared_experts": 1,
}
TOKENS = {
    **dict.fromkeys(("image_token_id", "image_token_index"), IMAGE),
    **dict.fromkeys(("video_token_id", "video_token_index"), VIDEO),
    **{"vision_start_token_id": 902, "vision_end_token_id": 903, "boi_token_id": 904, "eoi_token_id": 905},
    **{"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD},
}


def shrunk(config: Any) -> Any:
    """Set the usual sizes and token ids, here and in every config inside."""
    from transformers import PretrainedConfig

    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            shrunk(value)
    for name, size in SMALL.items():
        if type(vars(config).get(config.attribute_map.get(name, name))) is int:
            setattr(config, name, size)
    for name, token in TOKENS.items():
        if config.attribute_map.get(name, name) in vars(config):
            setattr(config, name, token)
    kinds = list(dict.fromkeys(getattr(config, "layer_types", None) or []))
    if kinds:
        config.num_hidden_layers = max(2, len(kinds))
        config.layer_types = (kinds * 2)[: config.num_hidden_layers]
    return config


def build(name: str, seed: int = 0) -> Tiny:
    """A tiny random model of the family `name` (a key of `FAMILIES`)."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as CLASSES

    family = FAMILIES[name]
    config = shrunk(CONFIG_MAPPING[name]())
    for path, value in family.changes.items():
        *parents, last = path.split(".")
        owner = config
        for parent in parents:
            owner = getattr(owner, parent)
        owner.update({last: value}) if isinstance(owner, dict) else setattr(owner, last, value)
    torch.manual_seed(seed)
    cls: Any = getattr(transformers, family.model or CLASSES[name])
    model = sharpened(cls(config))
    if family.placeholders is None:
        with torch.no_grad():
            features = model.base_model.get_image_features(**family.pictures([[0]], config), return_dict=True)
        count = sum(f.shape[-2] for f in features.pooler_output)
    else:
        count = family.placeholders

    def prompt(texts: list[list[int]], seed: int = 1, images: int = 1) -> Inputs:
        inputs = left_padded([[BOS] + ([IMAGE] * count + [SEPARATOR]) * images + text for text in texts])
        seeds = [[seed + 10 * row + i for i in range(images)] for row in range(len(texts))]
        return {**inputs, **family.pictures(seeds, config), **family.beside(inputs["input_ids"], config)}

    return Tiny(name, model, prompt)


def sharpened(model: Any, scale: float = 3.0) -> Any:
    """Scale matrices, so that a random model's answers vary; no end token, so that lengths are known."""
    from transformers import GenerationConfig

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "embed" not in name and "norm" not in name:
                parameter.mul_(scale if parameter.ndim == 2 else 3 * scale)
            if not parameter.any():  # what starts at zero: open gates, draw projections, leave biases
                if "gate" in name or "alpha" in name:
                    parameter.fill_(1.5)
                elif parameter.ndim == 2:
                    parameter.normal_(std=0.1)
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=None, pad_token_id=PAD)
    return model.eval()


def left_padded(prompts: list[list[int]]) -> Inputs:
    length = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return {"input_ids": ids, "attention_mask": mask}


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(rows: list[list[int]], config: Any) -> Inputs:
    """(N, 3, 56, 56): one normalised picture per placeholder group."""
    return {"pixel_values": torch.stack([noise(3, 56, 56, seed=s) for row in rows for s in row])}


def sized(rows: list[list[int]], config: Any) -> Inputs:
    """Pictures with their sizes, as Pixtral's processor gives them."""
    inputs = pictures(rows, config)
    return {**inputs, "image_sizes": torch.tensor([[56, 56]] * len(inputs["pixel_values"]))}


def tiles(rows: list[list[int]], config: Any) -> Inputs:
    """(N, tiles, 3, 56, 56) with the pictures' own sizes: an overview and two tiles, as in LLaVA-NeXT."""
    stacks = [noise(3, 3, 56, 56, seed=s) for row in rows for s in row]
    return {"pixel_values": torch.stack(stacks), "image_sizes": torch.tensor([[112, 56]] * len(stacks))}


def per_row(rows: list[list[int]], config: Any) -> Inputs:
    """(B, pictures, 3, 56, 56), as in Idefics."""
    return {"pixel_values": torch.stack([torch.stack([noise(3, 56, 56, seed=s) for s in row]) for row in rows])}


def patches(height: int = 8, width: int = 12) -> Callable[[list[list[int]], Any], Inputs]:
    """Packed patches (P, channels * frames * side * side) with grids, as in the Qwen and GLM lines."""

    def make(rows: list[list[int]], config: Any) -> Inputs:
        vision = config.vision_config
        frames = getattr(vision, "temporal_patch_size", 1)
        packed = []
        for seed in (s for row in rows for s in row):
            still = noise(height * width, 3, 1, vision.patch_size, vision.patch_size, seed=seed)
            packed.append(still.expand(-1, -1, frames, -1, -1).reshape(height * width, -1))
        grid = torch.tensor([[1, height, width]] * len(packed))
        return {"pixel_values": torch.cat(packed), "image_grid_thw": grid}

    return make


def placeholder_types(ids: torch.Tensor, config: Any) -> Inputs:
    return {"mm_token_type_ids": (ids == IMAGE).int()}


def bidirectional_types(ids: torch.Tensor, config: Any) -> Inputs:
    return {"token_type_ids": (ids == IMAGE).long()}


def flat_patches(height: int = 8, width: int = 12, **more: Any) -> Callable[[list[list[int]], Any], Inputs]:
    """Patches as pictures of their own, (P, 3, side, side), with grids."""

    def make(rows: list[list[int]], config: Any) -> Inputs:
        side = config.vision_config.patch_size
        seeds = [s for row in rows for s in row]
        packed = [noise(height * width, 3, side, side, seed=s) for s in seeds]
        grid = torch.tensor([[1, height, width]] * len(packed))
        return {"pixel_values": torch.cat(packed), "image_grid_thw": grid}

    return make


def merge_sizes(rows: list[list[int]], config: Any) -> Inputs:
    inputs = patches()(rows, config)
    return {**inputs, "image_merge_sizes": torch.tensor([2] * len(inputs["image_grid_thw"]))}


def high_and_low(rows: list[list[int]], config: Any) -> Inputs:
    high = torch.stack([noise(3, 56, 56, seed=s) for row in rows for s in row])
    return {**pictures(rows, config), "high_res_pixel_values": high}


def naflex(rows: list[list[int]], config: Any) -> Inputs:
    """Flat patches with their shapes and a mask, as in Siglip 2."""
    side = config.vision_config.patch_size
    flat = torch.stack([noise(16, 3 * side * side, seed=s) for row in rows for s in row])
    shapes = torch.tensor([[4, 4]] * len(flat))
    return {"pixel_values": flat, "spatial_shapes": shapes, "pixel_attention_mask": torch.ones(len(flat), 16).int()}


def crossed_tiles(rows: list[list[int]], config: Any) -> Inputs:
    """(B, pictures, tiles, 3, 56, 56) with aspect ratios, as in Mllama: one tile used, one of padding."""
    used = torch.stack([torch.stack([noise(1, 3, 56, 56, seed=s) for s in row]) for row in rows])
    pixels = torch.cat([used, torch.zeros_like(used)], 2)
    batch, count = pixels.shape[:2]
    ratios = torch.ones(batch, count, dtype=torch.long)
    return {"pixel_values": pixels, "aspect_ratio_ids": ratios, "aspect_ratio_mask": torch.tensor([[[1, 0]] * count] * batch)}


def cross_attention(ids: torch.Tensor, config: Any) -> Inputs:
    """From its placeholder on, every token sees the (single) picture's first tile."""
    seen = (ids == IMAGE).long().cumsum(-1).clamp(max=1)
    return {"cross_attention_mask": torch.stack([seen, torch.zeros_like(seen)], -1)[:, :, None]}


def image_attention(ids: torch.Tensor, config: Any) -> Inputs:
    return {"image_attention_mask": (ids == IMAGE).long().cumsum(-1).clamp(max=1)[..., None]}


MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
GLM = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "mrope_section": [2, 3, 3]}
QWEN3 = {"text_config.rope_parameters": MROPE, "vision_config.deepstack_visual_indexes": [0, 1]}
PINPOINTS = {"image_grid_pinpoints": [[112, 56], [56, 112]]}
DISCRETE = {f"vq_config.{k}": v for k, v in {"channel_multiplier": [1, 1], "base_channels": 32, "num_res_blocks": 1}.items()}
CODES = {"<image>": IMAGE, **{"IMGIMG" + "".join(chr(65 + int(d)) for d in str(i)) + "Z": 600 + i for i in range(256)}}
VISUAL = {"<image>": IMAGE, "<|extra_200|>": 890, **{f"<|visual token {i:06d}|>": 600 + i for i in range(256)}}

FAMILIES: dict[str, Family] = {
    # projection connectors, one picture one block of tokens
    "llava": Family({}, pictures),
    "vipllava": Family({"vision_feature_layers": [-1, -2]}, pictures),
    "paligemma": Family({"text_config.head_dim": 16}, pictures, beside=lambda ids, _: {"token_type_ids": ids * 0}),
    "gemma3": Family({"mm_tokens_per_image": 4}, pictures, beside=bidirectional_types),
    "aya_vision": Family({}, pictures),
    "cohere2_vision": Family({}, pictures),
    "internvl": Family({}, pictures),
    "deepseek_vl": Family({}, pictures),
    "deepseek_vl_hybrid": Family({}, high_and_low),
    "got_ocr2": Family({}, pictures),
    "qianfan_ocr": Family({}, pictures),
    "mistral3": Family({}, sized),
    "lighton_ocr": Family({}, sized),
    "llama4": Family({"vision_config.intermediate_size": 256, "vision_config.projector_input_dim": 64, "vision_config.projector_output_dim": 64, "text_config.intermediate_size_mlp": 96}, pictures),
    "ovis2": Family({}, pictures),
    "kimi_k25": Family({"projection_hidden_size": 64}, flat_patches()),
    "lfm2_vl": Family({}, naflex),
    # tiled high resolution
    "llava_next": Family(PINPOINTS, tiles),
    "llava_next_video": Family(PINPOINTS, tiles),
    "llava_onevision": Family(PINPOINTS, tiles),
    "granite4_vision": Family({**PINPOINTS, "deepstack_layer_map": [[-2, 0]], "spatial_target_layers": [1]}, tiles),
    "idefics3": Family({"scale_factor": 2}, per_row),
    "smolvlm": Family({"scale_factor": 2}, per_row),
    # query and resampler connectors
    "idefics2": Family({}, per_row),
    "aria": Family({"projector_patch_to_query_dict": {16: 8}, "max_value_projector_patch_to_query_dict": 8}, pictures),
    # packed patches, positions in three directions
    "qwen2_vl": Family({"text_config.rope_parameters": MROPE}, patches(), beside=placeholder_types),
    "qwen2_5_vl": Family({"text_config.rope_parameters": MROPE}, patches(), beside=placeholder_types),
    "qwen3_vl": Family(QWEN3, patches(), beside=placeholder_types),
    "qwen3_vl_moe": Family(QWEN3, patches(), beside=placeholder_types),
    "qwen3_5": Family({}, patches(), beside=placeholder_types),
    "qwen3_5_moe": Family({}, patches(), beside=placeholder_types),
    "glm4v": Family({"text_config.rope_parameters": GLM}, patches(), beside=placeholder_types),
    "glm4v_moe": Family({"text_config.rope_parameters": GLM}, patches(), beside=placeholder_types),
    "glm46v": Family({"text_config.rope_parameters": GLM}, patches(), beside=placeholder_types),
    "glm_ocr": Family({"text_config.rope_parameters": GLM}, patches(), beside=placeholder_types),
    "ernie4_5_vl_moe": Family(
        {"text_config.rope_parameters": MROPE, "text_config.moe_intermediate_size": [32, 32], "text_config.mlp_layer_types": ["dense", "sparse"]},
        patches(),
        beside=placeholder_types,
    ),
    "paddleocr_vl": Family({"text_config.rope_parameters": MROPE}, flat_patches(), beside=placeholder_types),
    "exaone4_5": Family({}, patches()),
    "video_llama_3": Family({}, merge_sizes),
    "hyperclovax_vision_v2": Family({}, patches()),
    # discrete picture tokens
    "chameleon": Family({**DISCRETE, "vq_config.embed_dim": 256, "vq_config.attn_resolutions": [],"vocabulary_map": CODES}, pictures),
    "emu3": Family({**DISCRETE, "vq_config.embed_dim": 4, "vq_config.hidden_size": 32, "vq_config.num_attention_heads": 1, "vocabulary_map": VISUAL}, sized),
    # cross-attention
    "mllama": Family(
        {
            "text_config.num_hidden_layers": 4,
            "text_config.cross_attention_layers": [1, 3],
            "vision_config.num_global_layers": 1,
            "vision_config.intermediate_layers_indices": [1],
            "vision_config.max_num_tiles": 2,
            "vision_config.supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            "vision_config.vision_output_dim": 128,
        },
        crossed_tiles,
        placeholders=1,
        beside=cross_attention,
    ),
    "idefics": Family({"cross_layer_interval": 1, "vision_config.embed_dim": 64}, per_row, 1, image_attention),
}


def llava() -> Tiny:
    return build("llava")
