"""The branch without the image is read at its own length, and every answer stays as it was."""

import pytest
import torch

from halluguard.decoding import M3ID, PAI, VCD, VDD, Imagination
from halluguard.decoding.engine import session as session_module

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
METHODS = {
    "imagination": Imagination(-1.0),
    "VDD": VDD(alpha=2.0),
    "M3ID": M3ID(forgetting=0.5, gate=1.0),
    "PAI": PAI(gamma=3.0),
}
MODES = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "top_p": 0.9},
    "lookup": {"prompt_lookup_num_tokens": 3},
    "static": {"cache_implementation": "static"},
}
NEW = {"max_new_tokens": 8, "do_sample": False, "suppress_tokens": list(range(890, 1000))}


@pytest.fixture
def reads(llava, monkeypatch):
    """Shapes (sequences, tokens) of the decoder's forwards."""
    shapes, decoder = [], type(llava.model.model.language_model)
    forward = decoder.forward

    def reading(self, input_ids=None, inputs_embeds=None, **kwargs):
        read = input_ids if inputs_embeds is None else inputs_embeds
        shapes.append(tuple(read.shape[:2]))
        return forward(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(decoder, "forward", reading)
    return shapes


def generated(model, method, inputs, **settings):
    torch.manual_seed(0)
    return method.on(model).generate(**inputs, **{**NEW, **settings})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", METHODS)
def test_answers_are_those_of_one_batch(llava, monkeypatch, name, mode):
    inputs = llava.prompt(TEXTS[:1] if mode == "lookup" else TEXTS)
    apart = generated(llava.model, METHODS[name], inputs, **MODES[mode])
    monkeypatch.setattr(session_module, "short_ones", lambda *_: {})
    assert torch.equal(apart, generated(llava.model, METHODS[name], inputs, **MODES[mode]))


@pytest.mark.parametrize("name", METHODS)
def test_a_short_branch_is_read_at_its_own_length(llava, reads, name):
    inputs = llava.prompt(TEXTS)
    generated(llava.model, METHODS[name], inputs, max_new_tokens=2)
    length, negatives = inputs["input_ids"].shape[1], len(METHODS[name].negative_branches)
    text = length - 16 + (name == "VDD")  # VDD keeps one token for the image in its second branch
    assert reads == [(2, length), (2 * negatives, text), (2 * (1 + negatives), 1)]


def test_a_branch_as_long_as_the_original_is_read_with_it(llava, reads):
    inputs = llava.prompt(TEXTS)
    pixels = {"pixel_values": inputs["pixel_values"].flip(-1)}
    VCD().on(llava.model).generate(**inputs, negative_inputs=pixels, **{**NEW, "max_new_tokens": 2})
    assert reads == [(4, inputs["input_ids"].shape[1]), (4, 1)]


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl", "qwen3_5", "step3p7"])
def test_windows_and_recurrent_layers_are_joined_too(architectures, monkeypatch, family):
    tiny = architectures.tiny(family)
    inputs = tiny.prompt(TEXTS)
    apart = generated(tiny.model, METHODS["imagination"], inputs, num_beams=2)
    monkeypatch.setattr(session_module, "short_ones", lambda *_: {})
    assert torch.equal(apart, generated(tiny.model, METHODS["imagination"], inputs, num_beams=2))
