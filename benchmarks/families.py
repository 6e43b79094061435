"""Changes to the shrunk default configuration of each family, and the form of its image inputs.

`FAMILIES` has an entry for every model type that `architectures.py` builds. `visuals.py` makes the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from visuals import (
    Visual,
    attended,
    counted_on,
    crossed,
    cubes,
    doubled,
    flattened,
    gridded,
    high_resolution,
    instructed,
    instructed_clip,
    merged_patches,
    merging,
    nothing,
    one_after_another,
    packed,
    patches,
    pictures,
    placed,
    pooled,
    protein,
    several,
    shaped,
    side_by_side,
    single_patches,
    sized,
    squares,
    strip,
    tiled,
    tiles,
    viewed,
    viewed_in_lists,
)

IMAGE, VISION_START = 900, 902


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`config` with `changes` at any depth; the value `...` removes an entry."""
    out = dict(config)
    for name, value in changes.items():
        if value is ...:
            out.pop(name, None)
        else:
            out[name] = merged(out.get(name) or {}, value) if isinstance(value, dict) else value
    return out


@dataclass(frozen=True)
class Family:
    """The form of a family's inputs.

    Args:
        visual: makes the image inputs of one prompt.
        changes: changes to the shrunk configuration.
        place: True: the ids have one placeholder per image feature; a number: that many per image; False: none.
        text: whether there are ids at all.
        joined: joins the image inputs of a batch.
        scale: scale of the weights, see `architectures.sharpened`.
        made: makes the model, if the default configuration does not.
        contrast: strength of the contrast with another image.
    """

    visual: Callable[[Any, int, int], Visual] = pictures
    changes: dict[str, Any] = field(default_factory=dict)
    place: bool | int = True
    text: bool = True
    joined: Callable[[list[Visual]], Visual] = one_after_another
    scale: float = 3.0
    made: Callable[[], Any] | None = None
    contrast: float = 8.0


def rope(*section: int) -> dict[str, Any]:
    """M-RoPE with the numbers of frequencies for time, height and width; their sum is half the rotated head size."""
    parameters = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(section)}
    return {"text_config": {"rope_parameters": parameters}}


PINPOINTS = {"image_grid_pinpoints": [[112, 56], [56, 112]]}
WORDS = {f"IMGIMG{chr(65 + i // 10)}{chr(65 + i % 10)}Z": 100 + i for i in range(16)}
SMALL_VQ = {"num_embeddings": 16, "base_channels": 32, "channel_multiplier": [1, 2, 2], "num_res_blocks": 1}
DEEP = {**rope(2, 3, 3), "vision_config": {"deepstack_visual_indexes": [0, 1]}}
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
    "initializer_range": 0.02,  # by default so small that the image is lost in rounding
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
VIVID = {"vision_config": {"initializer_range": 0.02}}  # by default so small that the image is lost in rounding
OPT = {"text_config": {"word_embed_proj_dim": 64}, **VIVID}
MAMBA = {"mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16}


SMALL = {
    **{"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}


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


# Three families take their vision tower from timm, which is not needed here: another tower of transformers with
# features of the same layout takes its place.


def on_clip() -> Any:
    """Perception LM, on CLIP's vision tower."""
    from transformers import PerceptionLMConfig, PerceptionLMForConditionalGeneration

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14, "model_args": {"embed_dim": 64}}
    config = PerceptionLMConfig(
        vision_config={**vision, **sizes},
        text_config={**SMALL, "model_type": "llama"},
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
    )
    return PerceptionLMForConditionalGeneration._from_config(config)


def _resnet(**more: Any) -> dict[str, Any]:
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "layer_type": "basic"}
    return {**sizes, "hidden_size": 64, **more}


def on_resnet() -> Any:
    """FastVLM, on a ResNet."""
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration

    config = FastVlmConfig(
        vision_config=_resnet(model_type="resnet"),
        text_config={**SMALL, "model_type": "qwen2"},
        image_token_index=IMAGE,
    )
    return FastVlmForConditionalGeneration._from_config(config)


def gemma3n_on_resnet() -> Any:
    """Gemma 3n, on a ResNet; its last two layers share the keys and values of the first two."""
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration, ResNetConfig

    layers = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8}
    text = {**SMALL, **layers, "num_kv_shared_layers": 2, "intermediate_size": [64] * 4, "altup_num_inputs": 2}
    text |= {"vocab_size_per_layer_input": 960, "hidden_size_per_layer_input": 16, "laurel_rank": 8}
    audio = {"vocab_size": 20, "vocab_offset": 980, "hidden_size": 32, "conf_num_hidden_layers": 1}
    config = Gemma3nConfig(
        text_config={**text, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]},
        audio_config={**audio, "conf_num_attention_heads": 4},
        vision_soft_tokens_per_image=4,
        image_token_id=IMAGE,
        audio_token_id=IMAGE + 5,
    )
    tower = ResNetConfig(**_resnet(vocab_size=20, vocab_offset=960, rms_norm_eps=1e-6))
    object.__setattr__(config, "vision_config", tower)  # past the check of its type
    return Gemma3nForConditionalGeneration._from_config(config)


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
    "video_llava": Family(scale=6.0),
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
        viewed_in_lists,
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
            | {"indexer_budget": 64, "indexer_compress_ratio": 4, "hc_lowrank": 16, "number_of_conv_states": 3}
            | {
                "eos_token_id": 2,
                "ple_layer_ids": [1],
                "heads_per_ngram": 2,
                "split_ngram_parts": 2,
                "ngram_vocab_size_base": 50,
            }
            | {"make_ngram_vocab_size_divisible_by": 4}
        },
    ),
    "perception_lm": Family(attended, made=on_clip),
    "fast_vlm": Family(made=on_resnet),
    "gemma3n": Family(made=gemma3n_on_resnet),
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
    # a generate of their own, or none
    "diffusion_gemma": Family(
        changes={"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}}
    ),
    "pi0": Family(),
    "blip": Family(changes=VIVID, place=False, scale=6.0),
    "blip-2": Family(changes={"image_token_index": IMAGE, **OPT}, place=4),
    "instructblip": Family(instructed, {"image_token_index": IMAGE, **OPT}, place=4),
    "instructblipvideo": Family(instructed_clip, {"video_token_index": IMAGE, **OPT}, place=8),
    "janus": Family(),
    "kosmos-2": Family(changes={"latent_query_num": 64}, place=64, scale=2.0, contrast=500.0),
}
