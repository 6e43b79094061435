"""Packed turns are single turns: the same loss, and no turn sees another."""

import pytest
import torch
import torch.nn.functional as F

from halluguard.sandbox.models import build_mllm, build_processor
from halluguard.sandbox.train.packing import Packer, Turn

TURNS = [
    Turn("Describe the image.", "The image shows a kitchen with a cup."),
    Turn("Is there a dog in the image?", "No.", weight=5.0),
    Turn("Describe the image.", "The image shows a beach.", blind=True),
]


@pytest.fixture(scope="module")
def mllm():
    torch.manual_seed(0)
    processor = build_processor()
    return build_mllm(processor).eval(), processor


def logits(model, packed, pixels):
    hidden = model.model(
        input_ids=packed.ids,
        pixel_values=pixels,
        attention_mask=packed.mask,
        position_ids=packed.positions,
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden)


@torch.no_grad()
def test_packed_turns_equal_turns_in_rows_of_their_own(mllm):
    model, processor = mllm
    packer = Packer(processor.tokenizer, model.config.image_token_id)
    pixels = torch.randn(1, 3, 112, 112)
    together = packer([TURNS])
    told = together.targets >= 0
    packed = F.log_softmax(logits(model, together, pixels)[told], -1)
    alone = []
    for turn in TURNS:
        single = packer([[turn]])
        alone.append(F.log_softmax(logits(model, single, pixels)[single.targets >= 0], -1))
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_blind_turn_equals_the_prompt_without_a_image(mllm):
    model, processor = mllm
    packer = Packer(processor.tokenizer, model.config.image_token_id)
    blind = packer([[TURNS[2]]])
    scored = logits(model, blind, torch.randn(1, 3, 112, 112))[blind.targets >= 0]
    text = "USER: Describe the image. ASSISTANT: The image shows a beach."
    ids = processor.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    plain = model(input_ids=ids).logits[0, -len(scored) :]
    torch.testing.assert_close(scored, plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_packed_seeing_turns_equal_the_processor_s_own_prompt(mllm):
    """Training and `generate` must read the same tokens at the same positions."""
    model, processor = mllm
    packer = Packer(processor.tokenizer, model.config.image_token_id)
    content = [{"type": "image"}, {"type": "text", "text": "Describe the image."}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    from PIL import Image

    image = Image.effect_noise((112, 112), 60).convert("RGB")
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    expected = model(**inputs).logits[0, -1]
    packed = packer([[TURNS[0]]])
    got = logits(model, packed, inputs["pixel_values"])[0, int((packed.targets[0] >= 0).nonzero()[0])]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
