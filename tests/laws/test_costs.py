"""Each method states what it costs; here it is counted."""

import pytest

from halluguard import sandbox
from halluguard.decoding import METHODS, get_method

TOKENS = 8


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


@pytest.fixture
def counted(loaded, monkeypatch):
    """Rows and readings of the decoder, and images encoded."""
    counts = {"rows": [], "images": 0}
    tower, decoder = (type(part) for part in (loaded[0].model.vision_tower, loaded[0].model.language_model))
    encode, read = tower.forward, decoder.forward

    def encoding(self, pixel_values, *args, **kwargs):
        counts["images"] += len(pixel_values)
        return encode(self, pixel_values, *args, **kwargs)

    def reading(self, input_ids=None, inputs_embeds=None, **kwargs):
        fed = input_ids if inputs_embeds is None else inputs_embeds
        if fed.shape[1] == 1:
            counts["rows"].append(len(fed))
        return read(self, input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)

    monkeypatch.setattr(tower, "forward", encoding)
    monkeypatch.setattr(decoder, "forward", reading)
    return counts


@pytest.mark.parametrize("name", METHODS)
def test_the_stated_cost_is_what_is_counted(loaded, counted, name):
    model, processor = loaded
    image = sandbox.scenes(1)[0].image
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}],
        add_generation_prompt=True,
    )
    inputs = processor(images=[image], text=[text], return_tensors="pt")
    method = get_method(name, **METHODS[name].required_settings(model))
    new = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    method.on(model, processor).generate(**inputs, images=[image], **new)
    looks = counted["rows"]
    # the prompt's own reading predicts the first token; a look-ahead is made for that one too
    per_token = (len(looks) + 1) // TOKENS
    cost = METHODS[name].cost
    assert (max(looks), per_token, counted["images"] - 1) == (cost.branches, cost.readings, cost.encodings)


def test_every_preset_has_a_source():
    for name, cls in METHODS.items():
        assert cls.reference, f"{name} must state its paper and code"
        for preset in set(cls.PRESETS) - {"off"}:
            assert cls.PRESETS[preset].source, f"{name}:{preset} must state the source of its numbers"
