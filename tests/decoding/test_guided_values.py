"""PTI and VGA against vectors computed by hand, and on a tiny model."""

import pytest
import torch
from PIL import Image

from halluguard import sandbox
from halluguard.decoding import PTI, VGA
from halluguard.decoding.methods.pti import PromptDirections, parted, steered_states
from halluguard.decoding.methods.vga import caption_grounding, guided, object_grounding
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
NEW = {"max_new_tokens": 6, "do_sample": False}


def close(tensor, values):
    return torch.allclose(tensor, torch.tensor(values), atol=1e-4)


def test_pti_by_hand():
    states = torch.tensor([3.0, 4.0])
    assert close(steered_states(states, torch.tensor([0.0, -2.0]), 0.6), [4.5309, -2.1144])
    assert close(steered_states(states, torch.tensor([1.0, 0.0]), 0.6), [4.1603, 2.7735])
    assert close(steered_states(states, torch.tensor([1.0, 0.0]), 0.0), [3.0, 4.0])


def test_vga_by_hand():
    top_of_two = caption_grounding(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    assert close(top_of_two, [1.0, 0.4690])
    assert close(object_grounding(torch.tensor([[0.2, 0.2], [0.01, 0.03]])), [0.4, 0.6])
    outputs, evidence = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert close(guided(outputs, evidence, 0.2), [[1.1333, 0.0], [0.2667, 1.0]])


def test_the_top_ten_are_not_normalised():
    flat = torch.full((1, 20), 0.05)
    assert close(caption_grounding(flat), [-10 * 0.05 * torch.log(torch.tensor(0.05)).item() / 2.302585])


def test_pti_by_prefilling_without_the_last_token(architectures):
    """The steps of the authors' code: read the prompt without its last token, steer the cache, read on."""
    tiny = architectures.llava(layers=3)
    directions = PromptDirections.random(tiny.model)
    inputs = tiny.prompt([TEXTS[0]])
    ids = inputs["input_ids"]
    with torch.inference_mode():
        first = tiny.model(**{**inputs, "input_ids": ids[:, :-1], "attention_mask": None}, use_cache=True)
        cache = first.past_key_values
        image = (ids[0, :-1] == tiny.model.config.image_token_index).nonzero().flatten()
        for layer, kept in enumerate(cache.layers):
            for kind, lam in (("keys", 0.1), ("values", 0.6)):
                states = getattr(kept, kind)
                of_image, of_text = (getattr(directions, f"{part}_{kind}")[layer] for part in ("image", "text"))
                states[:, :, image] = steered_states(states[:, :, image], of_image[:, None], lam)
                states[:, :, -1] = steered_states(states[:, :, -1], of_text, lam)
        second = tiny.model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True)
        third = tiny.model(input_ids=second.logits[:, -1:].argmax(-1), past_key_values=cache)
    output = (
        PTI(directions)
        .on(tiny.model)
        .generate(**inputs, **NEW, output_logits=True, return_dict_in_generate=True, suppress_tokens=[])
    )
    assert torch.allclose(output.logits[0], second.logits[:, -1], atol=1e-4)
    assert torch.allclose(output.logits[1], third.logits[:, -1], atol=1e-4)


def test_directions_survive_a_file_and_are_fitted_from_boxes(tmp_path):
    model, processor = sandbox.load_mllm()
    scenes = sandbox.scenes(3)
    boxes = [[thing.box for thing in scene.objects] for scene in scenes]
    directions = PromptDirections.fit(model, processor, [s.image for s in scenes], boxes, [s.names for s in scenes])
    assert directions.image_keys.shape == directions.text_values.shape == (3, 4, 48)
    directions.save(tmp_path / "pti.safetensors")
    assert repr(PTI(tmp_path / "pti.safetensors").directions) == repr(directions)
    with pytest.raises(InputError, match="two images with boxes"):
        PromptDirections.fit(model, processor, [scenes[0].image], [[]], [[]])


def test_objects_and_background_are_parted_without_overlap():
    image = Image.new("RGB", (8, 6), "white")
    inside, outside = parted(image, [(1.0, 1.0, 4.0, 3.0)])
    assert sum(pixel[0] > 0 for pixel in inside.getdata()) == 6
    assert sum(pixel[0] > 0 for pixel in outside.getdata()) == 8 * 6 - 6


def test_directions_of_another_model_are_refused(architectures):
    tiny = architectures.llava(layers=3)
    short = PromptDirections(*(torch.ones(2, 4, 16) for _ in range(4)))
    with pytest.raises(InputError, match="another model"):
        PTI(short).on(tiny.model).generate(**tiny.prompt(TEXTS), **NEW)
    with pytest.raises(SettingsError, match="directions made for this model"):
        PTI().on(tiny.model).generate(**tiny.prompt(TEXTS), **NEW)


@pytest.mark.parametrize("name", ["PTI", "VGA"])
def test_an_answer_that_has_begun_goes_on_as_if_never_interrupted(architectures, name):
    tiny = architectures.llava(layers=3)
    method = VGA(beta=30.0, layers=(0, 99)) if name == "VGA" else PTI(PromptDirections.random(tiny.model), 2.0, 4.0)
    inputs = tiny.prompt([TEXTS[0]])
    view = method.on(tiny.model)
    whole = view.generate(**inputs, **NEW, suppress_tokens=[900])
    length = inputs["input_ids"].shape[1]
    begun = {**inputs, "input_ids": whole[:, : length + 3], "attention_mask": torch.ones(1, length + 3).long()}
    rest = view.generate(**begun, answered=3, max_new_tokens=3, do_sample=False, suppress_tokens=[900])
    assert torch.equal(rest, whole)


@pytest.mark.parametrize("name", ["PTI", "VGA"])
def test_the_kernel_of_the_model_is_kept(architectures, name, monkeypatch):
    """No attention map: the fused kernel runs once per layer and forward."""
    tiny = architectures.llava(layers=3)
    method = VGA(beta=30.0, layers=(0, 99)) if name == "VGA" else PTI(PromptDirections.random(tiny.model), 2.0, 4.0)
    calls, own = [], torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(1)
        return own(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    tiny.model.generate(**tiny.prompt(TEXTS), **NEW)
    plain = len(calls)
    method.on(tiny.model).generate(**tiny.prompt(TEXTS), **NEW)
    assert len(calls) == 2 * plain


def test_vga_is_guided_by_the_named_objects():
    model, processor = sandbox.load_mllm()
    image = sandbox.scenes(1)[0].image
    inputs = processor(images=[image], text=["USER: <image>\nDescribe the image. ASSISTANT:"], return_tensors="pt")
    logits = [
        VGA(beta=5.0, objects=objects).on(model, processor).generate(
            **inputs, **NEW, output_logits=True, return_dict_in_generate=True
        ).logits[1]
        for objects in ((), [["dog"]], [["car"]])
    ]  # fmt: skip
    assert not torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[1], logits[2])
    with pytest.raises(InputError, match="one list of objects"):
        VGA(objects=[["dog"], ["cat"]]).on(model, processor).generate(**inputs, **NEW)


def test_models_without_image_tokens_are_refused(architectures):
    tiny = architectures.tiny("mllama")
    for method in (VGA(), PTI(PromptDirections.random(tiny.model))):
        with pytest.raises(UnsupportedModelError):
            method.on(tiny.model).generate(**tiny.prompt(TEXTS), **NEW)


@pytest.mark.parametrize("make", [lambda: VGA(beta=-1), lambda: VGA(layers=(5, 2)), lambda: PTI(parts="words")])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(SettingsError):
        make()
