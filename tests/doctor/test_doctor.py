"""The doctor finds each seeded fault and nothing else, and finds nothing in clean models."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from halluguard import sandbox
from halluguard.cli import app
from halluguard.doctor import FAULTS, PROBES, by_generate, by_processor, examine
from halluguard.errors import UnsupportedModelError

FAMILIES = ["sandbox", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_5_vl", "gemma3", "idefics3"))]

QUICK = (1, 2, 9, 10)
"""Faults that are seeded in every run of the tests; the others with the slow tests."""


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "doctor.py"
    spec = importlib.util.spec_from_file_location("benchmarks_doctor", path)
    module = sys.modules["benchmarks_doctor"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def subject(request, bench):
    return bench.subject_of(request.param)


def faults(bench, subject):
    return [number for number, status in bench.examined(replace(subject, found=set())).items() if status == "fault"]


@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
def test_a_clean_model_raises_no_alarm(bench, subject):
    assert faults(bench, subject) == []


@pytest.mark.parametrize("subject", ["evolla", "mistral4"], indirect=True)
def test_a_model_that_takes_no_images_is_not_said_to_have_lost_them(bench, subject):
    assert faults(bench, subject) == []


@pytest.mark.parametrize(
    ("subject", "number"),
    [
        ("fuyu", 11),  # its tower is a layer that returns a tensor
        ("minicpmv4_6", 10),  # the outer encoder of images names no arguments
        ("instructblipvideo", 10),  # its images cannot be encoded alone
        ("pix2struct", 14),  # its patches begin with their row and column
    ],
    indirect=["subject"],
)
def test_faults_of_families_with_other_inputs_are_found(bench, subject, number):
    probe = replace(bench.SEEDS[number](subject), found=set())
    assert PROBES[number](replace(subject, found=set())).status == "ok"
    assert PROBES[number](probe).status == "fault"


@pytest.mark.parametrize("subject", FAMILIES, indirect=True)
@pytest.mark.parametrize("number", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAULTS])
def test_a_seeded_fault_is_found_and_no_other(bench, subject, number):
    if number == 12:
        pytest.importorskip("peft")
    assert faults(bench, bench.SEEDS[number](subject)) == [number]


def test_every_fault_has_a_probe_and_a_cure():
    assert set(PROBES) == set(FAULTS) == set(range(1, 16))


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


def test_a_system_prompt_of_ones_own_is_no_fault(loaded):
    model, processor = loaded

    def prepare(images, texts):
        prompts = [f"Answer in one sentence. USER: {'<image>' * len(own)}\n{text} ASSISTANT:"
                   for own, text in zip(images, texts, strict=True)]  # fmt: skip
        flat = [image for own in images for image in own] or None
        return processor(images=flat, text=prompts, padding=True, return_tensors="pt")

    assert examine(model, processor, prepare=prepare).healthy


def test_a_prompt_without_a_placeholder_is_said_to_be_blind(loaded):
    model, processor = loaded
    usual = by_processor(processor)

    def prepare(images, texts):
        pixels = usual(images, texts)["pixel_values"]
        prompts = [f"USER: {text} ASSISTANT:" for text in texts]
        return {**processor(text=prompts, padding=True, return_tensors="pt"), "pixel_values": pixels}

    (finding,) = examine(model, processor, prepare=prepare).faults
    assert finding.fault == 2
    assert "answers blind" in str(finding)


@pytest.mark.slow
def test_two_images_in_the_wrong_order_are_found(loaded):
    model, processor = loaded
    usual = by_processor(processor)
    report = examine(model, processor, prepare=lambda images, texts: usual([own[::-1] for own in images], texts))
    assert [finding.fault for finding in report.faults] == [2]
    assert "stands where the first belongs" in report.faults[0].reason


@pytest.mark.slow
def test_an_image_dropped_while_running_is_found(loaded):
    model, processor = loaded
    usual = by_generate(model)

    def run(inputs):
        grey = torch.zeros_like(inputs["pixel_values"]) if "pixel_values" in inputs else None
        return usual(inputs if grey is None else {**inputs, "pixel_values": grey})

    report = examine(model, processor, run=run)
    assert [finding.fault for finding in report.faults] == [2]


@pytest.mark.slow
def test_padding_on_the_right_is_found(loaded):
    model, processor = loaded
    usual = by_processor(processor)

    def prepare(images, texts):
        inputs = dict(usual(images, texts))
        for row, mask in enumerate(inputs["attention_mask"]):
            shift = -int((mask == 0).sum())
            for name in ("input_ids", "attention_mask"):
                inputs[name][row] = inputs[name][row].roll(shift)
        return inputs

    assert [finding.fault for finding in examine(model, processor, prepare=prepare).faults] == [8]


def test_an_expected_adapter_that_is_not_there_is_found(loaded):
    report = examine(*loaded, adapter="my/adapter")
    assert [finding.fault for finding in report.faults] == [12]


def test_a_way_that_fails_is_skipped_with_its_error_and_never_passed(loaded):
    def run(inputs):
        raise RuntimeError("no kernel image")

    report = examine(*loaded, run=run)
    statuses = {finding.fault: finding for finding in report.findings}
    assert statuses[9].status == statuses[5].status == "skipped"
    assert "no kernel image" in statuses[9].reason


def test_the_model_is_left_as_it_is(loaded):
    model, processor = loaded
    before = {name: [*module._forward_hooks] for name, module in model.named_modules()}
    examine(model, processor)
    assert {name: [*module._forward_hooks] for name, module in model.named_modules()} == before


def test_no_model_is_refused(loaded):
    with pytest.raises(UnsupportedModelError, match="AutoModelForImageTextToText"):
        examine(torch.nn.Linear(2, 2), loaded[1])


def test_the_command_prints_json_and_its_exit_code_tells(tmp_path):
    file = tmp_path / "findings.json"
    done = CliRunner().invoke(app, ["doctor", "sandbox", "--json", str(file)])
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert report["healthy"]
    assert [finding["fault"] for finding in report["findings"]] == list(range(1, 16))


@pytest.mark.slow
def test_the_users_template_and_length_are_options_of_the_command(tmp_path):
    template = tmp_path / "t.jinja"
    template.write_text("{% for m in messages %}<image>\n{{ m['content'][-1]['text'] }}{% endfor %}")
    done = CliRunner().invoke(app, ["doctor", "sandbox", "--chat-template", str(template), "--max-length", "90"])
    assert done.exit_code == 1
    assert "prompt truncated" in done.output
    assert " fault " in done.output
