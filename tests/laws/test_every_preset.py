"""Every preset of every method, by its name, on the sandbox model: from a name to an answer."""

import math

import pytest

from halluguard import sandbox
from halluguard.decoding import METHODS, get_method
from halluguard.errors import SettingsError
from halluguard.guard import Guard

NAMES = [":".join([name, preset]).rstrip(":") for name, cls in METHODS.items() for preset in ("", *cls.PRESETS)]


@pytest.fixture(scope="module")
def guard():
    return Guard.from_pretrained(sandbox.MLLM)


@pytest.mark.parametrize("name", NAMES)
def test_from_a_name_to_an_answer(guard, name):
    method = get_method(name, **METHODS[name.partition(":")[0]].required_settings(guard.model))
    images = [sample.image for sample in sandbox.scenes(2)]
    prompts = ["Describe the image.", "Is there a dog in the image?"]
    answers = guard.batch(images, prompts, decoding=method, max_new_tokens=12)
    assert all(answer.text for answer in answers)
    if name.endswith(":off"):
        assert method.is_identity
        assert [a.text for a in answers] == [a.text for a in guard.batch(images, prompts, max_new_tokens=12)]
    margins = guard.margins(images, "Is there a dog in the image?", decoding=method)
    assert all(math.isfinite(margin) for margin in margins)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="VCD"):
        get_method("Magic")
    with pytest.raises(SettingsError, match="pope script"):
        get_method("VCD:magic")
    with pytest.raises(SettingsError, match="docstring"):
        get_method("VCD", magic=1)


def test_a_method_is_found_by_its_file_and_imported_from_the_folder():
    from halluguard.decoding import VCD

    assert METHODS["VCD"] is VCD
    with pytest.raises(ImportError):
        exec("from halluguard.decoding import Magic")
