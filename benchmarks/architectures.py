"""Tiny random models of many architectures, built on the spot: no download, fp32, CPU, milliseconds.

`tiny(name)` takes the default configuration of a transformers model type, shrinks every size in it (`shrunk`), and
scales the weights up so that answers depend on the image and on every token. The family's entry in `families.py`
describes its image inputs. Tests, `coverage.py` and the speed benchmarks build their models here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parent))  # tests load this file by its path
from families import FAMILIES, IMAGE, VISION_START, merged
from visuals import noise

BOS, EOS, PAD, VOCABULARY = 1, 2, 0, 1000
VISION_END = 903


@dataclass(frozen=True)
class Tiny:
    """A model, and the function that makes its inputs.

    `prompt(texts, seed)` returns the inputs of one prompt per text, left-padded, each with a random image. A text is a
    list of token ids; the placeholders of the image are put in front of it.
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
                parameter.fill_(0.7)  # a closed gate would hide the image
            if parameter.ndim >= 2 and "embed" not in name and "norm" not in name:
                if not parameter.any():  # projections that start at zero would hide the image
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
    """The same configuration with small sizes. It keeps the first layer of each kind, and at least two layers."""
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


def tiny(name: str) -> Tiny:
    """A tiny random model of the model type `name`, a key of `FAMILIES`."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    model = sharpened(family.made() if family.made else _default(name, family.changes), family.scale)

    def prompt(texts: list[list[int]], seed: int = 1, images: int = 1) -> dict[str, torch.Tensor]:
        visual = [family.visual(model, images, seed + row) for row in range(len(texts))]
        seen = family.joined(visual)
        if not family.text:
            return seen
        each = placeholders(model, visual[0]) // images if family.place is True else int(family.place)
        image = [VISION_START, *[IMAGE] * each, VISION_END] if family.place else []
        inputs = left_padded([[BOS, *image * images, *text] for text in texts])
        return {**inputs, **_per_token(model, inputs, seen), **seen}

    return Tiny(name, model, prompt)


def _default(name: str, changes: dict[str, Any]) -> Any:
    """A model with the default configuration of a model type, shrunk and changed."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    kind = CONFIG_MAPPING[name]
    config = merged(shrunk(kind().to_dict()), changes)
    config.pop("model_type", None)
    return getattr(transformers, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[name])._from_config(kind(**config))


def placeholders(model: Any, visual: dict[str, torch.Tensor]) -> int:
    """Number of image features of one prompt, which is its number of placeholders."""
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
    """The inputs per token that the family's processor adds: the token's type, and the images that it may attend to."""
    import inspect

    taken = inspect.signature(model.forward).parameters
    mask = inputs["attention_mask"]
    at = (inputs["input_ids"] == IMAGE).long()
    made = {name: at for name in ("mm_token_type_ids", "token_type_ids") if name in taken}
    if model.config.model_type == "paligemma":
        made["token_type_ids"] = torch.zeros_like(at)  # all of the prompt is prefix, which sees itself both ways
    if "image_embeds_position_mask" in taken:
        made["image_embeds_position_mask"] = at.bool()
    if "bbox" in taken:  # a box for every word, from left to right
        left = (mask.cumsum(-1) * 0.03)[..., None]
        made["bbox"] = torch.cat([left, left, left + 0.02, left + 0.04], -1) * mask[..., None]
    if "cross_attention_mask" in taken and "aspect_ratio_mask" in seen:
        made["cross_attention_mask"] = mask[..., None, None] * seen["aspect_ratio_mask"][:, None]
    if "image_attention_mask" in taken:
        made["image_attention_mask"] = mask[..., None].expand(-1, -1, seen["pixel_values"].shape[1])
    return made
