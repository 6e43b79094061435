"""Branches that see another image are made as the call's own inputs were made, whatever the processor, or refused."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from PIL import Image, ImageOps

from halluguard import sandbox
from halluguard.decoding import AGLA, RITUAL, VCD
from halluguard.decoding.image_transforms import TransformedImage
from halluguard.decoding.negative_inputs import Call
from halluguard.errors import InputError

NEW = {"max_new_tokens": 8, "do_sample": False}
METHODS = {"VCD": VCD(alpha=2.0), "RITUAL": RITUAL(transform="rotation"), "AGLA": AGLA(beta=0.0)}
IMAGES = [Image.effect_noise(size, 80).convert("RGB") for size in ((64, 48), (48, 64))]


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


def inputs_of(processor, images, **options):
    text = "USER: " + "<image>\n" * (len(images) // 2) + "Describe the image. ASSISTANT:"
    return processor(images=images, text=[text] * 2, return_tensors="pt", **options)


@pytest.mark.parametrize("name", METHODS)
def test_images_may_be_given_per_prompt(loaded, name):
    model, processor = loaded
    images = [scene.image for scene in sandbox.scenes(4)]
    inputs, view = inputs_of(processor, images), METHODS[name].on(model, processor)
    flat = view.generate(**inputs, images=images, **NEW)
    assert torch.equal(view.generate(**inputs, images=[images[:2], images[2:]], **NEW), flat)


def test_another_image_than_the_inputs_were_made_of_is_refused(loaded):
    model, processor = loaded
    images = [scene.image for scene in sandbox.scenes(4)]
    inputs, view = inputs_of(processor, images[:2]), VCD().on(model, processor)
    for wrong in (images[2:], images[:1], images[1::-1]):
        with pytest.raises(InputError, match="the images that the inputs were made of"):
            view.generate(**inputs, images=wrong, **NEW)


def test_an_option_that_only_the_processor_call_had_is_refused(loaded):
    model, processor = loaded
    images = [scene.image for scene in sandbox.scenes(2)]
    inputs = inputs_of(processor, images, images_kwargs={"do_normalize": False})
    with pytest.raises(InputError, match=r"processor\.image_processor"):
        VCD().on(model, processor).generate(**inputs, images=images, **NEW)


def call_of(image_processor, inputs, images=IMAGES, **processor):
    ids = torch.ones(2, 3, dtype=torch.long)
    processor = SimpleNamespace(image_processor=image_processor, **processor)
    return Call(None, processor, {"input_ids": ids, "attention_mask": ids, **inputs}, images)


def processors():
    yield "SmolVLM", {"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 64}}
    yield "Mllama", {"size": {"height": 56, "width": 56}}


@pytest.mark.parametrize(("family", "settings"), processors())
def test_families_that_nest_images_per_prompt(family, settings):
    image_processor = getattr(transformers, f"{family}ImageProcessor")(**settings)
    nested = image_processor(images=[[image] for image in IMAGES], return_tensors="pt")
    changed = image_processor(images=[[ImageOps.mirror(image)] for image in IMAGES], return_tensors="pt")
    made = TransformedImage(ImageOps.mirror)(call_of(image_processor, nested))
    assert torch.equal(made["pixel_values"], changed["pixel_values"])
    assert not torch.equal(made["pixel_values"], nested["pixel_values"])


def test_an_image_processor_that_returns_one_tensor():
    """Idefics: the processor adds the axis of a prompt's images."""
    image_processor = transformers.IdeficsImageProcessor(image_size=32)
    pixels = image_processor(images=IMAGES, return_tensors="pt")[:, None]
    made = TransformedImage(ImageOps.mirror)(call_of(image_processor, {"pixel_values": pixels}))["pixel_values"]
    mirrored = image_processor(images=[ImageOps.mirror(image) for image in IMAGES], return_tensors="pt")
    assert torch.equal(made, mirrored[:, None])


def test_defaults_of_the_processor_hold_for_the_branch_too():
    """Pix2Struct, Aria and Kosmos 2.5: options of the images stand in the processor's class."""
    image_processor = transformers.Pix2StructImageProcessor(max_patches=16)
    inputs = image_processor(images=IMAGES, return_tensors="pt", max_patches=24)
    defaults = SimpleNamespace(_defaults={"images_kwargs": {"max_patches": 24}})
    made = TransformedImage(ImageOps.mirror)(
        call_of(image_processor, {"flattened_patches": inputs["flattened_patches"]}, valid_processor_kwargs=defaults)
    )
    assert made["flattened_patches"].shape == inputs["flattened_patches"].shape
    assert not torch.equal(made["flattened_patches"], inputs["flattened_patches"])


@pytest.mark.parametrize("place", ["attribute", "call"])
def test_options_in_the_processor_s_attribute_or_in_its_call_hold_too(place):
    """Aya Vision names them in an attribute of its class; Pixtral adds the patch size where it calls."""
    image_processor = transformers.Pix2StructImageProcessor(max_patches=16)
    inputs = image_processor(images=IMAGES, return_tensors="pt", max_patches=24)

    def inside(images, **options):
        return image_processor(images=images, **options, max_patches=24), ["<image>"] * len(images)

    extra = {"images_kwargs": {"max_patches": 24}} if place == "attribute" else {"_process_images": inside}
    call = call_of(image_processor, {"flattened_patches": inputs["flattened_patches"]}, **extra)
    made = TransformedImage(ImageOps.mirror)(call)
    assert made["flattened_patches"].shape == inputs["flattened_patches"].shape
    assert not torch.equal(made["flattened_patches"], inputs["flattened_patches"])


def test_an_image_processor_that_makes_none_of_the_inputs_is_refused():
    """Fuyu: its processor cuts the patches that the model takes; the branch would equal the original."""

    def image_processor(images, return_tensors):
        return {"images": torch.zeros(len(images), 3, 8, 8)}

    with pytest.raises(InputError, match="negative_inputs"):
        TransformedImage(ImageOps.mirror)(call_of(image_processor, {"image_patches": torch.zeros(2, 4, 8)}))
