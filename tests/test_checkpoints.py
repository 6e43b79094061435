"""Checkpoints from strangers: no code of theirs runs, and weights that are not whole are refused by name."""

import ast
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForZeroShotObjectDetection, AutoTokenizer
from transformers.utils import logging as transformers_logging

import halluguard
from halluguard import Guard, sandbox
from halluguard.checkpoints import load_adapter, load_config, load_mllm, load_model, load_pretrained, merge_adapter
from halluguard.correction.rewriting.llm_rewriter import ChatModel
from halluguard.detectors.checkpoints import load_detector
from halluguard.detectors.questions import VisualQuestions
from halluguard.detectors.specs import from_spec
from halluguard.errors import HalluguardError, InputError, UnsupportedModelError

PACKAGE = Path(halluguard.__file__).parent
CODE = "import pathlib; pathlib.Path({!r}).write_text('ran')\n"


def copied(source, folder):
    shutil.copytree(source, folder)
    return folder


def edited(folder, file, change):
    path = folder / file
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return folder


def reweighted(folder, change, file="model.safetensors"):
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, {"format": "pt"})
    return folder


def half(tensors):
    for name in sorted(tensors)[::2]:
        del tensors[name]


def refusal(load, folder):
    """The message with which a folder is refused, "" where it is not."""
    try:
        load(folder)
    except HalluguardError as error:
        return str(error)
    return ""


# Remote code


def planted(source, folder, marker, unknown):
    """A checkpoint whose every file asks for code of its own, which writes the marker when it is imported."""
    copied(source, folder)
    (folder / "evil.py").write_text(CODE.format(str(marker)) + "class Evil: pass\n", encoding="utf-8")
    for file in folder.glob("*.json"):
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or file.name == "tokenizer.json":
            continue
        names = ("Config", "Model", "ModelForImageTextToText", "ModelForCausalLM", "ModelForZeroShotObjectDetection")
        names += ("ModelForVisualQuestionAnswering", "ModelForObjectDetection")
        names += ("Processor", "ImageProcessor", "Tokenizer")
        data["auto_map"] = {f"Auto{name}": "evil.Evil" for name in names} | {
            "AutoTokenizer": ["evil.Evil", "evil.Evil"]
        }
        for part in ("text_config", "vision_config"):
            if isinstance(data.get(part), dict):
                data[part]["auto_map"] = data["auto_map"]
        if unknown:
            for key in ("model_type", "processor_class", "tokenizer_class", "image_processor_type"):
                if key in data:
                    data[key] = f"Evil{data[key]}"
        file.write_text(json.dumps(data), encoding="utf-8")
    return folder


DOORS = {
    "guard": (sandbox.MLLM, lambda folder: Guard.from_pretrained(folder, device="cpu")),
    "guard's detector": (sandbox.DETECTOR, lambda folder: Guard.from_pretrained(sandbox.MLLM, detector=folder)),
    "detector": (sandbox.DETECTOR, lambda folder: load_detector(folder, device="cpu")),
    "detector's name": (sandbox.DETECTOR, lambda folder: from_spec(str(folder))),
    "questions": (sandbox.MLLM, lambda folder: VisualQuestions.from_pretrained(folder, device="cpu")),
    "training": (sandbox.MLLM, lambda folder: __import__("halluguard.tuning.loading", fromlist=["load"]).load(folder)),
    "rewriter": (sandbox.MLLM, lambda folder: ChatModel.from_pretrained(str(folder))),
    "sandbox": (sandbox.MLLM, lambda folder: sandbox.load_mllm(folder)),
    "tokenizer": (sandbox.MLLM, lambda folder: load_pretrained(AutoTokenizer, folder)),
    "configuration": (sandbox.MLLM, load_config),
}


@pytest.mark.parametrize("unknown", [False, True], ids=["known architecture", "unknown architecture"])
@pytest.mark.parametrize("door", DOORS)
def test_no_code_of_a_checkpoint_runs_and_nobody_is_asked(door, unknown, tmp_path, monkeypatch):
    source, opened = DOORS[door]
    marker = tmp_path / "marker"
    folder = planted(source, tmp_path / "model", marker, unknown)
    questions = []
    monkeypatch.setattr("builtins.input", lambda *text: questions.append(text) or "y")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    assert "\n" not in refusal(opened, folder)
    assert not marker.exists(), "code of the checkpoint was run"
    assert not questions, "somebody was asked whether to run it"


@pytest.mark.parametrize("arguments", [["--model", "{}"], ["--model", "sandbox", "--detector", "{}"]])
def test_the_command_line_runs_no_code_of_a_checkpoint(arguments, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from halluguard.cli import app

    marker = tmp_path / "marker"
    source = sandbox.DETECTOR if "--detector" in arguments else sandbox.MLLM
    folder = planted(source, tmp_path / "model", marker, unknown=True)
    (tmp_path / "pics").mkdir()
    sandbox.scenes(1)[0].image.save(tmp_path / "pics" / "a.png")
    command = ["caption", str(tmp_path / "pics"), "--out", str(tmp_path / "o.jsonl")]
    for dry_run in ([], ["--dry-run"]):
        CliRunner().invoke(app, [*command, *(part.format(folder) for part in arguments), *dry_run], input="y\n" * 20)
        assert not marker.exists()


def calls_of(path):
    """Lines on which a file calls `from_pretrained` of anything but our own classes, or loads a pickle."""
    own = {
        "Guard",
        "Session",
        "cls",
        "detector",
        "ZeroShotDetector",
        "ClosedSetDetector",
        "VisualQuestions",
        "SelfCheck",
        "ChatModel",
        "chosen",
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if node.func.attr in ("from_pretrained", "load_adapter") and owner not in own | {"checkpoints"}:
                yield node.lineno
            if (owner, node.func.attr) in (("torch", "load"), ("pickle", "load"), ("joblib", "load")):
                safe = [k for k in node.keywords if k.arg == "weights_only" and getattr(k.value, "value", 0) is True]
                if not safe:
                    yield node.lineno


def test_checkpoints_are_loaded_in_one_place():
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "checkpoints.py" or path.parent != PACKAGE
        for line in calls_of(path)
    }
    assert not found, "load through halluguard.checkpoints, which runs no remote code"
    assert list(calls_of(PACKAGE / "checkpoints.py"))


# Weights


def test_missing_weights_are_refused_by_name(tmp_path):
    mllm = reweighted(copied(sandbox.MLLM, tmp_path / "mllm"), half)
    with pytest.raises(UnsupportedModelError, match=r"\d+ missing \(.*weight"):
        Guard.from_pretrained(mllm, device="cpu")
    detector = reweighted(copied(sandbox.DETECTOR, tmp_path / "detector"), half)
    for door in (load_detector, lambda folder: from_spec(str(folder)), sandbox.load_detector):
        with pytest.raises(HalluguardError, match=r"\d+ missing"):
            door(detector)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    def extra(tensors):
        tensors["surprise.weight"] = torch.ones(2)

    with pytest.raises(UnsupportedModelError, match=r"surprise\.weight"):
        load_mllm(reweighted(copied(sandbox.MLLM, tmp_path / "extra"), extra))

    def cut(tensors):
        name = next(name for name in sorted(tensors) if "mlp" in name and tensors[name].ndim == 2)
        tensors[name] = tensors[name][:-1].contiguous()

    with pytest.raises(UnsupportedModelError, match="mlp"):
        load_mllm(reweighted(copied(sandbox.MLLM, tmp_path / "cut"), cut))


def test_the_buffers_of_older_releases_do_no_harm(tmp_path):
    def older(tensors):
        tensors["model.language_model.rotary_emb.inv_freq"] = torch.ones(4)
        tensors["vision_tower.embeddings.position_ids"] = torch.ones(1, 4)

    load_mllm(reweighted(copied(sandbox.MLLM, tmp_path / "older"), older))


def test_tied_heads_are_not_missing(tmp_path):
    """A model whose head is its embedding has one tensor for both."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=20, tie_word_embeddings=True, **sizes)).save_pretrained(tmp_path)
    from transformers import AutoModelForCausalLM

    load_model(AutoModelForCausalLM, tmp_path, expected="a language model", advice="name another")


@pytest.mark.parametrize("load", [load_adapter, merge_adapter])
def test_adapters_are_whole_and_in_safetensors(tmp_path, load):
    pytest.importorskip("peft")
    weights = "adapter_model.safetensors"
    whole = copied(sandbox.ADAPTER, tmp_path / "whole")
    load(sandbox.load_mllm()[0], whole)
    part = reweighted(copied(sandbox.ADAPTER, tmp_path / "part"), half, weights)
    with pytest.raises(UnsupportedModelError, match=r"\d+ missing \(.*lora"):
        load(sandbox.load_mllm()[0], part)

    def extra(tensors):
        tensors["base_model.model.surprise.lora_A.weight"] = torch.ones(2, 2)

    with pytest.raises(UnsupportedModelError, match="surprise"):
        load(sandbox.load_mllm()[0], reweighted(copied(sandbox.ADAPTER, tmp_path / "extra"), extra, weights))
    pickled = copied(sandbox.ADAPTER, tmp_path / "pickled")
    torch.save(load_file(pickled / weights), pickled / "adapter_model.bin")
    (pickled / weights).unlink()
    with pytest.raises(InputError, match="safetensors"):
        load(sandbox.load_mllm()[0], pickled)


# Sizes


@pytest.mark.parametrize(
    ("place", "key"),
    [("text_config", "num_hidden_layers"), ("vision_config", "num_hidden_layers"), ("text_config", "num_attention_heads"),
     ("", "num_labels"), ("text_config", "num_key_value_heads")],
)  # fmt: skip
@pytest.mark.parametrize("value", [10**9, 10**5, 1e9])
def test_a_configuration_that_asks_for_more_than_its_weights_hold_is_refused_at_once(tmp_path, place, key, value):
    def grow(config):
        (config[place] if place else config)[key] = value

    folder = edited(copied(sandbox.MLLM, tmp_path / "model"), "config.json", grow)
    with pytest.raises(UnsupportedModelError, match=key):
        Guard.from_pretrained(folder, device="cpu")
    with pytest.raises(UnsupportedModelError, match=key):
        load_config(folder)


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("text_config", "num_hidden_layers", "9"),
        ("text_config", "num_hidden_layers", float("inf")),
        ("text_config", "num_attention_heads", 0),
        ("text_config", "num_key_value_heads", 0),
        ("text_config", "hidden_act", ["x"]),
        ("text_config", "layer_types", ["x"] * 10),
        ("text_config", "pad_token_id", 10**9),
        ("vision_config", "patch_size", 0),
        ("vision_config", "hidden_size", 0),
        ("", "vision_config", []),
        ("", "tie_word_embeddings", "x"),
    ],
)
def test_a_configuration_of_wrong_values_is_refused_in_a_sentence(place, key, value, tmp_path):
    def change(config):
        (config[place] if place else config)[key] = value

    folder = edited(copied(sandbox.MLLM, tmp_path / "model"), "config.json", change)
    with pytest.raises(UnsupportedModelError, match="model"):
        load_mllm(folder)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_in_a_checkpoint_is_refused_and_not_waited_for(file, tmp_path):
    folder = copied(sandbox.MLLM, tmp_path / "model")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(InputError):
        load_mllm(folder)


@pytest.mark.parametrize("size", [64_000_000, 4000])
@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "intermediate_size"])
def test_a_size_that_is_not_that_of_the_weights_is_refused(tmp_path, key, size):
    def grow(config):
        config["text_config"][key] = size

    folder = edited(copied(sandbox.MLLM, tmp_path / "model"), "config.json", grow)
    with pytest.raises(HalluguardError):
        load_mllm(folder)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 8, b"\x10" + b"\0" * 7 + b"[" * 16, b"no safetensors at all"])
def test_damaged_weights_are_said_to_be_damaged(tmp_path, damage):
    folder = copied(sandbox.MLLM, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(damage)
    with pytest.raises(InputError, match="damaged"):
        load_mllm(folder)


def test_an_index_stays_in_its_folder_and_names_what_is_there(tmp_path):
    folder = copied(sandbox.MLLM, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    names = dict.fromkeys(load_file(folder / "a.safetensors"), "a.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf-8")
    load_mllm(folder)
    for wrong, message in (("../a.safetensors", "outside"), ("b.safetensors", "lacks"), (3, "weight_map")):
        index.write_text(json.dumps({"weight_map": {**names, "x": wrong}}), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_mllm(folder)


@pytest.mark.parametrize("content", ["", "[", "[" * 100_000, "3", "[]", '{"model_type": 3}', "{}"])
@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_broken_files_are_one_sentence(tmp_path, content, file):
    folder = copied(sandbox.MLLM, tmp_path / "model")
    (folder / file).write_text(content, encoding="utf-8")
    assert "\n" not in refusal(load_mllm, folder)


@pytest.mark.parametrize(("name", "meant"), [("sandbx", "sandbox"), ("my-detectr", "my-detector")])
def test_a_misspelt_local_name_is_refused_before_the_hub_is_asked(name, meant, tmp_path, monkeypatch):
    copied(sandbox.DETECTOR, tmp_path / "my-detector")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        load_config(name)


def test_nothing_draws_bars_into_captured_output(capfd):
    load_mllm(sandbox.MLLM)
    assert "Loading" not in capfd.readouterr().err
    assert transformers_logging.is_progress_bar_enabled(), "the setting of the process was changed"


def test_a_missing_folder_is_a_sentence_and_a_similar_name_is_offered(tmp_path):
    copied(sandbox.MLLM, tmp_path / "my-model")
    for load in (load_mllm, load_detector, Guard.from_pretrained):
        with pytest.raises(InputError, match=r"did you mean .*my-model"):
            load(tmp_path / "my-modle")
        with pytest.raises(InputError, match="does not exist"):
            load("./no/such/folder")
    with pytest.raises(InputError, match="empty"):
        load_mllm("")


def test_the_whole_checkpoint_still_loads():
    load_mllm(sandbox.MLLM)
    load_model(AutoModelForZeroShotObjectDetection, sandbox.DETECTOR, expected="a detector", advice="")


# What the files of a folder lead to


def never_fetched(monkeypatch):
    """Refuse every socket; what was tried is collected."""
    import socket

    tried = []

    def refused(*address, **settings):
        tried.append(address)
        raise OSError("sockets are refused in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refused)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the environment of the tests forces it
    return tried


ELSEWHERE = {
    "a base model": ("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "nobody/base"}),
    "an audio tokenizer": (
        "processor_config.json",
        {"audio_tokenizer": {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "nobody/audio"}},
    ),
    "an audio tokenizer in a file": (
        "audio_tokenizer_config.json",
        {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "nobody/audio"},
    ),
    "a kernel": ("config.json", {"attn_implementation": "nobody/kernel"}),
    "a kernel of a part": ("config.json", {"text_config": {"_attn_implementation": "nobody/kernel:f"}}),
    "a kernel by part": ("config.json", {"attn_implementation": {"text_config": "paged|nobody/kernel@main"}}),
    "a timm backbone": ("config.json", {"vision_config": {"architecture": "hf-hub:nobody/backbone"}}),
    "a list of classes": ("processor_config.json", {"image_processor": {"repo_path": "nobody/classes"}}),
    "a vocabulary": ("tokenizer_config.json", {"vocab_file": "https://example.org/vocab.model"}),
}


@pytest.mark.parametrize(
    ("case", "door"),
    [
        *((case, "guard") for case in ELSEWHERE),
        *((case, door) for case in ("a base model", "a kernel") for door in DOORS),
    ],
)
def test_a_folder_that_leads_elsewhere_is_refused_and_no_host_is_asked(case, door, tmp_path, monkeypatch):
    file, settings = ELSEWHERE[case]
    source, opened = DOORS[door]
    folder = copied(source, tmp_path / "model")
    path = folder / file
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key, value in settings.items():
        before[key] = {**before[key], **value} if isinstance(before.get(key), dict) else value
    path.write_text(json.dumps(before), encoding="utf-8")
    tried = never_fetched(monkeypatch)
    said = refusal(opened, folder)
    assert not tried, "a host was asked for"
    assert file in said or (door == "tokenizer" and case == "a base model")  # it reads nothing of an adapter


@pytest.mark.parametrize("door", sorted(DOORS.keys() - {"tokenizer"}))
def test_an_adapter_that_is_given_as_a_model_is_refused_and_its_base_is_not_fetched(door, tmp_path, monkeypatch):
    folder = edited(
        *(copied(sandbox.ADAPTER, tmp_path / "model"), "adapter_config.json"),
        lambda settings: settings.update(base_model_name_or_path="nobody/base"),
    )
    tried = never_fetched(monkeypatch)
    assert refusal(DOORS[door][1], folder)
    assert not tried


def test_code_for_generation_is_not_loaded(tmp_path):
    folder, marker = copied(sandbox.MLLM, tmp_path / "model"), tmp_path / "marker"
    (folder / "custom_generate").mkdir()
    code = CODE.format(str(marker)) + "def generate(model, **inputs): pass\n"
    (folder / "custom_generate" / "generate.py").write_text(code, encoding="utf-8")
    (folder / "custom_generate" / "requirements.txt").write_text("nothing-at-all\n", encoding="utf-8")
    guard = Guard.from_pretrained(folder, device="cpu")
    guard(sandbox.scenes(1)[0].image, max_new_tokens=2)
    assert not marker.exists()


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.system('touch {}') }}"],
)
def test_a_chat_template_reaches_no_code(template, tmp_path):
    folder, marker = copied(sandbox.MLLM, tmp_path / "model"), tmp_path / "marker"
    (folder / "chat_template.jinja").write_text(template.replace("{}", str(marker)), encoding="utf-8")
    guard = Guard.from_pretrained(folder, device="cpu")
    with pytest.raises(Exception, match=r"chat template"):
        guard(sandbox.scenes(1)[0].image, max_new_tokens=2)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("processor_config.json", {"image_processor": {"size": {"height": 10**6, "width": 10**6}}}),
        ("processor_config.json", {"image_processor": {"size": {"shortest_edge": 10**6}}}),
        ("processor_config.json", {"image_processor": {"crop_size": 10**6}}),
        ("processor_config.json", {"image_processor": {"min_pixels": 10**12}}),
        ("generation_config.json", {"num_beams": 10**6}),
        ("generation_config.json", {"num_return_sequences": 10**6}),
    ],
)
def test_settings_that_would_take_all_memory_are_refused(file, settings, tmp_path):
    def grow(data):
        for key, value in settings.items():
            data[key] = {**data[key], **value} if isinstance(value, dict) else value

    with pytest.raises(UnsupportedModelError, match=file):
        Guard.from_pretrained(edited(copied(sandbox.MLLM, tmp_path / "model"), file, grow), device="cpu")


@pytest.mark.parametrize("load", [load_adapter, merge_adapter])
@pytest.mark.parametrize(
    "settings",
    [
        {"megatron_config": {"a": 1}, "megatron_core": "megatron.core.evil"},
        {"peft_type": "XLORA", "adapters": {"0": "nobody/adapter"}},
        {"layer_replication": [[0, 10**9]]},
        {"r": 10**9},
        {"rank_pattern": {"q_proj": 10**9}},
        {"target_modules": "(a|a)*(.+)+$"},
    ],
    ids=str,
)
def test_an_adapter_whose_settings_lead_elsewhere_is_refused(settings, load, tmp_path, monkeypatch):
    folder = copied(sandbox.ADAPTER, tmp_path / "adapter")
    edited(folder, "adapter_config.json", lambda data: data.update(settings))
    tried = never_fetched(monkeypatch)
    with pytest.raises(UnsupportedModelError, match=next(iter(settings))):
        load(sandbox.load_mllm()[0], folder)
    assert not tried


def test_loading_in_two_threads_leaves_the_settings_of_the_process_alone(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_config, [sandbox.MLLM] * 8))
    assert constants.HF_HUB_OFFLINE is False


def test_a_package_that_is_always_required_is_advised_by_its_own_name():
    from halluguard import errors

    assert errors._requirements_for("peft", None)[0].startswith("peft")
    assert errors._requirements_for("trl.trainer", "train")[0].startswith("trl")
    assert errors._requirements_for("nowhere", None) == ["nowhere"]


def test_advice_names_packages_that_bring_the_module():
    """Every `require` of the package names an extra that lists the module's package, or none for one that is core."""
    from configparser import ConfigParser

    setup = ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg")
    packages = {"groundingdino": "groundingdino-py"}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require"):
                continue
            module = node.args[0].value.partition(".")[0]
            extra = next((word.value.value for word in node.keywords if word.arg == "extra"), None)
            lines = setup["options.extras_require"][extra] if extra else setup["options"]["install_requires"]
            named = re.findall(r"(?m)^[\w.-]+", lines)
            assert packages.get(module, module.replace("_", "-")) in named, f"{path}:{node.lineno}: {module}"
