"""Tiny random models of many architectures, built on the spot: no download, fp32, CPU, milliseconds.

`tiny(name)` takes the default configuration of a transformers model type, shrinks every size in it (`shrunk`), and
scales the weights up so that answers depend on the picture and on every token. How pictures reach a family is said
by its entry in `FAMILIES`. Tests, `coverage.py` and the speed benchmarks build their models here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

BOS, EOS, PAD, IMAGE, VOCABULARY = 1, 2, 0, 900, 1000
VISION_START, VISION_END = 902, 903


@dataclass(frozen=True)
class Tiny:
    """A model and what makes its inputs.

    `prompt(texts, seed)` gives the inputs of one prompt per text, left-padded, each with a random picture; a text is
    a list of token ids, and the picture's placeholders are put in front of it.
    """

    name: str
    model: Any
    prompt: Callable[..., dict[str, torch.Tensor]]


def text_config(**changes: Any) -> dict[str, Any]:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048}
    return {**sizes, **heads, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, **changes}


def vision_config(**changes: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {**sizes, "image_size": 56, "patch_size": 14, **changes}


def sharpened(model: Any, scale: float = 3.0) -> Any:
    """Scale matrices, so that a random model's answers vary; no end token, so that lengths are known."""
    from transformers import GenerationConfig

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("gate" in name or "alpha" in name) and not parameter.any():
                parameter.fill_(0.7)  # a closed gate would hide the picture
            if parameter.ndim >= 2 and "embed" not in name and "norm" not in name:
                if not parameter.any():  # projections that start at zero would hide the picture
                    parameter.normal_(std=0.02)
                parameter.mul_(scale if parameter.ndim == 2 else 3 * scale)
    start = {"decoder_start_token_id": EOS} if model.config.is_encoder_decoder else {}
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=None, pad_token_id=PAD, **start)
    return model.eval()


def left_padded(prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    length = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (length - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
    return {"input_ids": ids, "attention_mask": mask}


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def llava(layers: int = 2, seed: int = 0, **config: Any) -> Tiny:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**vision_config()),
            text_config=LlamaConfig(**text_config(num_hidden_layers=layers)),
            image_token_index=IMAGE,
            vision_feature_layer=-2,
            **config,
        )
    )

    def prompt(texts: list[list[int]], seed: int = 1, images: int = 1) -> dict[str, torch.Tensor]:
        inputs = left_padded([[BOS] + ([IMAGE] * 16 + [5]) * images + text for text in texts])
        pixels = [noise(images, 3, 56, 56, seed=seed + row) for row in range(len(texts))]
        return {**inputs, "pixel_values": torch.cat(pixels)}

    return Tiny("llava", sharpened(model), prompt)


# --- any model type, from its own default configuration -----------------------------------------------------------

SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "embed_dim", "n_embd", "out_hidden_size", "output_hidden_size"), 64),
    **dict.fromkeys(("projection_dim", "encoder_hidden_size", "projector_hidden_size", "mm_hidden_size"), 64),
    **dict.fromkeys(("text_hidden_size", "intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("d_ff", "dense_intermediate_size", "mlp_dim"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "depth", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_decoder_layers", "n_layer"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "linear_num_value_heads", "num_query_tokens"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_global_key_value_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(("head_dim", "kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"), 16),
    **dict.fromkeys(("v_head_dim", "d_kv", "kv_channels", "global_head_dim", "linear_key_head_dim"), 16),
    **dict.fromkeys(("linear_value_head_dim", "hidden_size_per_layer_input"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    "image_size": 56,
    "patch_size": 14,
    "max_position_embeddings": 2048,
    "num_position_embeddings": 144,
}
TOKENS = {"image": IMAGE, "video": IMAGE + 1, "vision_start": VISION_START, "vision_end": VISION_END}
TOKENS |= {"image_start": VISION_START, "image_end": VISION_END, "bos": BOS, "eos": EOS, "pad": PAD}
IDENTITY = ("transformers_version", "architectures", "_name_or_path")


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with small sizes: of the layers, the first of each kind, and two at the least."""
    small: dict[str, Any] = {}
    layers = config.get("num_hidden_layers")
    kinds = config.get("layer_types") or [None] * (layers or 2)
    kept = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    kept = kept if len(kept) > 1 else [0, 1]
    for name, value in config.items():
        if name in IDENTITY:
            continue
        if not isinstance(name, str):
            small[name] = value
            continue
        if name == "per_layer_config" and isinstance(value, dict):
            small[name] = {kept.index(int(i)): shrunk(v) for i, v in value.items() if int(i) in kept}
        elif name.startswith("rope_") and isinstance(value, dict):
            small[name] = _small_rope(value)
        elif isinstance(value, dict) and name not in ("id2label", "label2id"):
            small[name] = shrunk(value)
        elif isinstance(value, list) and layers and len(value) == layers > 2:
            small[name] = [value[i] for i in kept]
        elif name == "num_hidden_layers":
            small[name] = len(kept)
        elif name in SIZES and isinstance(value, int):
            small[name] = SIZES[name]
        elif name.endswith(("_token_id", "_token_index")) and isinstance(value, int):
            small[name] = TOKENS.get(name.rsplit("_token", 1)[0], 910 + sum(map(ord, name)) % 80)
        else:
            small[name] = value
    return small


def _small_rope(rope: dict[str, Any]) -> dict[str, Any]:
    small = {name: _small_rope(value) if isinstance(value, dict) else value for name, value in rope.items()}
    return small | ({"mrope_section": [2, 3, 3]} if "mrope_section" in small else {})


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
    """Pix2Struct: patches with their row and column in front; the question is drawn into the picture."""
    wide = 3 * _vision(model).patch_size ** 2
    places = torch.tensor([[float(i // 4 + 1), float(i % 4 + 1)] for i in range(16)])
    return {"flattened_patches": torch.cat([places[None], noise(1, 16, wide, seed=seed)], -1)}


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


@dataclass(frozen=True)
class Family:
    """How the inputs of a family are made.

    visual: the picture's inputs. changes: laid over the shrunk configuration. place: whether ids hold one
    placeholder per picture feature, or how many a picture.
    """

    visual: Callable[[Any, int, int], dict[str, torch.Tensor]] = pictures
    changes: dict[str, Any] = field(default_factory=dict)
    place: bool | int = True


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
GOT = {"vision_config": {"image_size": 256, "patch_size": 16, "global_attn_indexes": [1], "window_size": 7}}
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
    "got_ocr2": Family(changes=GOT),
    "pp_chart2table": Family(changes=GOT),
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
    # encoder-decoders
    "florence2": Family(
        changes={
            "vision_config": {
                **{"embed_dim": [16, 16, 32, 64], "num_heads": [2] * 4, "num_groups": [2] * 4, "depths": [1] * 4},
                "projection_dim": 64,
            }
        }
    ),
    "t5gemma2": Family(changes={"encoder": {"mm_tokens_per_image": 4}}, place=4),
    # a generate of their own
    "blip": Family(),
    "blip-2": Family(),
    "instructblip": Family(),
    "instructblipvideo": Family(),
    "janus": Family(),
    "kosmos-2": Family(),
}


ENCODED = ("greedy", "beams", "returns", "sampling", "static", "lookup", "two pictures")
SAME = "the contrast of two pictures does not change this random model's answer"
VACUOUS: dict[str, dict[str, Any]] = {
    "got_ocr2": {"columns": ENCODED, "why": SAME},
    "pp_chart2table": {"columns": ENCODED, "why": SAME},
    "video_llava": {"columns": ("lookup",), "why": SAME},
    "florence2": {"columns": ENCODED, "why": SAME},
}
"""Columns in which equality proves nothing, and why."""

NOT_BUILT: dict[str, str] = {
    **dict.fromkeys(
        ("gemma3n", "fast_vlm", "perception_lm"), "its vision tower needs timm, which is not installed here"
    ),
    **dict.fromkeys(("diffusion_gemma", "pi0"), "it has no `generate` of transformers, and is refused for that"),
    "pix2struct": "its question is drawn into the picture: it takes no prompt, which every prompt here has",
    "udop": "its prompt carries a box for every word, which no prompt here has",
    "kosmos-2.5": "its picture comes as patches with their mask of places, which no prompt here has",
}
"""Why a model type of the image-text-to-text mapping has no entry in `FAMILIES`."""


def tiny(name: str) -> Tiny:
    """A tiny random model of the model type `name`, of `FAMILIES`."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    family = FAMILIES[name]
    kind = CONFIG_MAPPING[name]
    config = merged(shrunk(kind().to_dict()), family.changes)
    config.pop("model_type", None)
    torch.manual_seed(0)
    cls = getattr(transformers, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[name])
    model = sharpened(cls._from_config(kind(**config)))

    def prompt(texts: list[list[int]], seed: int = 1, images: int = 1) -> dict[str, torch.Tensor]:
        visual = [family.visual(model, images, seed + row) for row in range(len(texts))]
        each = placeholders(model, visual[0]) // images if family.place is True else int(family.place)
        picture = [VISION_START, *[IMAGE] * each, VISION_END] if family.place else []
        inputs = left_padded([[BOS, *picture * images, *text] for text in texts])
        seen = {k: torch.cat([v[k] for v in visual]) for k in visual[0]}
        return {**inputs, **_per_token(model, inputs, seen), **seen}

    return Tiny(name, model, prompt)


def placeholders(model: Any, visual: dict[str, torch.Tensor]) -> int:
    """Features, hence placeholder tokens, of the pictures of one prompt."""
    inner = model if hasattr(model, "get_image_features") else model.model
    with torch.no_grad():
        features = inner.get_image_features(**visual, return_dict=True)
    pooled = getattr(features, "pooler_output", features)
    if pooled is None:  # features for several layers of the decoder
        pooled = features.deepstack_features[0][1] if hasattr(features, "deepstack_features") else features[0]
    features = pooled
    parts = [features] if torch.is_tensor(features) else list(features)
    return sum(part.numel() // part.shape[-1] for part in parts)


def _per_token(model: Any, inputs: dict[str, torch.Tensor], seen: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the family's processor adds for every token: its kind, and which pictures it may look at."""
    import inspect

    taken = inspect.signature(model.forward).parameters
    mask = inputs["attention_mask"]
    at = (inputs["input_ids"] == IMAGE).long()
    made = {name: at for name in ("mm_token_type_ids", "token_type_ids") if name in taken}
    if model.config.model_type == "paligemma":
        made["token_type_ids"] = torch.zeros_like(at)  # all of the prompt is prefix, which sees itself both ways
    if "cross_attention_mask" in taken:
        made["cross_attention_mask"] = mask[..., None, None] * seen["aspect_ratio_mask"][:, None]
    if "image_attention_mask" in taken:
        made["image_attention_mask"] = mask[..., None].expand(-1, -1, seen["pixel_values"].shape[1])
    return made
