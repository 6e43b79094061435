"""The further rows of the methods, against rows built by hand and recomputed from scratch."""

import pytest
import torch
from PIL import Image

from halluguard.decoding import image_transforms
from halluguard.decoding.methods import agla, contrast, icd, ritual, sid, vdd
from halluguard.decoding.negative_inputs import Call
from halluguard.errors import InputError, SettingsError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
MIDDLE = image_transforms.Cropped(0.75, seed=None)
NEW = {"max_new_tokens": 8, "do_sample": False}
MODES = {"greedy": {}, "three beams": {"num_beams": 3}, "static cache": {"cache_implementation": "static"}}


def by_hand(tiny, further):
    """Original and further rows, each prompt alone and unpadded; `further(ids, pixels)` gives the inputs of a row."""
    whole, rows = tiny.prompt(TEXTS), []
    for i in range(len(TEXTS)):
        ids = whole["input_ids"][i][whole["attention_mask"][i].bool()][None]
        pixels = whole["pixel_values"][i : i + 1]
        rows.append([{"input_ids": ids, "pixel_values": pixels}, *further(ids, pixels)])
    return whole, rows


def with_words(ids, pixels):
    end = int((ids[0] == 900).nonzero()[-1]) + 1
    words = torch.tensor([[20, 21, 22]])
    return [{"input_ids": torch.cat([ids[:, :end], words, ids[:, end:]], 1), "pixel_values": pixels}]


def without_and_unknown(ids, pixels):
    start = int((ids[0] == 900).nonzero()[0])
    text = ids[ids != 900][None]
    return [{"input_ids": text}, {"input_ids": torch.cat([text[:, :start], torch.tensor([[3]]), text[:, start:]], 1)}]


CASES = {
    "ICD": (icd.ICD(alpha=2.0, instruction=[20, 21, 22]), with_words),
    "VDD": (vdd.VDD(alpha=1.0), without_and_unknown),
    "RITUAL": (
        ritual.RITUAL(transform="vertical flip"),
        lambda ids, pixels: [{"input_ids": ids, "pixel_values": pixels.flip(-2)}],
    ),
    "AGLA": (
        agla.AGLA(beta=0.01),
        lambda ids, pixels: [{"input_ids": ids, "pixel_values": MIDDLE.pixels(pixels)}],
    ),
    "a crop and a mask": (
        contrast.Contrast(("crop", "mask"), beta=0.01),
        lambda ids, pixels: [
            {"input_ids": ids, "pixel_values": image_transforms.Cropped().pixels(pixels)},
            {"input_ids": ids, "pixel_values": image_transforms.Masked().pixels(pixels)},
        ],
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_rows_equal_rows_from_scratch(llava, from_scratch, monkeypatch, name, mode):
    method, further = CASES[name]
    monkeypatch.setattr(vdd.UnknownImage, "_unknown", lambda self, call: 3)  # a tiny model has no tokenizer
    inputs, rows = by_hand(llava, further)
    view = method.on(llava.model).generate(**inputs, **NEW, **MODES[mode])
    assert torch.equal(view, from_scratch(llava.model, method, rows, inputs, **NEW, **MODES[mode]))


def test_the_instruction_goes_after_the_image_on_a_real_processor():
    from halluguard import sandbox

    model, processor = sandbox.load_mllm()
    ids = processor.tokenizer("USER: <image> Describe the image. ASSISTANT:", return_tensors="pt")["input_ids"]
    call = Call(model, processor, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    made = icd.PrefixedPrompt("the image shows")(call)["input_ids"][0].tolist()
    image = model.config.image_token_id
    words = processor.tokenizer("the image shows", add_special_tokens=False)["input_ids"]
    before = ids[0].tolist()
    at = before.index(image) + 1
    assert made == before[:at] + words + before[at:]
    with pytest.raises(InputError, match="tokenizer"):
        icd.PrefixedPrompt("words")(Call(model, None, call.inputs))


def test_every_transformation_keeps_size_and_is_a_function_of_image_and_seed():
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    for name in ritual.TRANSFORMATIONS:
        method = ritual.RITUAL(transform=name)
        once, again = method.transformed(image), method.transformed(image.copy())
        assert once.size == image.size
        assert once.mode == "RGB"
        assert once.tobytes() == again.tobytes() != image.tobytes()
    names = {ritual.RITUAL(seed=seed).transformed(image).tobytes() for seed in range(20)}
    assert len(names) > 5, "the seed draws"


def test_a_view_that_changes_the_size_is_refused():
    with pytest.raises(InputError, match="size"):
        image_transforms.of_one_size(lambda image: image.resize((5, 5)))(Image.new("RGB", (20, 10)))
    with pytest.raises(SettingsError, match="callable"):
        agla.AGLA(view="middle")
    assert image_transforms.Cropped(1.0)(Image.new("RGB", (20, 10))).size == (20, 10)


def test_middle_of_an_image_and_of_pixels_agree():
    image = Image.new("RGB", (40, 40))
    image.paste((255, 255, 255), (10, 10, 30, 30))  # the middle half
    assert (
        min(image_transforms.Cropped(0.5, seed=None)(image).convert("L").tobytes()) > 150
    )  # the resize looks a little past its box
    pixels = torch.zeros(1, 3, 40, 40)
    pixels[..., 10:30, 10:30] = 1
    assert image_transforms.Cropped(0.5, seed=None).pixels(pixels).min() > 0.8


def test_a_masked_image_keeps_its_share_and_its_mean_elsewhere():
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    masked = image_transforms.Masked(share=0.75, grid=8)(image)
    pairs = zip(image.get_flattened_data(), masked.get_flattened_data(), strict=True)
    assert sum(a == b for a, b in pairs) / (64 * 48) == pytest.approx(0.25, abs=0.01)
    assert image_transforms.Masked(share=0.0)(image).tobytes() == image.tobytes()
    assert len(set(image_transforms.Masked(share=1.0)(image).get_flattened_data())) == 1
    assert (
        image_transforms.Masked(seed=1)(image).tobytes()
        != masked.tobytes()
        == image_transforms.Masked()(image).tobytes()
    )


def test_a_masked_image_and_masked_pixels_agree():
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, 48, 64, 3).permute(0, 3, 1, 2)
    seen = image_transforms.Masked(grid=5)(image)
    shown = image_transforms.Masked(grid=5).pixels(pixels.double())
    same = torch.frombuffer(bytearray(seen.tobytes()), dtype=torch.uint8).reshape(1, 48, 64, 3).permute(0, 3, 1, 2)
    assert (shown - same).abs().max() < 1


def test_a_crop_is_drawn_once_for_all_images():
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    crops = {image_transforms.Cropped(0.5, seed=seed)(image).tobytes() for seed in (0, 0, 1, 2, None)}
    assert len(crops) == 4
    assert image_transforms.Cropped(1.0)(image).tobytes() == image.tobytes()


@pytest.mark.parametrize("change", ["noise", (), ("crop", 3), None])
def test_changes_that_are_none_are_refused(change):
    with pytest.raises(SettingsError, match="change must"):
        contrast.Contrast(change)


def test_spatial_changes_of_tiles_are_refused_without_the_image():
    with pytest.raises(InputError, match="whole images"):
        ritual.RITUAL(transform="horizontal flip").flipped_pixels(torch.zeros(1, 2, 3, 8, 8))
    with pytest.raises(InputError, match="whole images"):
        MIDDLE.pixels(torch.zeros(6, 12))
    with pytest.raises(InputError, match="whole images"):
        image_transforms.Masked().pixels(torch.zeros(1, 2, 3, 8, 8))


def test_sid_reads_the_same_inputs_in_both_rows(llava):
    inputs = llava.prompt(TEXTS)
    assert sid.same_inputs(Call(llava.model, None, inputs)) == inputs
