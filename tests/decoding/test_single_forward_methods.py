"""MARINE, VAF, AllPath and visual entropy against vectors computed by hand."""

import json

import pytest
import torch

from halluguard import Guard, sandbox
from halluguard.decoding import MARINE, VAF, VGA, AllPath, VisualEntropy
from halluguard.decoding.methods.all_path import read_heads, scaled
from halluguard.decoding.methods.marine import guided
from halluguard.decoding.methods.vaf import amplified
from halluguard.decoding.methods.visual_entropy import _Bound, entropy, penalised
from halluguard.errors import InputError, SettingsError


def close(tensor, values):
    return torch.allclose(tensor, torch.tensor(values), atol=1e-4)


def test_marine_by_hand():
    plain, hinted = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0])
    assert close(guided(plain, hinted, 0.7), [-1.5513, -1.1513, -0.7513])
    assert close(guided(plain, hinted, 0.0), [-0.4076, -1.4076, -2.4076])
    assert close(guided(plain, hinted, 1.0), [-2.4076, -1.4076, -0.4076])


def test_vaf_by_hand():
    scores = torch.tensor([1.0, 2.0, -1.0, 0.5])
    image, system = torch.tensor([False, True, True, False]), torch.tensor([True, False, False, False])
    edited = amplified(scores, image, system, 1.15, 0.95)
    assert close(edited, [0.95, 2.3, -1.15, 0.5])
    assert close(edited.softmax(-1), [0.1780, 0.6867, 0.0218, 0.1135])


def test_all_path_by_hand():
    assert close(scaled(torch.tensor([1.0, 0.0, 0.0, 3.0]), torch.tensor([2.0, 0.0])), [2.0, 0.0, 0.0, 0.0])


def test_visual_entropy_by_hand():
    columns = torch.tensor([[0.0, 1.0986123, 10.0], [0.0, 0.0, 0.0]])
    assert close(entropy(columns), [1.0, 0.8113, 0.0007])
    entropies = torch.tensor([1.0, 0.0007])
    assert close(penalised(torch.tensor([2.0, 1.9]), entropies, 0.75, 0.5), [1.25, 1.8995])
    assert close(penalised(torch.tensor([1.9, 2.0]), entropies, 0.75, 0.5), [1.9, 2.0])


def test_visual_entropy_in_chunks_equals_the_whole(architectures, monkeypatch):
    from halluguard.decoding.methods import visual_entropy

    tiny = architectures.llava()
    states = torch.randn(9, 64, generator=torch.Generator().manual_seed(0))
    bound = object.__new__(_Bound)
    bound.view = tiny.model
    whole = entropy(tiny.model.lm_head(states))
    monkeypatch.setattr(visual_entropy, "POSITIONS", 4)
    assert torch.allclose(bound._of(states), whole, atol=1e-5)


def test_lists_of_heads_are_read_as_the_authors_write_them(tmp_path):
    for name, order in (("format", range(6)), ("image", range(5, -1, -1))):
        rows = [json.dumps([[i, 0], float(score)]) for score, i in enumerate(order)]
        (tmp_path / name).write_text("\n".join(rows))
    settings = read_heads(tmp_path / "format", tmp_path / "image", (2, 1, 2))
    assert settings == {"bad": ((0, 0), (1, 0)), "good": ((5, 0), (1, 0), (0, 0))}
    (tmp_path / "broken").write_text("{}\n")
    with pytest.raises(InputError, match="score"):
        read_heads(tmp_path / "broken", tmp_path / "image")


def test_a_list_for_another_model_is_refused(architectures):
    tiny = architectures.llava()
    with pytest.raises(SettingsError, match="made for this model"):
        AllPath(bad=((31, 5),)).on(tiny.model).generate(**tiny.prompt([[5, 6]]), max_new_tokens=1)


def test_a_head_in_both_lists_is_good(architectures):
    tiny = architectures.llava()
    run = [
        AllPath(good=((0, 0),), bad=bad).on(tiny.model).generate(**tiny.prompt([[5, 6]]), max_new_tokens=5)
        for bad in ((), ((0, 0),))
    ]
    assert torch.equal(*run)


def test_a_prompt_without_objects_is_answered_plainly():
    guard = Guard.from_pretrained(sandbox.MLLM)
    images = [scene.image for scene in sandbox.scenes(2)]
    plain = guard.batch(images, max_new_tokens=12)
    assert [a.text for a in guard.batch(images, decoding=MARINE(objects=[[], []]), max_new_tokens=12)] == [
        a.text for a in plain
    ]
    mixed = guard.batch(images, decoding=MARINE(objects=[["dog"], []], guidance=1.0), max_new_tokens=12)
    assert mixed[1].text == plain[1].text
    with pytest.raises(InputError, match="one list of objects"):
        guard.batch(images, decoding=MARINE(objects=[["dog"]]), max_new_tokens=2)


@pytest.mark.parametrize("make", [lambda: VAF(enhance=0), lambda: VisualEntropy(gamma=2), lambda: MARINE(guidance=2)])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(SettingsError):
        make()


@pytest.mark.parametrize("method", [VAF(), VGA()], ids=repr)
def test_the_defaults_edit_a_layer_of_a_shallow_model(architectures, method):
    tiny = architectures.llava(layers=3)
    new = {"max_new_tokens": 2, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    inputs = tiny.prompt([[5, 6, 7, 8]])
    plain, edited = (model.generate(**inputs, **new).logits[1] for model in (tiny.model, method.on(tiny.model)))
    assert not torch.equal(plain, edited)
