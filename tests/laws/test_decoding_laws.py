"""The laws that every decoding method obeys, on a tiny random model."""

import threading

import pytest
import torch

from halluguard.errors import SettingsError

TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]  # unequal: the second is left-padded
MODES = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "top_p": 0.9},
    "static cache": {"do_sample": False, "cache_implementation": "static"},
}
NEW = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_scores": True}


def run(model, inputs, seed=0, **settings):
    torch.manual_seed(seed)
    try:
        return model.generate(**inputs, **{**NEW, **settings})
    except SettingsError as error:
        if "cache_implementation" not in settings and settings.get("use_cache", True):
            raise
        pytest.skip(f"refused: {error}")


def state_of(model):
    """Everything that could be left behind: parameters, attributes and hooks of every module."""
    modules = {
        name: {k: (list(v) if isinstance(v, dict) else id(v)) for k, v in module.__dict__.items()}
        for name, module in model.named_modules()
    }
    return modules, {name: (id(p), p.sum().item()) for name, p in model.named_parameters()}, type(model)


@pytest.mark.parametrize("mode", MODES)
def test_strength_zero_is_plain_bit_for_bit(tiny, method_of_strength_zero, mode):
    inputs = tiny.prompt(TEXTS)
    plain = run(tiny.model, inputs, **MODES[mode])
    view = run(method_of_strength_zero.on(tiny.model), inputs, **MODES[mode])
    assert torch.equal(plain.sequences, view.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.scores, view.scores, strict=True))


def test_the_method_has_an_effect(tiny, method):
    """Without this the other laws could hold for a method that does nothing. Some baselines change sampling alone."""
    inputs, pair = tiny.prompt(TEXTS), (tiny.model, method.on(tiny.model))
    modes = {"do_sample": False}, {"do_sample": True, "temperature": 2.0}
    answers = [[run(m, inputs, **mode).sequences for m in pair] for mode in modes]
    assert any(not torch.equal(plain, view) for plain, view in answers)


def test_the_same_input_in_every_row_is_plain_greedy(tiny, method):
    """A contrast of a row with itself says nothing. It once caught rows that had been swapped in the cache."""
    if not method.negative_branches:
        pytest.skip("it has one row")
    if method.acts_inside:
        pytest.skip("its rows differ inside the model")
    inputs = tiny.prompt(TEXTS)
    same = [{"pixel_values": inputs["pixel_values"]} for _ in method.negative_branches]
    plain = run(tiny.model, inputs, do_sample=False)
    view = run(method.on(tiny.model), inputs, do_sample=False, negative_inputs=same)
    assert torch.equal(plain.sequences, view.sequences)


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_padding_a_row_changes_nothing(tiny, method, mode):
    both = run(method.on(tiny.model), tiny.prompt(TEXTS), **MODES[mode]).sequences[:, -6:]
    for row, text in enumerate(TEXTS):
        alone = run(method.on(tiny.model), tiny.prompt([text], seed=1 + row), **MODES[mode]).sequences[:, -6:]
        assert torch.equal(both[row : row + 1], alone), "a row must not change with its neighbours"


def test_cached_equals_uncached(tiny, method):
    inputs = tiny.prompt(TEXTS)
    # A placeholder in the answer would stand, when all is read again, for an image nobody gave.
    plain = {"do_sample": False, "suppress_tokens": [900]}
    cached, uncached = (run(method.on(tiny.model), inputs, **plain, use_cache=use) for use in (True, False))
    assert torch.equal(cached.sequences, uncached.sequences)


@pytest.mark.parametrize("mode", ["beams", "static cache"])
def test_nothing_is_left_on_the_model(tiny, method, mode):
    before = state_of(tiny.model)
    run(method.on(tiny.model), tiny.prompt(TEXTS), **MODES[mode])
    assert state_of(tiny.model) == before


def test_nothing_is_left_after_an_exception(tiny, method):
    def fails(ids, scores):
        if ids.shape[1] > tiny.prompt(TEXTS)["input_ids"].shape[1] + 1:
            raise RuntimeError("in the middle")
        return scores

    before = state_of(tiny.model)
    with pytest.raises(RuntimeError, match="in the middle"):
        run(method.on(tiny.model), tiny.prompt(TEXTS), do_sample=False, logits_processor=[fails])
    assert state_of(tiny.model) == before


def test_the_global_random_state_is_not_touched(tiny, method):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    method.on(tiny.model).generate(**tiny.prompt(TEXTS), max_new_tokens=2, do_sample=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_threads_on_one_model_stay_apart(tiny, method, method_of_strength_zero):
    inputs, answers = tiny.prompt(TEXTS), {}
    alone = {m: run(m.on(tiny.model), inputs, do_sample=False).sequences for m in (method, method_of_strength_zero)}

    def work(name, view):
        answers[name] = [view.generate(**inputs, max_new_tokens=6, do_sample=False) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(m, m.on(tiny.model))) for m in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(answer, alone[m]) for m in alone for answer in answers[m])
