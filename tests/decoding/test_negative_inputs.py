"""The branch without its image holds nothing of the image."""

from types import SimpleNamespace

import torch

from halluguard.decoding.methods.icd import PrefixedPrompt
from halluguard.decoding.methods.vdd import UnknownImage
from halluguard.decoding.negative_inputs import Call, NoImage

IMAGE, START, END = 900, 902, 903


def call_of(ids, **config):
    settings = SimpleNamespace(image_token_id=IMAGE, is_encoder_decoder=False, **config)
    settings.get_text_config = lambda: settings
    model = SimpleNamespace(config=settings)
    ids = torch.tensor([ids])
    return Call(model, None, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.ones(1)})


def test_tokens_that_get_visual_embeddings_go_with_the_placeholders():
    """Ovis2 embeds its indicator tokens by the vision tower's table: they are part of the image."""
    call = call_of([1, START, IMAGE, IMAGE, END, 5, 6], visual_indicator_token_ids=[START, END])
    for branch in (NoImage(), UnknownImage(token=3)):
        made = branch(call)
        kept = made["input_ids"][made["attention_mask"].bool()].tolist()
        assert not {START, IMAGE, END} & set(kept)
        assert [token for token in kept if token != 3] == [1, 5, 6]
        assert "pixel_values" not in made


def test_the_tokens_that_framed_an_image_are_text_without_it():
    """Molmo 2's processor marks them as parts of the image, whose tokens see each other both ways."""
    call = call_of([1, START, IMAGE, IMAGE, END, 5, 6])
    call.inputs["mm_token_type_ids"] = torch.tensor([[0, 1, 1, 1, 1, 0, 0]])
    made = NoImage()(call)
    assert made["input_ids"].tolist() == [[1, START, END, 5, 6]]
    assert made["mm_token_type_ids"].tolist() == [[0, 0, 0, 0, 0]]


def test_the_prefix_goes_after_the_tokens_that_close_the_image():
    call = call_of([1, START, IMAGE, IMAGE, END, 5, 6], visual_indicator_token_ids=[START, END])
    assert PrefixedPrompt([20, 21])(call)["input_ids"].tolist() == [[1, START, IMAGE, IMAGE, END, 20, 21, 5, 6]]
