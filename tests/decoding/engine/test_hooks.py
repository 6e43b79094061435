"""Methods that look inside: hidden states, attention maps, edits in one branch only, a state per call, an own loop."""

import copy
from dataclasses import dataclass, field

import pytest
import torch

from halluguard.decoding.base import DecodingMethod, LogitsCombiner
from halluguard.decoding.engine.attention import edit_attention
from halluguard.decoding.engine.compatibility import cache_name
from halluguard.decoding.engine.layers import decoder_layers, early_logits, final_norm, head
from halluguard.decoding.negative_inputs import NoImage
from halluguard.errors import UnsupportedModelError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
NEW = {"max_new_tokens": 5, "do_sample": False}
MODES = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
}


@dataclass(frozen=True)
class Plain(DecodingMethod):
    """One branch, no change: the base of the methods below."""

    makers: tuple = ()
    is_identity = False

    @property
    def negative_branches(self):
        return self.makers

    def combine_logits(self, branches, step):
        return branches[0], None


class EarlyLayer(Plain):
    needs = ("hidden_states",)

    def combine_logits(self, branches, step):
        last = head(self.model)(step.hidden_states[-1]).float()
        assert torch.allclose(last, torch.cat(branches), atol=1e-4), "the last hidden state goes straight into the head"
        return 2 * branches[0] - early_logits(self.model, step.hidden_states[1])[step.layout.of(0)], None


@pytest.mark.parametrize("mode", MODES)
def test_hidden_states_reach_the_formula(llava, mode):
    method = EarlyLayer()
    object.__setattr__(method, "model", llava.model)
    for makers in ((), (NoImage(),)):
        object.__setattr__(method, "makers", makers)
        output = method.on(llava.model).generate(**llava.prompt(TEXTS), **NEW, **MODES[mode])
        ids = output[:1, :-1]
        inputs = llava.prompt(TEXTS[:1])
        whole = llava.model(input_ids=ids, pixel_values=inputs["pixel_values"], output_hidden_states=True)
        scores = 2 * whole.logits - head(llava.model)(final_norm(llava.model)(whole.hidden_states[1]))
        if "num_beams" not in MODES[mode]:
            assert torch.equal(output[0, -5:], scores[0, -5:].argmax(-1))


@dataclass
class Boosted:
    """PAI's edit: the last query looks more at the image, in the original branch only."""

    view: object = None
    alpha: float = 0.5

    def edit(self, scores, layer):
        layout = self.view.layout
        image, branch = layout.image_tokens(scores.shape[-1]), layout.of(0)
        last = scores[branch, :, -1]
        scores[branch, :, -1] = torch.where(image[branch][:, None], last + self.alpha * last.abs(), last)
        return scores


@dataclass(frozen=True)
class Edited(Plain):
    alpha: float = 0.5
    seen: list = field(default_factory=list)

    def combine_logits(self, branches, step):
        self.seen.append([branch.clone() for branch in branches])
        return branches[0], None

    def bind(self, view):
        edit_attention(view, Boosted(view, self.alpha).edit)
        return self


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_that_changes_nothing_is_plain(llava, mode):
    inputs = llava.prompt(TEXTS)
    plain = llava.model.generate(**inputs, **NEW, **MODES[mode])
    for makers in ((), (NoImage(),)):
        assert torch.equal(Edited(makers, alpha=0.0).on(llava.model).generate(**inputs, **NEW, **MODES[mode]), plain)
    assert not torch.equal(Edited(alpha=2.0).on(llava.model).generate(**inputs, **NEW, **MODES[mode]), plain)


def test_an_edit_of_the_original_row_leaves_the_other_row_alone(llava):
    inputs = llava.prompt(TEXTS)
    without, edited = Edited((NoImage(),), alpha=0.0), Edited((NoImage(),), alpha=2.0)
    for method in (without, edited):
        method.on(llava.model).generate(**inputs, max_new_tokens=1)
    assert torch.allclose(without.seen[0][1], edited.seen[0][1], atol=1e-5)
    assert not torch.allclose(without.seen[0][0], edited.seen[0][0], atol=1e-1)


def test_an_edit_equals_the_same_edit_recomputed_without_cache(llava):
    inputs = llava.prompt(TEXTS)
    cached, whole = (Edited(alpha=1.0), Edited(alpha=1.0))
    a = cached.on(llava.model).generate(**inputs, **NEW)
    # Without a cache only the last query of all is edited, with one every generated token's was: one step agrees.
    b = whole.on(llava.model).generate(**inputs, **{**NEW, "max_new_tokens": 1}, use_cache=False)
    assert torch.equal(a[:, : b.shape[1]], b)


def test_attention_maps_reach_the_formula(llava):
    class Maps(Plain):
        needs = ("attentions",)

        def combine_logits(self, branches, step):
            assert len(step.attentions) == 2
            assert step.attentions[-1].shape[0] == 2 * len(branches[0])
            assert torch.allclose(step.attentions[-1].sum(-1)[:, :, -1], torch.ones(1), atol=1e-5)
            return branches[0], None

    inputs = llava.prompt(TEXTS)
    output = Maps((NoImage(),)).on(llava.model).generate(**inputs, **NEW)
    assert torch.equal(output, llava.model.generate(**inputs, **NEW))
    assert llava.model.config.get_text_config()._attn_implementation == "sdpa"


def test_what_attach_returns_folds_and_keeps_the_state_of_one_call(llava):
    class Counting(Plain):
        def bind(self, view):
            decoder_layers(view)[0].register_forward_hook(lambda *_: print(view.layout))
            outer = self

            class State(LogitsCombiner):
                steps = 0

                def combine_logits(self, branches, step):
                    self.steps += 1
                    outer.counts.append(self.steps)
                    return branches[0], None

            return State()

    method = Counting()
    object.__setattr__(method, "counts", [])
    before = list(decoder_layers(llava.model)[0]._forward_hooks)
    for _ in range(2):
        method.on(llava.model).generate(**llava.prompt(TEXTS), **NEW)
    assert method.counts == [1, 2, 3, 4, 5] * 2
    assert list(decoder_layers(llava.model)[0]._forward_hooks) == before


def test_the_layout_knows_branches_and_images(llava):
    class Looking(Plain):
        def combine_logits(self, branches, step):
            layout = step.layout
            image = layout.image_tokens()
            assert image.shape == (len(branches) * len(branches[0]), layout.length)
            assert image[layout.of(0)].sum(-1).tolist() == [16] * len(branches[0])
            assert not image[layout.of(1)].any()
            assert layout.prefill == (int(step.index[0]) == 0)
            return branches[0], None

    Looking((NoImage(),)).on(llava.model).generate(**llava.prompt(TEXTS), **NEW, num_beams=2)


def test_an_own_loop_runs_through_the_view(llava):
    class Looped(Plain):
        def custom_generate(self, model, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs):
            inputs = model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **kwargs)
            return torch.cat([input_ids, model(**inputs).logits[:, -1:].argmax(-1)], 1)

    inputs = llava.prompt(TEXTS)
    output = Looped((NoImage(),)).on(llava.model).generate(**inputs, **NEW)
    assert torch.equal(output, llava.model.generate(**inputs, max_new_tokens=1, do_sample=False))


@pytest.mark.parametrize("beams", [1, 2])
def test_the_search_of_transformers_is_called_by_the_methods(llava, beams):
    searched = []

    class Searching(Plain):
        def search(self, own, input_ids, **kwargs):
            cache = cache_name(kwargs)
            once = own(input_ids, **{**kwargs, cache: copy.deepcopy(kwargs[cache])})
            again = own(input_ids, **kwargs)
            assert torch.equal(once, again)
            searched.append(len(input_ids))
            return again

    inputs = llava.prompt(TEXTS)
    output = Searching().on(llava.model).generate(**inputs, **NEW, num_beams=beams)
    assert searched == [len(TEXTS) * beams]
    assert torch.equal(output, llava.model.generate(**inputs, **NEW, num_beams=beams))


def test_attention_that_never_passes_is_an_error(llava, monkeypatch):
    monkeypatch.setattr("halluguard.decoding.engine.attention.use_attention", lambda view, name: None)
    with pytest.raises(UnsupportedModelError, match="cannot be read or edited"):
        Edited().on(llava.model).generate(**llava.prompt(TEXTS), **NEW)
