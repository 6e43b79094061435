"""Calls as people make them: adapters, maps asked for, batches with and without images, calls inside calls."""

import pytest
import torch

from halluguard.decoding import VCD, DecodingMethod, Imagination
from halluguard.decoding.negative_inputs import NoImage, TextOnly
from halluguard.errors import InputError, UnsupportedModelError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
# A placeholder in the answer would stand for an image that does not exist.
NEW = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": list(range(890, 1000))}
MODES = {"greedy": {}, "beams": {"num_beams": 3}}
METHODS = {"imagination": Imagination(-1.0), "VCD": VCD(alpha=2.0, step=900, beta=0.0)}


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def tiny(request, architectures):
    return architectures.tiny(request.param)


def answer(model, inputs, **settings):
    return model.generate(**inputs, **{**NEW, **settings})[:, inputs["input_ids"].shape[1] :]


def mixed(architectures, tiny):
    """A prompt with an image above a shorter one without; each alone beside them."""
    seeing, ids = tiny.prompt(TEXTS[:1]), torch.tensor([[architectures.BOS, *TEXTS[1]]])
    blind = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    length = seeing["input_ids"].shape[1]
    both = dict(seeing)
    for name in seeing:
        if name in blind or "type_ids" in name:
            row = blind.get(name, torch.zeros_like(ids))
            row = torch.nn.functional.pad(row, [length - row.shape[1], 0], value=0)
            both[name] = torch.cat([seeing[name], row])
    return both, seeing, blind


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", METHODS)
def test_prompts_without_an_image_in_a_batch_are_answered_as_by_the_plain_model(architectures, tiny, name, mode):
    both, seeing, blind = mixed(architectures, tiny)
    view = METHODS[name].on(tiny.model)
    together = answer(view, both, **MODES[mode])
    assert torch.equal(together[:1], answer(view, seeing, **MODES[mode]))
    assert torch.equal(together[1:], answer(tiny.model, blind, **MODES[mode]))
    assert not torch.equal(together[:1], answer(tiny.model, seeing, **MODES[mode])), "the method must have an effect"


@pytest.mark.parametrize("mode", MODES)
def test_maps_and_states_that_are_asked_for_are_the_original_row_s(architectures, tiny, mode):
    model = tiny.model
    model.set_attn_implementation("eager")
    try:
        wanted = {"output_attentions": True, "output_hidden_states": True, "return_dict_in_generate": True}
        inputs, settings = tiny.prompt(TEXTS), {**NEW, **MODES[mode], **wanted, "max_new_tokens": 1}
        plain = model.generate(**inputs, **settings)
        view = Imagination(-1.0).on(model).generate(**inputs, **settings)
    finally:
        model.set_attn_implementation("sdpa")
    for of_plain, of_view in zip(plain.attentions[0], view.attentions[0], strict=True):
        assert torch.allclose(of_plain, of_view, atol=1e-6)
    for of_plain, of_view in zip(plain.hidden_states[0], view.hidden_states[0], strict=True):
        assert torch.allclose(of_plain, of_view, atol=1e-4)


def test_an_adapter_stays_active_inside_the_view(architectures):
    peft = pytest.importorskip("peft")
    tiny = architectures.llava(seed=3)
    inputs = tiny.prompt(TEXTS)
    before = answer(Imagination(-1.0).on(tiny.model), inputs)
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|v_proj)", init_lora_weights=False)
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(tiny.model, config)
    adapted = answer(Imagination(-1.0).on(wrapped), inputs)
    with wrapped.disable_adapter():
        assert torch.equal(answer(Imagination(-1.0).on(wrapped), inputs), before)
    merged = answer(Imagination(-1.0).on(wrapped.merge_and_unload()), inputs)
    assert torch.equal(adapted, merged)
    assert not torch.equal(adapted, before), "the adapter must have an effect"


def test_prompt_learning_acts_outside_the_model_and_is_refused(architectures):
    peft = pytest.importorskip("peft")
    model = architectures.llava(seed=3).model
    text = model.config.text_config
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=2,
        num_layers=text.num_hidden_layers,
        token_dim=text.hidden_size,
        num_attention_heads=text.num_attention_heads,
        num_transformer_submodules=1,
    )
    wrapped = peft.get_peft_model(model, config)
    with pytest.raises(UnsupportedModelError, match="prompt learning"):
        VCD().on(wrapped)


def test_a_call_in_the_middle_of_another_changes_neither(tiny):
    """Families with rope_deltas keep them on the module: another image's used to leak into the next step."""
    first, second = tiny.prompt(TEXTS), tiny.prompt(TEXTS[:1], images=2)
    view, other = Imagination(-1.0).on(tiny.model), Imagination(0.5).on(tiny.model)
    alone, alone_too = answer(view, first), answer(other, second)
    inner = []

    def interrupting(ids, scores):
        inner.append(answer(other, second))
        tiny.model.generate(**second, **NEW)
        return scores

    assert torch.equal(answer(view, first, logits_processor=[interrupting]), alone)
    assert all(torch.equal(one, alone_too) for one in inner)
    assert len(inner) == 6


def test_a_draft_model_gives_the_same_answer(architectures, tiny):
    inputs, draft = tiny.prompt(TEXTS[:1]), architectures.tiny(tiny.name).model  # it answers as plain decoding does
    view = Imagination(-1.0).on(tiny.model)
    alone = answer(view, inputs)
    assert torch.equal(answer(view, inputs, assistant_model=draft), alone)
    assert not torch.equal(answer(draft, inputs), alone), "some of the draft's tokens must be turned down"


class Both(DecodingMethod):
    """Plain decoding that keeps both negative branches: one without the image, one of words alone."""

    is_identity = False

    negative_branches = ()

    def __init__(self, *negative_branches):
        self.negative_branches, self.seen = negative_branches, []

    def combine_logits(self, branches, step):
        self.seen.append(branches[1:])
        return branches[0], None


def test_a_prompt_of_words_alone_is_the_branch_without_its_image(architectures, tiny):
    from halluguard.decoding.engine.view import folded_view

    inputs = tiny.prompt(TEXTS)
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    kept = [row[keep & (row != architectures.IMAGE)].tolist() for row, keep in zip(ids, mask, strict=True)]
    method = Both(NoImage(), TextOnly(kept))
    folded_view(method, tiny.model).generate(**inputs, **NEW)
    assert len(method.seen) == 6
    assert all(torch.allclose(blind, words, atol=1e-4) for blind, words in method.seen)


def test_words_of_the_text_are_read_by_the_tokenizer_and_may_be_passed_as_inputs():
    from halluguard import sandbox

    model, processor = sandbox.load_mllm()
    text = "USER: <image> Describe the image. ASSISTANT:"
    inputs = processor(images=[sandbox.scenes(1)[0].image], text=[text], return_tensors="pt")
    words = "USER: Describe the image. ASSISTANT:"
    read = Imagination(-1.0, negative=TextOnly(words)).on(model, processor).generate(**inputs, **NEW)
    ids = processor.tokenizer(words, add_special_tokens=False, return_tensors="pt")["input_ids"]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": None}
    passed = Imagination(-1.0).on(model, processor).generate(**inputs, **NEW, negative_inputs=given)
    assert torch.equal(read, passed)


def test_texts_that_do_not_fit_the_prompts_are_refused(architectures):
    tiny = architectures.tiny("llava")
    for text, why in (("words", "tokenizer"), (["a", "b", "c"], "each of 2 prompts"), ([], "each of 2"), ("", "each")):
        with pytest.raises(InputError, match=why):
            Imagination(-1.0, negative=TextOnly(text)).on(tiny.model).generate(**tiny.prompt(TEXTS), **NEW)
