"""Tiny untrained models on the spot: the sandbox's LLaVA, and a tiled LLaVA-NeXT."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from halluguard.sandbox.models import build_mllm, build_processor
from halluguard.tuning import PreferenceRow


def noise(seed, size=(112, 112)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture
def model(processor):
    torch.manual_seed(0)
    return build_mllm(processor)


def moved(model, scale=0.02, seed=7):
    """A copy whose weights are a little elsewhere: a policy that has learnt something."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return other


def tiled():
    """(model, processor) of LLaVA-NeXT: as many tiles as the image's shape asks for."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    base = build_processor()
    small = build_mllm(base).config
    small.vision_config.image_size, small.vision_config.patch_size = 32, 16
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        vision_config=small.vision_config,
        text_config=small.text_config,
        image_token_index=small.image_token_id,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
        ),
        tokenizer=base.tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=base.chat_template,
        num_additional_image_tokens=1,
    )
    return LlavaNextForConditionalGeneration(config), processor


def preferences(sizes=((112, 112),) * 3, text_only=True):
    """Ragged rows with negatives, one without an image."""
    chosen = ("There is a dog on the left.", "No.", "The image shows a kitchen with a bowl.")
    rejected = ("There is a cat on the left.", "Yes.", "The image shows a kitchen with a bowl and two spoons.")
    prompts = ("Describe the image.", "Is there a dog in the image?", "Describe the image in detail.")
    rows = [
        PreferenceRow(
            (noise(i, size),),
            prompts[i],
            chosen[i],
            rejected[i],
            negative_images=(noise(50 + i, size),),
            minimal_edit=True,
        )
        for i, size in enumerate(sizes)
    ]
    return [*rows, PreferenceRow((), "Is there a zebra?", "No.", "Yes.", minimal_edit=True)] if text_only else rows
