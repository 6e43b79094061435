"""The distilled controller: it learns the direction of Imagination, from Imagination alone."""

import functools

import pytest
import torch

from halluguard import sandbox
from halluguard.decoding import Imagination
from halluguard.decoding.distillation import distil, divergence, observe
from halluguard.decoding.negative_inputs import generator
from halluguard.errors import InputError, SettingsError, UnsupportedModelError
from halluguard.guard import Guard


@pytest.fixture(scope="module")
def guard():
    return Guard.from_pretrained(sandbox.MLLM, device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def controller(guard):
    samples = sandbox.scenes(120)
    batches = [
        guard.inputs([s.image for s in samples[i : i + 40]], ["Describe the image."] * 40) for i in range(0, 120, 40)
    ]
    state = torch.get_rng_state()
    made = distil(guard.model, batches, rank=16, steps=300, positions=256, learning_rate=2e-3)
    assert torch.equal(torch.get_rng_state(), state), "the global random state is not touched"
    return made


def test_it_explains_most_of_the_departure_of_imagination_on_images_it_has_not_seen(guard, controller):
    """Answers on other images: the two settings agree more than either does with plain decoding."""
    assert controller.trained["divergence"] < 0.5 * controller.trained["divergence untrained"]
    samples = sandbox.scenes(160)[120:]
    inputs = guard.inputs([s.image for s in samples], ["Describe the image."] * 40)
    seen = observe(guard.model, [inputs], Imagination(-1.0), controller)
    head = guard.model.get_output_embeddings().weight.detach()
    with torch.no_grad():
        left, start = (divergence(c, head, seen, generator(1), 4000).item() for c in (controller, None))
    assert left < 0.65 * start


def test_its_sign_is_that_of_imagination(guard, controller):
    """On new images, imagination adds objects that are not there, and grounding removes some."""
    samples = sandbox.scenes(200)[120:]
    images, strays = [s.image for s in samples], {}
    for setting in (-1.0, 0.0, 1.0):
        told = guard.drafts(
            images, ["Describe the image."] * len(images), decoding=Imagination(setting, controller=controller)
        )
        absent = [
            sum(name in text for name in sandbox.CATEGORIES if name not in s.names)
            for s, text in zip(samples, told, strict=True)
        ]
        strays[setting] = sum(absent)
    assert strays[-1.0] < strays[0.0] < strays[1.0]


def test_the_model_is_left_alone(guard, controller):
    assert not any("controller" in name for name, _ in guard.model.named_modules())
    assert all(parameter.grad is None for parameter in guard.model.parameters())


def test_what_cannot_be_is_refused(llava):
    with pytest.raises(InputError, match="at least one batch"):
        distil(llava.model, [])
    with pytest.raises(SettingsError, match="must be positive, got 0"):
        distil(llava.model, [], steps=0)


def test_logits_that_the_head_does_not_make_are_refused(llava, architectures):
    tiny = architectures.llava()
    plainly = type(tiny.model).forward

    class Capped(type(tiny.model)):
        @functools.wraps(type(tiny.model).forward)
        def forward(self, *args, **kwargs):
            output = plainly(self, *args, **kwargs)
            output.logits = 0.3 * output.logits
            return output

    tiny.model.__class__ = Capped
    with pytest.raises(UnsupportedModelError, match="which caps or scales them"):
        distil(tiny.model, [tiny.prompt([[5, 6], [7, 8]])], rank=4, max_new_tokens=3, steps=1)
