"""The folded view equals recomputing every branch from scratch, in every mode of transformers' generate."""

import pytest
import torch

from halluguard.decoding import VCD, Imagination
from halluguard.decoding.engine.compatibility import cache_name
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]  # unequal: the second is left-padded
NEW = {"max_new_tokens": 8, "do_sample": False}
MODES = {
    "greedy": {},
    "three beams": {"num_beams": 3},
    "three beams, two returned": {"num_beams": 3, "num_return_sequences": 2},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "prefix function": {"prefix_allowed_tokens_fn": lambda prompt, ids: list(range(100, 300))},
    "stop criteria": {"eos_token_id": list(range(3, 400))},
}
SAMPLING = {
    "temperature and top-p": {"do_sample": True, "temperature": 0.7, "top_p": 0.9},
    "three returned": {"do_sample": True, "num_return_sequences": 3, "top_k": 20},
}


def branches_without_image(tiny, texts):
    """Original and text-only branches, each prompt alone."""
    whole = tiny.prompt(texts)
    per = len(whole["pixel_values"]) // len(texts)
    branches = []
    for i in range(len(texts)):
        ids = whole["input_ids"][i][whole["attention_mask"][i].bool()][None]
        image = whole["pixel_values"][i * per : (i + 1) * per]
        branches.append([{"input_ids": ids, "pixel_values": image}, {"input_ids": ids[ids != 900][None]}])
    return branches


def generated(tiny, method, inputs, seed=0, **settings):
    torch.manual_seed(seed)
    return method.on(tiny.model).generate(**inputs, **{**NEW, **settings})


def reference(tiny, method, branches, inputs, from_scratch, seed=0, **settings):
    torch.manual_seed(seed)
    return from_scratch(tiny.model, method, branches, inputs, **{**NEW, **settings})


@pytest.mark.parametrize("mode", [*MODES, *SAMPLING])
@pytest.mark.parametrize("imagination", [-1.0, 0.5])
def test_without_image_equals_the_text_only_prompt(llava, from_scratch, mode, imagination):
    """Left-padded, unequal prompts; the negative branch has another length than the original."""
    method = (AfterTheTilt if mode in SAMPLING else Imagination)(imagination)
    inputs, settings = llava.prompt(TEXTS), {**MODES, **SAMPLING}[mode]
    expected = reference(llava, method, branches_without_image(llava, TEXTS), inputs, from_scratch, **settings)
    assert torch.equal(generated(llava, method, inputs, **settings), expected)
    assert not torch.equal(llava.model.generate(**inputs, **NEW), expected), "the method must have an effect here"


class AfterTheTilt(Imagination):
    """Truncated after the scores are combined, as in the reference."""

    keeps_sampling_support = False


@pytest.mark.parametrize("mode", list(MODES))
def test_a_noised_image_equals_two_models_from_scratch(llava, from_scratch, mode):
    method, inputs = VCD(alpha=2.0, step=900), llava.prompt(TEXTS)
    branches = branches_without_image(llava, TEXTS)
    for original, negative in branches:
        negative.update(original, pixel_values=method.noised_pixels(original["pixel_values"]))
    expected = reference(llava, method, branches, inputs, from_scratch, **MODES[mode])
    assert torch.equal(generated(llava, method, inputs, **MODES[mode]), expected)


def test_two_images_in_one_row(llava, from_scratch):
    inputs = llava.prompt(TEXTS, images=2)
    branches = []
    for i, text in enumerate(TEXTS):
        alone = llava.prompt([text], seed=1 + i, images=2)
        ids = alone["input_ids"]
        branches.append(
            [{"input_ids": ids, "pixel_values": alone["pixel_values"]}, {"input_ids": ids[ids != 900][None]}]
        )
    method = Imagination(-1.0)
    for settings in ({}, {"num_beams": 3}):
        expected = reference(llava, method, branches, inputs, from_scratch, **settings)
        assert torch.equal(generated(llava, method, inputs, **settings), expected)


def test_prompt_lookup_gives_the_same_answer(llava):
    inputs = llava.prompt(TEXTS[:1])
    for method in (VCD(), Imagination(-1.0), Imagination(-1.0, schedule=lambda index: 1.0 + index)):
        expected = generated(llava, method, inputs)
        assert torch.equal(generated(llava, method, inputs, prompt_lookup_num_tokens=3), expected)


def test_streaming_gives_the_tokens_one_by_one(llava):
    from transformers.generation.streamers import BaseStreamer

    class Heard(BaseStreamer):
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    heard, inputs = Heard(), llava.prompt(TEXTS[:1])
    output = generated(llava, Imagination(-1.0), inputs, streamer=heard)
    assert heard.tokens == output[0].tolist()
    assert heard.ended


def test_output_dict_holds_the_original_rows_and_no_cache(llava):
    inputs = llava.prompt(TEXTS)
    output = generated(
        llava, VCD(), inputs, return_dict_in_generate=True, output_scores=True, output_hidden_states=True
    )
    assert [s.shape for s in output.scores] == [(2, 1000)] * 8
    assert output.hidden_states[0][0].shape[0] == 2
    assert cache_name(output) is None, "the cache holds the negative branches too"


def test_a_negative_row_may_be_longer_than_the_original(llava, from_scratch):
    """The originals are padded inside the view; the answer keeps the caller's prompt."""
    inputs = llava.prompt(TEXTS)
    longer = llava.prompt([[20, 21, 22, 23, 24, *text] for text in TEXTS])
    branches = []
    for i, (original, _) in enumerate(branches_without_image(llava, TEXTS)):
        ids = longer["input_ids"][i][longer["attention_mask"][i].bool()][None]
        branches.append([original, {"input_ids": ids, "pixel_values": original["pixel_values"]}])
    negative = {"input_ids": longer["input_ids"], "attention_mask": longer["attention_mask"]}
    for settings in ({}, {"num_beams": 3}, {"cache_implementation": "static"}):
        method = Imagination(-1.0)
        expected = reference(llava, method, branches, inputs, from_scratch, **settings)
        assert torch.equal(generated(llava, method, inputs, negative_inputs=negative, **settings), expected)


def test_a_constraint_that_leaves_no_plausible_token_is_obeyed(llava):
    """With min_new_tokens the end is forbidden; masking everything else first would leave nothing to choose."""
    inputs = llava.prompt(TEXTS)
    first = generated(llava, VCD(beta=1.0), inputs, max_new_tokens=1)[:, -1].unique().tolist()
    output = generated(llava, VCD(beta=1.0), inputs, eos_token_id=first, min_new_tokens=4, max_new_tokens=4)
    assert not set(output[:, -4:].flatten().tolist()) & set(first)
    sampled = generated(llava, VCD(beta=1.0), inputs, eos_token_id=first, min_new_tokens=4, do_sample=True)
    assert sampled.shape[1] >= inputs["input_ids"].shape[1] + 4


def test_imagination_may_differ_per_prompt(llava):
    inputs = llava.prompt(TEXTS)
    grounded, imaginative = (generated(llava, Imagination(e), inputs, num_beams=2) for e in (-1.0, 1.0))
    mixed = generated(llava, Imagination([-1.0, 1.0]), inputs, num_beams=2)
    assert torch.equal(mixed, torch.stack([grounded[0], imaginative[1]]))
    with pytest.raises(SettingsError, match="2 prompts"):
        generated(llava, Imagination([-1.0, 1.0, 0.5]), inputs)


def test_first_token_logits_are_finite_and_before_the_support(llava):
    inputs = llava.prompt(TEXTS)
    logits = VCD(beta=0.9).on(llava.model).first_token_logits(**inputs)
    assert logits.shape == (2, 1000)
    assert logits.isfinite().all()
    plain = llava.model(**{k: v[:1] for k, v in inputs.items()}).logits[:, -1]
    assert torch.allclose(Imagination(0.0).on(llava.model).first_token_logits(**inputs)[:1], plain, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"past_key_values": object()}, "past_key_values should be left out"),
        ({"cache": object()}, "cache should be left out"),
        ({"prefill_chunk_size": 4}, "prefill_chunk_size should be off"),
        ({"negative_inputs": {"pixel": 1}}, "should name inputs of the original branch"),
        ({"negative_inputs": [{}, {}]}, "1 negative branch"),
    ],
)
def test_what_holds_only_the_original_branch_is_refused(llava, arguments, message):
    with pytest.raises((InputError, SettingsError), match=message):
        VCD().on(llava.model).generate(**llava.prompt(TEXTS), **NEW, **arguments)


def test_a_call_without_an_image_is_refused(llava):
    inputs = llava.prompt(TEXTS)
    text = {"input_ids": inputs["input_ids"].where(inputs["input_ids"] != 900, 7)}
    with pytest.raises(InputError, match="at least one image placeholder"):
        Imagination(-0.5).on(llava.model).generate(**text, **NEW)
    with pytest.raises(InputError, match="no pixel_values"):
        VCD().on(llava.model).generate(**text, **NEW)


def test_a_view_cannot_be_called_directly(llava):
    with pytest.raises(UnsupportedModelError, match="only generates"):
        VCD().on(llava.model)(**llava.prompt(TEXTS))


def with_class(model, cls):
    other = object.__new__(cls)
    other.__dict__.update(model.__dict__)
    return other


def test_own_generate_is_refused_by_name(llava):
    class OwnGenerate(type(llava.model)):
        def generate(self, *args, **kwargs):
            return self.model.language_model.generate(*args, **kwargs)

    with pytest.raises(UnsupportedModelError, match="OwnGenerate has a generate of its own"):
        VCD().on(with_class(llava.model, OwnGenerate))


def test_own_generate_that_ends_in_that_of_transformers_runs(llava):
    """Janus has one, which only chooses between text and images."""

    class Choosing(type(llava.model)):
        def generate(self, generation_mode="text", **kwargs):
            return super().generate(**kwargs)

    method, inputs = Imagination(-1.0), llava.prompt(TEXTS)
    expected = method.on(llava.model).generate(**inputs, **NEW)
    assert torch.equal(method.on(with_class(llava.model, Choosing)).generate(**inputs, **NEW), expected)


def test_generate_replaced_on_the_instance_is_refused(llava, monkeypatch):
    monkeypatch.setitem(llava.model.__dict__, "generate", lambda *a, **k: None)
    with pytest.raises(UnsupportedModelError, match="replaced on the instance"):
        VCD().on(llava.model)


def test_no_folded_forward_is_an_error_not_a_plain_answer(llava):
    """A loop of the caller's that never calls the model through the view."""
    with pytest.raises(UnsupportedModelError, match="had no effect"):
        VCD().on(llava.model).generate(
            **llava.prompt(TEXTS), **NEW, custom_generate=lambda model, input_ids, **_: input_ids
        )
