"""A controller folded into a checkpoint: the same logits, on plain transformers and PEFT, or nothing is written."""

import json
import subprocess
import sys

import peft
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from halluguard import baking, sandbox
from halluguard.baking import bake, fold
from halluguard.checkpoints import load_mllm
from halluguard.controller import Controller
from halluguard.errors import SettingsError, UnsupportedModelError

FAMILIES = ("llava", "qwen2_5_vl", "gemma3", "gemma4", "cohere2_vision", "internvl", "mllama", "florence2", "t5gemma2")


def filled(model, rank=8):
    controller = Controller.of(model, rank, epsilon_range=(-2.0, 1.0))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    return controller


@pytest.fixture(scope="module")
def mllm():
    return load_mllm(sandbox.MLLM, dtype="float32")


@pytest.fixture(scope="module")
def controller_file(mllm, tmp_path_factory):
    path = tmp_path_factory.mktemp("controller") / "controller.safetensors"
    filled(mllm[0]).save(path)
    return path


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("rank", [8, None])
@pytest.mark.parametrize("form", ["model", "lora"])
def test_what_is_written_answers_as_the_controlled_model_on_transformers_alone(mllm, form, rank, tmp_path, capfd):
    model, processor = mllm
    controller, ids = filled(model, rank), processor.tokenizer("a dog and two cups", return_tensors="pt")["input_ids"]
    with controller.attached(model, -1.0):  # imagination -0.5 of the range (-2, 1)
        expected = logits(model, ids)
    bake(sandbox.MLLM, controller, -0.5, tmp_path / "out", form=form, dtype="float32")
    assert capfd.readouterr().err == "", "bars belong on a terminal"
    if form == "model":
        AutoProcessor.from_pretrained(tmp_path / "out", use_fast=False)
        served = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype="float32").eval()
    else:
        base, _ = load_mllm(sandbox.MLLM, dtype="float32")
        served = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert torch.allclose(logits(served, ids), expected, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(logits(model, ids), expected, atol=1e-2)


def test_the_scale_of_the_adapter_is_the_setting(mllm, tmp_path):
    bake(sandbox.MLLM, filled(mllm[0]), 0.5, tmp_path / "out", form="lora", dtype="float32")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["lora_alpha"] / config["r"] == 0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_heads_that_are_tied_capped_or_scaled_fold_exactly(architectures, name, tmp_path):
    """Gemma 4 caps its logits, Cohere scales them; Florence-2 and T5Gemma 2 share one tensor among three layers."""
    tiny = architectures.tiny(name)
    model, inputs = tiny.model.eval(), tiny.prompt([[5, 6, 7]])
    if model.config.is_encoder_decoder:
        inputs = {**inputs, "decoder_input_ids": torch.tensor([[2, 5, 6]])}
    controller = filled(model)
    with torch.no_grad(), controller.attached(model, -0.5):
        expected = model(**inputs).logits
    fold(model, controller, -0.5)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        found = type(model).from_pretrained(tmp_path).eval()(**inputs).logits
    apart, largest = baking.difference([expected], [found])
    assert apart <= 1e-5 * largest


def test_imagination_zero_is_the_model_bit_for_bit(mllm, controller_file, tmp_path):
    bake(sandbox.MLLM, controller_file, 0.0, tmp_path / "out", dtype="float32")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(logits(load_mllm(tmp_path / "out", dtype="float32")[0], ids), logits(mllm[0], ids))


def test_a_head_that_answers_otherwise_is_refused_and_nothing_is_left(monkeypatch, controller_file, tmp_path):
    monkeypatch.setattr(baking, "fold", lambda *_: None)
    with pytest.raises(UnsupportedModelError, match="does not answer as the controlled model does"):
        bake(sandbox.MLLM, controller_file, -0.5, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [({"imagination": 1.5}, "must be in"), ({"imagination": float("nan")}, "must be in"), ({"form": "onnx"}, "'lora'")],
)
def test_settings_outside_their_range_are_refused(controller_file, tmp_path, change, message):
    settings = {"imagination": -0.5, "form": "model", **change}
    with pytest.raises(SettingsError, match=message):
        bake(sandbox.MLLM, controller_file, out=tmp_path / "out", **settings)


def test_a_folder_with_files_is_never_written_into(controller_file, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="new or empty folder"):
        bake(sandbox.MLLM, controller_file, -0.5, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_the_command_line(controller_file, tmp_path):
    command = [sys.executable, "-m", "halluguard", "bake", "--model", "sandbox", "--imagination", "-0.5"]
    ended = subprocess.run(
        [*command, "--controller", str(controller_file), "--out", str(tmp_path / "out"), "--as", "lora"],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "is folded in" in ended.stderr
    assert ended.stderr.count("\n") == 1, "no bar of saving or loading, and no warning"
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
