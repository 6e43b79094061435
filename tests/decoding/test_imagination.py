"""The laws of Imagination, on random rows: what the formula promises for any model."""

import itertools

import pytest
import torch

from halluguard.controller import Controller
from halluguard.decoding import Imagination
from halluguard.decoding.base import Step, plausible
from halluguard.decoding.imagination import information, matched, ramp, tilt
from halluguard.errors import SettingsError, UnsupportedModelError

SETTINGS = [round(-1 + i / 10, 1) for i in range(21)]


def random_rows(seed, vocabulary=500):
    """Two rows that agree on most tokens, as a model with and without its image does."""
    draw = torch.Generator().manual_seed(seed)
    first = 3 * torch.randn(1, 1, vocabulary, generator=draw)
    surprise = 6 * torch.randn(1, 1, vocabulary, generator=draw) * (torch.rand(1, 1, vocabulary, generator=draw) < 0.01)
    return [first, first + 1.5 * torch.randn(1, 1, vocabulary, generator=draw) + surprise]


def distributions(rows, **settings):
    step = Step(torch.tensor([0]))
    return [Imagination(e, **settings).combine_logits(rows, step)[0].double().softmax(-1) for e in SETTINGS]


def falls_strictly(values):
    return all(a > b for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("settings", [{}, {"beta": 0.0}, {"gain": 3.0}, {"nats": 0.5}], ids=str)
def test_expected_information_falls_strictly_with_the_setting(settings):
    """The clipped statistic obeys the variance identity; the unclipped one follows, as clipping keeps the order."""
    for seed in range(50):
        rows = random_rows(seed)
        D = (rows[0].log_softmax(-1) - rows[1].log_softmax(-1)).double()
        for statistic in (D, information(*rows, settings.get("beta", 0.1)).double()):
            assert falls_strictly([(p * statistic).sum().item() for p in distributions(rows, **settings)])


def test_pairwise_log_odds_are_affine_in_the_setting():
    rows = random_rows(0)
    odds = torch.stack([(p[..., :250].log() - p[..., 250:].log()).flatten() for p in distributions(rows)])
    slope = odds[-1] - odds[0]
    for i, share in enumerate(torch.linspace(0, 1, 21, dtype=torch.double)):
        assert torch.allclose(odds[i], odds[0] + share * slope, atol=1e-5)


def test_greedy_information_never_rises_and_the_greedy_token_is_always_plausible():
    for seed in range(50):
        rows = random_rows(seed)
        T, keep = information(*rows, 0.1).flatten(), plausible(rows[0], 0.06).flatten()  # 0.1 exp(-0.5)
        chosen = [int(p.argmax()) for p in distributions(rows)]
        assert all(T[a] >= T[b] for a, b in itertools.pairwise(chosen))
        assert all(keep[token] for token in chosen), "clipping must do the work of the plausibility mask"


def test_zero_is_the_plain_row_bit_for_bit_beside_other_settings():
    first, second = random_rows(0)
    rows = [first.repeat(3, 1, 1), second.repeat(3, 1, 1)]
    scores, keep = Imagination([0.0, -1.0, 1.0]).combine_logits(rows, Step(torch.tensor([0])))
    assert keep is None
    assert torch.equal(scores[0], rows[0][0])
    assert not torch.equal(scores[1], rows[0][1])


def test_a_step_with_one_plausible_token_stays_plain():
    """A model that is sure has nothing to choose between, and the tilt shifts every score alike."""
    first = torch.zeros(1, 1, 5)
    first[..., 2] = 10.0
    scores, _ = Imagination(-1.0).combine_logits([first, torch.randn(1, 1, 5)], Step(torch.tensor([0])))
    assert torch.allclose(scores.softmax(-1), first.softmax(-1), atol=1e-3)


def test_matched_divergence_is_met_whatever_the_scale_of_the_statistic():
    for scale in (0.1, 1.0, 5.0):
        rows = random_rows(3)
        T = scale * information(*rows, 0.1)
        lam = matched(rows[0], T, torch.full((1, 1, 1), -1.0), nats=0.01)
        moved, start = tilt(rows[0], T, lam).log_softmax(-1), rows[0].log_softmax(-1)
        assert (moved.exp() * (moved - start)).sum().item() == pytest.approx(0.01, abs=1e-4)


def test_schedule_weighs_each_token_by_its_place():
    rows = [torch.randn(2, 3, 50), torch.randn(2, 3, 50)]
    weighted, _ = Imagination(-1.0, schedule=ramp(0.0, 1.0, 4)).combine_logits(rows, Step(torch.tensor([0, 2, 9])))
    constant, _ = Imagination(-1.0).combine_logits(rows, Step(torch.tensor([0, 2, 9])))
    half, _ = Imagination(-0.5).combine_logits(rows, Step(torch.tensor([0, 2, 9])))
    assert torch.equal(weighted[:, 0], rows[0][:, 0])
    assert torch.allclose(weighted[:, 1], half[:, 1])
    assert torch.equal(weighted[:, 2], constant[:, 2])


def test_users_truncation_is_read_on_the_plain_row(llava):
    """The same tokens may be sampled at every setting; cut after the tilt, the law would fail."""
    inputs = llava.prompt([[5, 6, 7]])
    wanted = {"max_new_tokens": 1, "do_sample": True, "top_p": 0.8, "top_k": 40, "temperature": 0.7}
    wanted |= {"return_dict_in_generate": True, "output_scores": True}
    plain = llava.model.generate(**inputs, **wanted).scores[0]
    assert 1 < (plain > -torch.inf).sum() < 41
    for imagination in (-1.0, -0.1, 0.3, 1.0):
        tilted = Imagination(imagination).on(llava.model).generate(**inputs, **wanted).scores[0]
        assert torch.equal(tilted > -torch.inf, plain > -torch.inf)


# --- with a controller ---


@pytest.fixture
def controller(llava):
    made = Controller.of(llava.model, 8, epsilon_range=(-0.5, 2.0))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return made


MODES = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "several beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "top_p": 0.9},
    "static cache": {"do_sample": False, "cache_implementation": "static"},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", [-1.0, -0.4, 0.7])
def test_a_controller_is_the_model_with_the_hook_in_every_mode(llava, controller, mode, setting):
    """Imagination -1 and 1 are the ends of the range it was trained for."""
    inputs, wanted = llava.prompt([[5, 6, 7], [8, 9]]), {"max_new_tokens": 6, **MODES[mode]}
    torch.manual_seed(0)
    told = Imagination(setting, controller=controller).on(llava.model).generate(**inputs, **wanted)
    torch.manual_seed(0)
    with controller.attached(llava.model, setting * (0.5 if setting < 0 else 2.0)):
        expected = llava.model.generate(**inputs, **wanted)
    assert torch.equal(told, expected)
    torch.manual_seed(0)
    plain = llava.model.generate(**inputs, **wanted)
    assert setting != 0.7 or not torch.equal(told, plain), "the controller must have an effect"


@pytest.mark.parametrize("mode", MODES)
def test_a_setting_a_row_with_a_controller_equals_each_alone(llava, controller, mode):
    if mode == "sampling":
        pytest.skip("rows of a batch share one stream of random numbers")
    texts, settings, wanted = [[5, 6, 7], [8, 9]], [-1.0, 0.8], {"max_new_tokens": 6, **MODES[mode]}
    view = Imagination(settings, controller=controller).on(llava.model)
    together = view.generate(**llava.prompt(texts), **wanted)[:, -6:]
    each = len(together) // 2
    for row, (text, setting) in enumerate(zip(texts, settings, strict=True)):
        one = Imagination(setting, controller=controller).on(llava.model)
        alone = one.generate(**llava.prompt([text], seed=1 + row), **wanted)[:, -6:]
        assert torch.equal(together[row * each : (row + 1) * each], alone)


def test_zero_with_a_controller_is_plain_bit_for_bit_beside_other_settings(llava, controller):
    inputs = llava.prompt([[5, 6, 7], [8, 9, 10]])
    wanted = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    plain = llava.model.generate(**inputs, **wanted)
    mixed = Imagination([0.0, 1.0], controller=controller).on(llava.model).generate(**inputs, **wanted)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(plain.scores, mixed.scores, strict=True))
    assert not torch.equal(plain.sequences[1], mixed.sequences[1])
    assert torch.equal(Imagination(0, controller=controller).on(llava.model).generate(**inputs, **wanted).sequences,
                       plain.sequences)  # fmt: skip


def test_a_schedule_weighs_a_controller_by_the_place_in_the_answer(llava, controller):
    inputs, settings = llava.prompt([[5, 6, 7], [8, 9]]), {"max_new_tokens": 6, "do_sample": False}
    late = Imagination(1.0, controller=controller, schedule=lambda index: (index >= 3).float()).on(llava.model)
    told, plain = late.generate(**inputs, **settings), llava.model.generate(**inputs, **settings)
    whole = Imagination(1.0, controller=controller).on(llava.model).generate(**inputs, **settings)
    assert torch.equal(told[:, :-3], plain[:, :-3])
    assert not torch.equal(told, plain)
    assert not torch.equal(told, whole)


def test_a_controllers_file_does_and_another_models_is_refused(llava, controller, architectures, tmp_path):
    path = tmp_path / "controller.safetensors"
    controller.save(path)
    inputs, settings = llava.prompt([[5, 6, 7]]), {"max_new_tokens": 4, "do_sample": False}
    told = [Imagination(1.0, controller=c).on(llava.model).generate(**inputs, **settings) for c in (path, controller)]
    assert torch.equal(*told)
    with pytest.raises(UnsupportedModelError, match="made for other weights"):
        Imagination(1.0, controller=path).on(architectures.llava(seed=1).model)


def test_a_controller_leaves_nothing_on_the_model(llava, controller):
    inputs = llava.prompt([[5, 6, 7]])
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llava.model.modules()]
    Imagination(1.0, controller=controller).on(llava.model).generate(**inputs, max_new_tokens=2)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llava.model.modules()] == hooks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controller": Controller(4, "norm", 2), "nats": 0.1}, "nats must be None with a controller"),
        ({"imagination": 1.5}, r"imagination must be in \[-1, 1\], got 1.5"),
        ({"imagination": [0.0, -2.0]}, r"imagination must be in \[-1, 1\], got -2.0"),
        ({"imagination": "low"}, r"imagination must be in \[-1, 1\], got 'low'"),
        ({"imagination": float("nan")}, r"imagination must be in \[-1, 1\], got nan"),
        ({"gain": 0}, "gain must be > 0"),
        ({"beta": 1.1}, "beta must be in"),
        ({"nats": -1.0}, "nats must be > 0"),
    ],
)
def test_settings_out_of_range_get_one_clear_sentence(settings, message):
    with pytest.raises(SettingsError, match=message):
        Imagination(**settings)
