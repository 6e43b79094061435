"""A LoRA run: it learns from completions only, leaves the base as it was, and what it saves loads again."""

import pytest
import torch
from PIL import Image

from halluguard import Guard, InputError, MissingExtraError, SettingsError, UnsupportedModelError
from halluguard.sandbox.models import build_mllm, build_processor
from halluguard.tuning import InstructionRow, fine_tune

pytest.importorskip("trl")


def parts():
    torch.manual_seed(0)
    processor = build_processor()
    return build_mllm(processor), processor


def rows(count=24):
    colors = ("red", "blue")
    return [
        InstructionRow(
            (Image.new("RGB", (112, 112), colors[i % 2]),),
            "Is there a dog in the image?",
            ("Yes.", "No.")[i % 2],
            image_id=i,
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, processor = parts()
    model.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    facts = fine_tune(
        model, processor, rows(), folder / "adapter", learning_rate=1e-2, epochs=4, batch_size=8, device="cpu"
    )
    return folder, before, model, facts


def test_the_loss_falls(run):
    facts = run[3]
    assert facts["steps"] == 12
    assert facts["last loss"] < 0.7 * facts["first loss"]


def test_the_base_weights_stay_as_they_were(run):
    _, before, model, _ = run
    after = {
        name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items() if "lora_" not in name
    }
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_the_language_model_is_adapted(run):
    """A list of bare layer names would adapt the vision tower as well."""
    adapted = [name for name in run[2].state_dict() if "lora_" in name]
    assert adapted
    assert all("language_model" in name for name in adapted)


def test_the_adapter_is_small_safe_and_changes_the_answer(run):
    folder = run[0]
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert not list((folder / "adapter").glob("*.bin"))
    image = Image.new("RGB", (112, 112), "red")
    base = Guard.from_pretrained(folder / "base", device="cpu")
    tuned = Guard.from_pretrained(folder / "base", adapter=folder / "adapter", device="cpu")
    margins = [guard.margins([image], "Is there a dog in the image?")[0] for guard in (base, tuned)]
    assert abs(margins[0] - margins[1]) > 0.01


def test_an_adapter_for_another_base_is_refused(run, tmp_path):
    from transformers import LlavaForConditionalGeneration

    from halluguard import sandbox

    model, processor = parts()
    config = model.config
    config.text_config.hidden_size = 96
    config.text_config.head_dim = 24
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="base model it was trained on"):
        Guard.from_pretrained(tmp_path, adapter=sandbox.ADAPTER, device="cpu")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"rows": []}, InputError, "got none"),
        ({"rank": 0}, SettingsError, "must be positive"),
        ({"report_to": ["tensorbord"]}, SettingsError, "expected trackers among .*tensorboard"),
        ({"target_modules": "nothing_like_this"}, UnsupportedModelError, "target_modules"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_starts(settings, error, words, tmp_path):
    model, processor = parts()
    settings = {"rows": rows(4), **settings}
    with pytest.raises(error, match=words):
        fine_tune(model, processor, settings.pop("rows"), tmp_path, device="cpu", **settings)


def test_a_tracker_gets_the_logged_values(monkeypatch, tmp_path):
    """The tracker is one of ours in the place of TensorBoard, which need not be installed."""
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    losses = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **rest):
            losses.extend([logs["loss"]] if "loss" in logs else [])

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"])
    facts = fine_tune(*parts(), rows(4), tmp_path, device="cpu", batch_size=4, report_to=["tensorboard"])
    assert losses == [facts["last loss"]]


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_loaded(monkeypatch, tmp_path):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", list)
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        fine_tune(*parts(), rows(4), tmp_path, device="cpu", report_to=["wandb"])
