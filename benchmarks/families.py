"""How pictures reach each family of models, and what its shrunk default configuration needs besides.

`FAMILIES` has an entry for every model type that `architectures.py` builds: the function that makes the inputs of
its pictures, the changes to its configuration, and how its prompts hold a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

IMAGE, VISION_START = 900, 902


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`config` with `changes` laid over it, at any depth; a value of ... removes the entry."""
    out = dict(config)
    for name, value in changes.items():
        if value is ...:
            out.pop(name, None)
        else:
            out[name] = merged(out.get(name) or {}, value) if isinstance(value, dict) else value
    return out


# --- how pictures reach a family: the inputs of `images` pictures of one prompt ------------------------------------


def _vision(model: Any) -> Any:
    return getattr(model.config, "vision_config", None) or model.config


def pictures(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    size = getattr(_vision(model), "image_size", 56)
    high, wide = size if isinstance(size, list | tuple) else (size, size)
    return {"pixel_values": noise(images, 3, high, wide, seed=seed)}


def sized(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    inputs = pictures(model, images, seed)
    return {**inputs, "image_sizes": torch.tensor([list(inputs["pixel_values"].shape[-2:])] * images)}


def tiles(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Three tiles of a 2 x 1 picture: the whole and its halves."""
    size = _vision(model).image_size
    grid = {"image_sizes": torch.tensor([[2 * size, size]] * images)}
    return {"pixel_values": noise(images, 3, 3, size, size, seed=seed), **grid}


def several(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    size = _vision(model).image_size
    pixels = noise(1, images, 3, size, size, seed=seed)
    return {"pixel_values": pixels, "pixel_attention_mask": torch.ones(1, images, size, size, dtype=torch.long)}


def packed(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Patches of all pictures in one row, as the Qwen line packs them: 2 x 3 tokens a picture."""
    vision = _vision(model)
    side, frames = vision.patch_size, getattr(vision, "temporal_patch_size", 1) or 1
    merge = getattr(vision, "spatial_merge_size", None) or getattr(vision, "merge_size", None) or 2
    grid = torch.tensor([[1, 2 * merge, 3 * merge]] * images)
    channels: int = getattr(vision, "in_channels", None) or getattr(vision, "num_channels", None) or 3
    wide = channels * frames * side**2
    return {"pixel_values": noise(int(grid.prod(1).sum()), wide, seed=seed), "image_grid_thw": grid}


def patches(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """The same as `packed`, each patch a little picture."""
    inputs, side = packed(model, images, seed), _vision(model).patch_size
    return {**inputs, "pixel_values": inputs["pixel_values"].reshape(-1, 3, side, side)}


def merging(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    return {**packed(model, images, seed), "image_merge_sizes": torch.tensor([2] * images)}


def shaped(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Patches of a 4 x 4 grid with their shape and mask."""
    wide = 3 * _vision(model).patch_size ** 2
    grid = {"spatial_shapes": torch.tensor([[4, 4]] * images)}
    mask = torch.ones(images, 16, dtype=torch.long)
    return {"pixel_values": noise(images, 16, wide, seed=seed), "pixel_attention_mask": mask, **grid}


def high_resolution(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    size = model.config.high_res_vision_config.image_size
    return {**pictures(model, images, seed), "high_res_pixel_values": noise(images, 3, size, size, seed=seed)}


def crossed(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Mllama: four tiles a picture, of which two are used; the decoder sees them by cross-attention."""
    size = _vision(model).image_size
    mask = torch.tensor([[[1, 1, 0, 0]] * images])
    pixels = noise(1, images, 4, 3, size, size, seed=seed) * mask[..., None, None, None]
    return {"pixel_values": pixels, "aspect_ratio_ids": torch.full((1, images), 2), "aspect_ratio_mask": mask}


def attended(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    size = _vision(model).image_size
    return {"pixel_values": noise(1, images, 3, size, size, seed=seed)}


def flattened(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Pix2Struct and Kosmos 2.5: 4 x 4 patches of one picture, each with its row and column in front."""
    places = torch.tensor([[float(i // 4 + 1), float(i % 4 + 1)] for i in range(16)])
    pixels = noise(images, 16, _vision(model).patch_embed_hidden_size, seed=seed)
    return {"flattened_patches": torch.cat([places.expand(images, -1, -1), pixels], -1)}


def placed(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Gemma 4: patches with their column and row; so many patches that 2 x 2 features are left after pooling."""
    side = 2 * _vision(model).pooling_kernel_size
    places = torch.tensor([[column, row] for row in range(side) for column in range(side)])
    pixels = noise(images, side**2, 3 * _vision(model).patch_size ** 2, seed=seed).sigmoid()
    return {"pixel_values": pixels, "image_position_ids": places.repeat(images, 1, 1)}


def single_patches(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Fuyu: patches go to the decoder through one linear layer, one token each."""
    return {"pixel_values": noise(1, 4 * images, 3 * model.config.patch_size**2, seed=seed)}


def doubled(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """The same as `packed`, each patch in two frames that the configuration names otherwise."""
    inputs = packed(model, images, seed)
    return {
        **inputs,
        "pixel_values": torch.cat([inputs["pixel_values"]] * model.config.vision_config.patch_temporal, 1),
    }


def nothing(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """A language model alone."""
    return {}


def viewed(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """DeepSeek OCR and kin: the whole page; views of its parts are left out."""
    size = _vision(model).sam_config.image_size
    return {"pixel_values": noise(images, 3, size, size, seed=seed)}


def tiled(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Granite Docling: the pictures of a prompt as one row of tiles, two a picture."""
    size = _vision(model).image_size
    pixels = noise(1, 2 * images, 3, size, size, seed=seed)
    return {"pixel_values": pixels, "pixel_attention_mask": torch.ones(1, 2 * images, dtype=torch.bool)}


def strip(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """MiniCPM-V: the patches of all pictures of the batch side by side in one strip, 8 x 8 patches a picture."""
    side = _vision(model).patch_size
    pixels = noise(1, 3, side, 64 * side * images, seed=seed)
    return {"pixel_values": pixels, "target_sizes": torch.tensor([[8, 8]] * images, dtype=torch.int32)}


def squares(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Inkling 2: 2 x 3 squares of pixels a picture, colours last."""
    side = _vision(model).patch_size * _vision(model).spatial_merge_size
    grid = torch.tensor([[1, 2, 3]] * images)
    return {"pixel_values": noise(6 * images, side, side, 3, seed=seed), "image_grid_thw": grid}


def cubes(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Inkling: four patches a picture, each of all frames, colours last."""
    vision = _vision(model)
    sides = (vision.temporal_patch_size, vision.patch_size, vision.patch_size, 3)
    return {"pixel_values": noise(4 * images, *sides, seed=seed)}


def pooled(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Molmo 2: one crop of 4 x 4 patches a picture, and which four patches make each of its 2 x 2 tokens."""
    corners = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
    grid = {"image_grids": torch.tensor([[2, 2, 0, 0]] * images), "image_num_crops": torch.ones(images).long()}
    pixels = noise(images, 16, 3 * _vision(model).patch_size ** 2, seed=seed)
    return {"pixel_values": pixels, "image_token_pooling": torch.cat([corners + 16 * i for i in range(images)]), **grid}


def gridded(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Nemotron: patches of 4 x 6 grids."""
    pixels = noise(24 * images, 3 * _vision(model).patch_size ** 2, seed=seed)
    return {"pixel_values": pixels, "image_grid_hw": torch.tensor([[4, 6]] * images)}


def merged_patches(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Gemma 4 without an encoder: 2 x 2 large patches with their column and row."""
    places = torch.tensor([[column, row] for row in range(2) for column in range(2)])
    pixels = noise(images, 4, 3 * _vision(model).model_patch_size ** 2, seed=seed).sigmoid()
    return {"pixel_values": pixels, "image_position_ids": places.repeat(images, 1, 1)}


def protein(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Evolla: its picture is a protein, a sequence of twelve amino acids."""
    acids = torch.randint(5, 400, (1, 12), generator=torch.Generator().manual_seed(seed))
    return {"protein_input_ids": acids, "protein_attention_mask": torch.ones_like(acids)}


def framed(model: Any, images: int, seed: int) -> dict[str, torch.Tensor]:
    """Perception LM: the pictures of a prompt in one row."""
    size = _vision(model).image_size
    return {"pixel_values": noise(1, images, 3, size, size, seed=seed)}


Visual = dict[str, torch.Tensor]


def one_after_another(prompts: list[Visual]) -> Visual:
    """The pictures of the prompts of a batch."""
    return {name: torch.cat([visual[name] for visual in prompts]) for name in prompts[0]}


def side_by_side(prompts: list[Visual]) -> Visual:
    """The same where all pixels lie in one strip."""
    return {**one_after_another(prompts), "pixel_values": torch.cat([v["pixel_values"] for v in prompts], -1)}


def counted_on(prompts: list[Visual]) -> Visual:
    """The same where tokens name their patches by their place in the batch."""
    before = [sum(len(v["pixel_values"]) * 16 for v in prompts[:i]) for i in range(len(prompts))]
    places = [v["image_token_pooling"] + n for v, n in zip(prompts, before, strict=True)]
    return {**one_after_another(prompts), "image_token_pooling": torch.cat(places)}


@dataclass(frozen=True)
class Family:
    """How the inputs of a family are made.

    visual: the picture's inputs. changes: laid over the shrunk configuration. place: whether ids hold one
    placeholder per picture feature, or how many a picture. text: whether there are ids at all. joined: puts the
    pictures of a batch together. scale: of the weights, see `architectures.sharpened`. made: makes the model, where
    no default configuration does.
    """

    visual: Callable[[Any, int, int], dict[str, torch.Tensor]] = pictures
    changes: dict[str, Any] = field(default_factory=dict)
    place: bool | int = True
    text: bool = True
    joined: Callable[[list[Visual]], Visual] = one_after_another
    scale: float = 3.0
    made: Callable[[], Any] | None = None


def rope(*section: int) -> dict[str, Any]:
    """M-RoPE with so many frequencies for time, height and width; their sum is half of the rotated head."""
    parameters = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(section)}
    return {"text_config": {"rope_parameters": parameters}}


PINPOINTS = {"image_grid_pinpoints": [[112, 56], [56, 112]]}
WORDS = {f"IMGIMG{chr(65 + i // 10)}{chr(65 + i % 10)}Z": 100 + i for i in range(16)}
SMALL_VQ = {"num_embeddings": 16, "base_channels": 32, "channel_multiplier": [1, 2, 2], "num_res_blocks": 1}
DEEP = {**rope(2, 3, 3), "vision_config": {"deepstack_visual_indexes": [0, 1]}}
CHAMELEON = {"image_token_id": IMAGE, "vocabulary_map": {"<image>": IMAGE, **WORDS}, "vq_config": SMALL_VQ}
GRANITE = {"deepstack_layer_map": [[-1, 0]], "spatial_target_layers": [1], "downsample_rate": "1/2"}
MORE_HEADS = {"text_config": {"num_key_value_heads": 4}}
EMU3 = {
    "vocabulary_map": {"<image>": IMAGE, "<|extra_200|>": 130}
    | {f"<|visual token {i:06d}|>": 100 + i for i in range(16)},
    "vq_config": {
        **{"codebook_size": 16, "base_channels": 32, "channel_multiplier": [1, 1, 2, 2], "num_res_blocks": 1},
        **{"attn_resolutions": [], "hidden_size": 64, "num_attention_heads": 1, "embed_dim": 4},
    },
}
GEMMA4 = {
    "vision_config": {
        **{"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "patch_size": 14},
        **{"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16},
    }
}
SAM = {
    **{"image_size": 256, "patch_size": 16, "global_attn_indexes": [1], "window_size": 7},
    "initializer_range": 0.02,  # by default so small that the picture is lost in rounding
}
PAGE = {
    **{"hidden_size": 64, "output_channels": 32, "mlp_dim": 64, "downsample_channels": [64, 64]},
    **SAM,
}
LATENT = {
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16},
    **{"head_dim": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16},
}
SLIDING = {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 16}
MINICPM = {
    **{"image_token_id": IMAGE, "video_token_id": IMAGE + 1, "insert_layer_id": 0},
    "vision_config": {"insert_layer_id": 0},
}
MAMBA = {"mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16}


def captioner() -> Any:
    """A vision encoder and a text decoder joined by cross-attention, as VisionEncoderDecoderModel joins any two."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    vision = ViTConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
    )
    text = GPT2Config(vocab_size=1000, n_embd=64, n_layer=2, n_head=4)
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, text))
    model.config.decoder_start_token_id = 2
    return model


FAMILIES: dict[str, Family] = {
    "aria": Family(changes={"projector_patch_to_query_dict": {16: 4}}),
    "aya_vision": Family(),
    "cohere2_vision": Family(),
    "cosmos3_edge": Family(packed, rope(2, 3, 3)),
    "cosmos3_omni": Family(packed, DEEP),
    "deepseek_vl": Family(),
    "ernie4_5_vl_moe": Family(packed, rope(3, 3, 2)),
    "exaone4_5": Family(packed),
    "gemma3": Family(changes={"mm_tokens_per_image": 4}),
    "shieldgemma2": Family(changes={"mm_tokens_per_image": 4}),
    "glm4v": Family(packed, rope(2, 3, 3)),
    "glm46v": Family(packed, rope(2, 3, 3)),
    "glm4v_moe": Family(packed, rope(1, 1, 2)),
    "glm_ocr": Family(packed, rope(2, 3, 3)),
    "glmga": Family(packed, rope(2, 3, 3)),
    "got_ocr2": Family(changes={"vision_config": SAM}),
    "pp_chart2table": Family(changes={"vision_config": SAM}),
    "hunyuan_vl": Family(packed, merged(rope(2, 3, 3), {"text_config": {"head_dim": 16}})),
    "hyperclovax_vision_v2": Family(packed),
    "idefics2": Family(several),
    "idefics3": Family(several),
    "smolvlm": Family(several),
    "internvl": Family(),
    "qianfan_ocr": Family(),
    "lfm3_vl": Family(packed),
    "lighton_ocr": Family(sized),
    "mistral3": Family(sized),
    "llama4": Family(
        changes={
            "vision_config": {
                "projector_input_dim": 64,
                "projector_output_dim": 64,
                "vision_output_dim": 64,
                "intermediate_size": 256,
            }
        }
    ),
    "llava": Family(),
    "llava_next": Family(tiles, PINPOINTS),
    "llava_next_video": Family(tiles, PINPOINTS),
    "llava_onevision": Family(tiles, PINPOINTS),
    "granite4_vision": Family(tiles, {**PINPOINTS, **GRANITE}),
    "vipllava": Family(changes={"vision_feature_layer": [-2, -1]}),
    "video_llava": Family(),
    "muse_glimmer": Family(packed, {"vision_config": {"temporal_patch_size": 2}, "out_hidden_size": 256}),
    "ovis2": Family(),
    "paddleocr_vl": Family(patches, rope(2, 3, 3)),
    "paligemma": Family(),
    "qwen2_5_omni_thinker": Family(packed, {**rope(2, 3, 3), "vision_start_token_id": VISION_START}),
    "qwen2_5_vl": Family(packed, rope(2, 3, 3)),
    "qwen2_vl": Family(packed, rope(2, 3, 3)),
    "qwen3_5": Family(packed),
    "qwen3_5_moe": Family(packed),
    "qwen3_omni_moe_thinker": Family(packed, {**DEEP, "vision_start_token_id": VISION_START}),
    "qwen3_vl": Family(packed, DEEP),
    "qwen3_vl_moe": Family(packed, DEEP),
    "video_llama_3": Family(merging),
    "chameleon": Family(
        changes={"image_token_id": IMAGE, "vocabulary_map": {"<image>": IMAGE, **WORDS}, "vq_config": SMALL_VQ}
    ),
    "lfm2_vl": Family(shaped),
    "mllama": Family(
        crossed,
        {
            "text_config": {"cross_attention_layers": [1]},
            "vision_config": {
                "attention_heads": 4,
                "num_global_layers": 1,
                "intermediate_layers_indices": [0],
                "vision_output_dim": 128,
            },
        },
        place=1,
    ),
    "idefics": Family(attended, {"vision_config": {"num_attention_heads": 4}}, place=1),
    "git": Family(place=False),
    "deepseek_vl_hybrid": Family(high_resolution, {"high_res_vision_config": {"global_attn_indexes": [1]}}),
    "mistral_large4": Family(sized, MORE_HEADS),
    "step3p7": Family(changes={"text_config": {"sliding_window": 8}}),
    "kimi_k25": Family(patches, {"projection_hidden_size": 64, **MORE_HEADS}),
    "muse_spark": Family(doubled, {"projector_hidden_size": 64, "vision_config": {"hidden_size": 16}}),
    "emu3": Family(sized, EMU3),
    "minimax_m3_vl": Family(packed),
    "gemma4": Family(placed, GEMMA4),
    "fuyu": Family(single_patches),
    "cohere_compass": Family(
        packed,
        {
            "text_config": {"rope_parameters": {"full_attention": rope(3, 3, 2)["text_config"]["rope_parameters"]}},
            "vision_config": {"deepstack_visual_indexes": [0, 1]},
        },
    ),
    "deepseek_ocr2": Family(
        viewed,
        {
            "vision_config": {"sam_config": PAGE},
            "text_config": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2, "n_group": None}
            | {"topk_group": None},
        },
    ),
    "unlimited_ocr": Family(
        viewed,
        {"vision_config": {"sam_config": PAGE, "encoder_config": {"image_size": 64, "patch_size": 16}}},
    ),
    "dots3_note": Family(
        packed,
        {
            "text_config": {**LATENT, "index_head_dim": 32, "index_n_heads": 2, "per_layer_config": {1: LATENT}}
            | {"shared_experts_intermediate_size": 32},
            "vision_config": {"adapter_in_dim": 64, "adapter_out_dim": 64, "mlp_layer_types": ["dense", "sparse"]}
            | {"per_layer_config": {1: {"num_local_experts": 4}}},
            "audio_config": {"adapter_input_size": 64, "adapter_out_dim": 64, "num_key_value_heads": 4},
        },
    ),
    "glm5_next": Family(
        packed,
        {
            "text_config": {"num_key_value_heads": 4, "linear_head_dim": 16, "linear_num_heads": 4}
            | {"index_head_dim": 16, "index_n_heads": 2, "qk_rope_head_dim": 0},
            "vision_config": {"projection_intermediate_size": 64},
        },
    ),
    "granite_docling": Family(
        tiled,
        {
            "vision_config": {"image_size": 64, "patch_size": 16, "scale_factor": 2}
            | {"deepstack_visual_indexes": [0, 1]}
        },
        scale=10.0,
    ),
    "minicpm_ocr": Family(strip, MINICPM, joined=side_by_side),
    "minicpmv4_6": Family(strip, MINICPM, joined=side_by_side),
    "minicpmv4_7": Family(strip, MINICPM, joined=side_by_side),
    "mistral4": Family(nothing, {"head_dim": 32, "num_key_value_heads": 4}, place=False),
    "inkling2": Family(
        squares,
        {
            "text_config": {**SLIDING, "unpadded_vocab_size": 1000},
            "vision_config": {"text_hidden_size": 64, "projection_hidden_dim": 64},
        },
    ),
    "inkling_mm_model": Family(
        cubes,
        {
            "text_config": {**SLIDING, "moe_intermediate_size": 32},
            "vision_config": {"patch_size": 8, "text_hidden_size": 64, "num_hidden_layers": 4, "n_layers": 4},
            "audio_config": {"n_mel_bins": 4, "mel_vocab_size": 8, "text_hidden_size": 64},
        },
        scale=10.0,
    ),
    "molmo2": Family(
        pooled,
        {
            "image_patch_id": IMAGE,
            "vision_config": {"image_size": [56, 56], "num_position_embeddings": 16, "num_key_value_heads": 4},
            "adapter_config": {"vision_feature_layer": [1, 0], "num_key_value_heads": 4},
        },
        joined=counted_on,
        scale=8.0,
    ),
    "nemotron_h_omni": Family(
        gridded,
        {
            **{"image_token_id": IMAGE, "vision_hidden_size": 64, "vision_config": {"max_img_size": 224}},
            "text_config": {**MAMBA, "moe_shared_expert_intermediate_size": 32},
        },
        scale=2.0,
    ),
    "gemma4_unified": Family(
        merged_patches,
        {
            "vision_config": {"patch_size": 14, "pooling_kernel_size": 2, "mm_embed_dim": 64, "mm_posemb_size": 16}
            | {"output_proj_dims": 64}
        },
    ),
    "qwen4_exp": Family(
        packed,
        {
            "text_config": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16}
            | {"indexer_budget": 64, "indexer_compress_ratio": 4, "hc_lowrank": 16}
        },
    ),
    "evolla": Family(protein, {"resampler_num_latents": 8, "aligner_num_add_layers": 1}, place=False),
    "kosmos-2.5": Family(flattened, {"latent_query_num": 4}, place=4, scale=10.0),
    # encoder-decoders
    "pix2struct": Family(flattened, text=False),
    "pp_formulanet": Family(
        changes={
            "vision_config": {**SAM, "output_channels": 32, "mlp_dim": 64, "decoder_hidden_size": 64}
            | {"post_conv_in_channels": 32, "post_conv_mid_channels": 32, "post_conv_out_channels": 64},
        },
        text=False,
    ),
    "udop": Family(place=False),
    "vision-encoder-decoder": Family(text=False, made=captioner),
    "florence2": Family(
        changes={
            "vision_config": {
                **{"embed_dim": [16, 16, 32, 64], "num_heads": [2] * 4, "num_groups": [2] * 4, "depths": [1] * 4},
                "projection_dim": 64,
            }
        },
        scale=8.0,
    ),
    "t5gemma2": Family(changes={"encoder": {"mm_tokens_per_image": 4}}, place=4),
    # a generate of their own
    "diffusion_gemma": Family(
        changes={"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}}
    ),
    "pi0": Family(),
    "blip": Family(),
    "blip-2": Family(),
    "instructblip": Family(),
    "instructblipvideo": Family(),
    "janus": Family(),
    "kosmos-2": Family(),
}


SAME = "the contrast of two pictures does not change this random model's answer"
VACUOUS: dict[str, dict[str, Any]] = {
    "video_llava": {"columns": ("lookup",), "why": SAME},
}
"""Columns in which equality proves nothing, and why."""

NOT_BUILT: dict[str, str] = dict.fromkeys(
    ("gemma3n", "fast_vlm", "perception_lm"), "its vision tower needs timm, which is not installed here"
)
"""Why a model type of the image-text-to-text mapping has no entry in `FAMILIES`."""
