"""The control projector: what it promises before, during and after training, and what it refuses."""

import itertools

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from halluguard.controller import Controller, fingerprint, head_input
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

RANKS = [8, None]


@pytest.fixture(scope="module")
def tiny(architectures):
    return architectures.llava()


def filled(model, rank=8, seed=3, **settings):
    """A controller as if trained."""
    controller = Controller.of(model, rank, **settings)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    return controller


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def hooks_of(model):
    return [[*module._forward_hooks, *module._forward_pre_hooks] for module in model.modules()]


@pytest.fixture
def inputs(tiny):
    return tiny.prompt([[5, 6, 7], [8, 9], [10]])


@pytest.mark.parametrize("rank", RANKS)
def test_untrained_it_changes_nothing_at_any_epsilon(tiny, inputs, rank):
    plain = logits(tiny.model, inputs)
    for epsilon in (-1.0, 0.3, 1.0):
        with Controller.of(tiny.model, rank).attached(tiny.model, epsilon):
            assert torch.equal(logits(tiny.model, inputs), plain)


@pytest.mark.parametrize("rank", RANKS)
def test_epsilon_zero_is_the_base_bit_for_bit_beside_other_rows(tiny, inputs, rank):
    plain = logits(tiny.model, inputs)
    with filled(tiny.model, rank).attached(tiny.model, [0.0, -1.0, 1.0]):
        controlled = logits(tiny.model, inputs)
    assert torch.equal(controlled[0], plain[0])
    assert not torch.allclose(controlled[1], plain[1])
    assert not torch.allclose(controlled[2], plain[2])


@pytest.mark.parametrize("rank", RANKS)
def test_logits_are_affine_in_epsilon(tiny, inputs, rank):
    controller, found = filled(tiny.model, rank), {}
    for epsilon in (-1.0, -0.5, 0.0, 0.5, 1.0):
        with controller.attached(tiny.model, epsilon):
            found[epsilon] = logits(tiny.model, inputs).double()
    steps = [b - a for a, b in itertools.pairwise(found.values())]
    assert all(torch.allclose(step, steps[0], atol=1e-4) for step in steps)


def test_a_setting_a_row_equals_each_row_alone(tiny, inputs):
    controller, settings = filled(tiny.model), [-1.0, 0.25, 0.5]
    with controller.attached(tiny.model, settings):
        together = logits(tiny.model, inputs)
    for row, epsilon in enumerate(settings):
        with controller.attached(tiny.model, epsilon):
            assert torch.allclose(together[row], logits(tiny.model, inputs)[row], atol=1e-5)


def test_a_callable_is_asked_at_every_forward_and_may_give_one_a_position(tiny, inputs):
    controller, length = filled(tiny.model), inputs["input_ids"].shape[1]
    plain, asked = logits(tiny.model, inputs), []

    def late(hidden):
        asked.append(tuple(hidden.shape))
        return (torch.arange(hidden.shape[1]) >= length - 2).float().expand(hidden.shape[0], -1)

    with controller.attached(tiny.model, late):
        controlled = logits(tiny.model, inputs)
    assert asked == [(3, length, 64)]
    assert torch.equal(controlled[:, : length - 2], plain[:, : length - 2])
    assert not torch.allclose(controlled[:, -1], plain[:, -1])


def test_the_hook_is_removed_whatever_happens(tiny, inputs):
    plain, before = logits(tiny.model, inputs), hooks_of(tiny.model)
    with pytest.raises(RuntimeError, match="in the middle"), filled(tiny.model).attached(tiny.model, 1.0):
        raise RuntimeError("in the middle")
    with pytest.raises(InputError, match="one for each of the 3 rows"), filled(tiny.model).attached(tiny.model, [1, 1]):
        logits(tiny.model, inputs)
    assert torch.equal(logits(tiny.model, inputs), plain)
    assert hooks_of(tiny.model) == before


def test_gradients_reach_the_controller_alone_and_training_moves_with_the_sign(tiny, inputs):
    """200 steps teach token 5 at -1 and token 6 at +1; the settings between lie between."""
    controller = Controller.of(tiny.model, 8)
    taught, optimizer = {-1.0: 5, 1.0: 6}, torch.optim.Adam(controller.parameters(), 1e-2)
    tiny.model.requires_grad_(False)
    first = None
    for _ in range(200):
        loss = 0
        for epsilon, token in taught.items():
            with controller.attached(tiny.model, epsilon):
                scores = tiny.model(**inputs).logits[:, -1]
            loss = loss + torch.nn.functional.cross_entropy(scores, torch.full((3,), token))
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 4
    odds = []
    for epsilon in (-1.0, -0.5, 0.0, 0.5, 1.0):
        with controller.attached(tiny.model, epsilon):
            last = logits(tiny.model, inputs)[:, -1]
        odds.append((last[:, 6] - last[:, 5]).mean().item())
    assert odds == sorted(odds)
    assert all(parameter.grad is None for parameter in tiny.model.parameters())


@pytest.mark.parametrize("rank", RANKS)
def test_a_file_gives_back_the_same_controller(tiny, inputs, rank, tmp_path):
    path = tmp_path / "controller.safetensors"
    controller = filled(tiny.model, rank, epsilon_range=(-2, 0.5), trained={"data": "pairs", "steps": 200})
    controller.save(path)
    again = Controller.load(path)
    for name in ("hidden_size", "layer", "rank", "epsilon_range", "trained"):
        assert getattr(again, name) == getattr(controller, name)
    with controller.attached(tiny.model, -1.5):
        expected = logits(tiny.model, inputs)
    with again.attached(tiny.model, -1.5):
        assert torch.equal(logits(tiny.model, inputs), expected)
    assert path.stat().st_size < 50_000


def test_another_base_is_refused_and_another_type_of_the_same_is_not(tiny, architectures):
    controller = filled(tiny.model)
    for dtype in (torch.bfloat16, torch.float16):
        same = architectures.llava().model.to(dtype)
        controller.check(same)
    with pytest.raises(UnsupportedModelError, match=r"made for other weights: .* sampled weights"):
        controller.check(architectures.llava(seed=1).model)
    controller.check(architectures.llava(seed=1).model, any_base=True)
    with pytest.raises(UnsupportedModelError, match="another architecture"):
        controller.check(architectures.llava(layers=3).model)


def test_a_wrapped_model_is_the_same_base(tiny, architectures, inputs):
    peft = pytest.importorskip("peft")
    controller = filled(tiny.model)
    config = peft.LoraConfig(r=2, target_modules=r".*language_model.*q_proj")
    wrapped = peft.get_peft_model(architectures.llava().model, config)
    with controller.attached(wrapped, 1.0):
        assert torch.allclose(logits(wrapped, inputs), logits(wrapped.get_base_model(), inputs))
    assert torch.equal(fingerprint(wrapped), fingerprint(tiny.model))


def test_a_controller_registered_for_training_is_not_part_of_the_base(architectures):
    model = architectures.llava().model
    controller = Controller.of(model, 4)
    model.controller = controller
    controller.check(model)


def test_the_layer_is_the_one_the_head_reads(tiny, inputs):
    assert head_input(tiny.model) == "model.language_model.norm"
    seen = {}
    norm = tiny.model.get_submodule(head_input(tiny.model))
    hooks = [
        norm.register_forward_hook(lambda _, args, output: seen.update(norm=output)),
        tiny.model.lm_head.register_forward_pre_hook(lambda _, args: seen.update(head=args[0])),
    ]
    logits(tiny.model, inputs)
    for hook in hooks:
        hook.remove()
    assert torch.equal(seen["norm"], seen["head"])


def test_what_cannot_be_is_refused_in_one_sentence(tiny, tmp_path):
    with pytest.raises(UnsupportedModelError, match="a model with a linear head is expected"):
        Controller.of(tiny.model.model)
    with pytest.raises(SettingsError, match=r"rank must be in 1..64"):
        Controller.of(tiny.model, 65)
    with pytest.raises(SettingsError, match="epsilon_range must have a negative and a positive end"):
        Controller.of(tiny.model, epsilon_range=(0, 1))
    with (
        pytest.raises(SettingsError, match=r"epsilon must be in \[-1, 1\], got 1.5"),
        Controller.of(tiny.model).attached(tiny.model, 1.5),
    ):
        pass
    with pytest.raises(UnsupportedModelError, match="made for hidden size 32"):
        Controller(32, "norm", 4).check(tiny.model)
    with pytest.raises(UnsupportedModelError, match="acts on the layer 'norm'"):
        Controller(64, "norm", 4).check(tiny.model)
    with pytest.raises(InputError, match="cannot read"):
        Controller.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match="cannot read"):
        Controller.load(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="got None"):
        Controller.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, metadata: tensors.pop("up"),
        lambda tensors, metadata: tensors.update(surprise=torch.ones(2)),
        lambda tensors, metadata: tensors.update(up=tensors["up"][:-1].contiguous()),
        lambda tensors, metadata: tensors["up"].fill_(float("nan")),
        lambda tensors, metadata: metadata.update(hidden_size=str(10**12)),
        lambda tensors, metadata: metadata.update(hidden_size="many"),
        lambda tensors, metadata: metadata.update(rank=str(10**9)),
        lambda tensors, metadata: metadata.update(epsilon_range="1"),
        lambda tensors, metadata: metadata.update(trained="[" * 100_000),
        lambda tensors, metadata: metadata.pop("layer"),
    ],
)
def test_a_file_whose_tensors_are_not_whole_is_refused_before_memory_is_taken(tiny, tmp_path, change):
    path = tmp_path / "c.safetensors"
    filled(tiny.model).save(path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=r"do not fit|NaN or infinite values") as caught:
        Controller.load(path)
    assert "\n" not in str(caught.value)
