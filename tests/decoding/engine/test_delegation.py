"""Families whose own `generate` ends in that of an inner model: each branch as the family makes it alone."""

import pytest
import torch

from halluguard.decoding import VCD, Imagination
from halluguard.decoding.engine.delegation import inner_name
from halluguard.decoding.methods.vcd import contrast
from halluguard.errors import HalluguardError

FAMILIES = {
    "blip": "text_decoder",
    "blip-2": "language_model",
    "instructblip": "language_model",
    "kosmos-2": "text_model",
}
TEXT = [[5, 6, 7, 8]]
NEW = {"max_new_tokens": 4, "do_sample": False}


def cloned(inputs):
    return {name: tensor.clone() for name, tensor in inputs.items()}


def first_logits(model, inputs):
    settings = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    return model.generate(**cloned(inputs), **settings).logits[0].float()


@pytest.mark.parametrize("family", FAMILIES)
def test_another_image_is_contrasted_exactly_and_nothing_is_written_to(architectures, family):
    tiny = architectures.tiny(family)
    assert inner_name(tiny.model) == FAMILIES[family]
    inputs, other = tiny.prompt(TEXT, seed=1), tiny.prompt(TEXT, seed=31)
    before = cloned(inputs)
    negative = {"pixel_values": other["pixel_values"]}
    view = VCD(alpha=1.0, beta=0.0).on(tiny.model)
    logits = view.first_token_logits(**inputs, negative_inputs=negative)
    expected = contrast(first_logits(tiny.model, inputs), first_logits(tiny.model, {**inputs, **negative}), 1.0)
    assert torch.allclose(logits, expected, atol=1e-4, rtol=1e-4)
    view.generate(**inputs, negative_inputs=negative, **NEW)
    assert all(torch.equal(before[name], inputs[name]) for name in before)


@pytest.mark.parametrize("family", ["blip-2", "instructblip"])
def test_the_branch_without_the_image_is_the_text_alone(architectures, family):
    tiny = architectures.tiny(family)
    inputs = tiny.prompt(TEXT)
    text = inputs["input_ids"][inputs["input_ids"] != 900][None]
    with torch.no_grad():
        alone = tiny.model.language_model(input_ids=text).logits[:, -1]
    seen = []

    class Watched(Imagination):
        def combine_logits(self, branches, step):
            seen.append(branches[1][:, -1])
            return super().combine_logits(branches, step)

    Watched(-1.0).on(tiny.model).generate(**inputs, **NEW)
    assert torch.allclose(seen[0], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["blip", "kosmos-2"])
def test_a_family_without_a_text_alone_says_so(architectures, family):
    tiny = architectures.tiny(family)
    with pytest.raises(HalluguardError, match=r"placeholder|counts positions"):
        Imagination(-1.0).on(tiny.model).generate(**tiny.prompt(TEXT), **NEW)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_strength_of_zero_is_the_family_s_own_answer(architectures, family):
    tiny = architectures.tiny(family)
    inputs = tiny.prompt(TEXT)
    own = tiny.model.generate(**cloned(inputs), **NEW)
    assert torch.equal(Imagination(0.0).on(tiny.model).generate(**inputs, **NEW), own)
