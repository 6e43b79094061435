"""Tiny random models of many architectures, built on the spot: no download, fp32, CPU, milliseconds.

Weights are scaled up so that answers depend on the picture and on every token. Tests, `coverage.py` and the speed
benchmarks build their models here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

BOS, EOS, PAD, IMAGE, VOCABULARY = 1, 2, 0, 900, 1000


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
            if parameter.ndim >= 2 and "embed" not in name and "norm" not in name:
                parameter.mul_(scale if parameter.ndim == 2 else 3 * scale)
    model.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=None, pad_token_id=PAD)
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
