"""Every layer gives the same on a GPU as on a CPU.

Skipped without a GPU. `HALLUGUARD_TEST_DEVICE=cpu` runs the file on another device, to check the tests themselves.
"""

import json
import os

import pytest
import torch

from halluguard import Guard, doctor, sandbox
from halluguard.auditing import AuditConfig, audit
from halluguard.baking import fold
from halluguard.controller import Controller, language_head
from halluguard.decoding import METHODS, Imagination
from halluguard.detectors.checkpoints import load_detector
from halluguard.detectors.self_check import SelfCheck

DEVICE = os.environ.get("HALLUGUARD_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU")
NAMES = [name for name, method in METHODS.items() if not method.is_baseline or name == "FreeBranch"]
PROMPT = "Describe the image."
MODES = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "static cache": {"cache_implementation": "static", "disable_compile": True},
}


@pytest.fixture(scope="module", autouse=True)
def full_precision():
    """The CPU's rounding is compared with the GPU's, so TF32 stays off."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def scenes():
    return sandbox.scenes(3)


@pytest.fixture(scope="module")
def guards():
    """The sandbox's Guard on a CPU and on the device."""
    return [
        Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR, device=name, dtype="float32")
        for name in ("cpu", DEVICE)
    ]


def drafts(guard, scenes, **settings):
    settings = {"max_new_tokens": 20, **settings}
    return [answer.draft for answer in guard.batch([scene.image for scene in scenes], PROMPT, **settings)]


def test_the_model_and_the_detector_are_on_the_device(guards):
    assert guards[1].model.device.type == DEVICE
    assert guards[1].detector.model.device.type == DEVICE


@pytest.mark.parametrize("name", NAMES)
def test_a_method_writes_the_same_words(guards, scenes, name):
    written = []
    for guard in guards:
        method = METHODS[name](**{**METHODS[name].required_settings(guard.model), **METHODS[name].law_settings})
        written.append(drafts(guard, scenes, decoding=method))
    assert written[0] == written[1]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_of_generation_writes_the_same_words(guards, scenes, mode):
    cpu, gpu = (drafts(guard, scenes, imagination=-0.5, **MODES[mode]) for guard in guards)
    assert cpu == gpu


def test_sampling_depends_on_its_seed_alone(guards, scenes):
    first, again, other = (
        drafts(guards[1], scenes, imagination=0.5, do_sample=True, temperature=1.5, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_answers_are_judged_and_corrected_alike(guards, scenes):
    for scene in scenes:
        cpu, gpu = (guard(scene.image, PROMPT) for guard in guards)
        assert gpu.text == cpu.text
        assert [verdict.decision for verdict in gpu.verdicts] == [verdict.decision for verdict in cpu.verdicts]


def test_stepping_back_returns_to_the_same_places(guards, scenes):
    texts = []
    for guard in guards:
        careful = Guard(guard.model, guard.processor, detector=guard.detector, step_back=True)
        texts.append([careful(scene.image, PROMPT, seed=0).text for scene in scenes])
    assert texts[0] == texts[1]


def test_a_stream_joins_to_the_answer(guards, scenes):
    streamed = guards[1].stream(scenes[0].image, PROMPT, imagination=-0.5)
    assert "".join(streamed) == guards[1](scenes[0].image, PROMPT, imagination=-0.5).text


def test_margins_and_self_check_agree(guards, scenes):
    images = [scene.image for scene in scenes]
    margins = [guard.margins(images, "Is there a dog in the image?", decoding=Imagination(-0.5)) for guard in guards]
    assert margins[1] == pytest.approx(margins[0], abs=1e-3)
    scores = [
        [box.score for (box,) in SelfCheck(guard.model, guard.processor).detect(images, [["dog"]] * len(images))]
        for guard in guards
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


@pytest.mark.parametrize("joint", [None, 0.1])
def test_a_detector_finds_the_same_boxes(scenes, joint):
    images, phrases = [scene.image for scene in scenes], [["dog", "cup", "chair"]] * len(scenes)
    options = {} if joint is None else {"joint": joint}
    cpu, gpu = (
        load_detector(sandbox.DETECTOR, device=name, **options).detect(images, phrases) for name in ("cpu", DEVICE)
    )
    for here, there in zip(cpu, gpu, strict=True):
        assert [box.phrase for box in there] == [box.phrase for box in here]
        assert [box.score for box in there] == pytest.approx([box.score for box in here], abs=1e-4)


def test_a_controller_acts_and_folds_on_the_device(scenes):
    guard = Guard.from_pretrained(sandbox.MLLM, device=DEVICE, dtype="float32")
    controller = Controller.of(guard.model, rank=4).to(guard.model.device)
    torch.nn.init.normal_(controller.up, std=0.02)
    tokens = torch.tensor([[1, 5, 6, 7]], device=guard.model.device)
    with torch.no_grad(), controller.attached(guard.model, -0.5):
        attached = guard.model(input_ids=tokens).logits
    fold(guard.model, controller, -0.5)
    with torch.no_grad():
        folded = guard.model(input_ids=tokens).logits
    assert language_head(guard.model).weight.device.type == DEVICE
    assert torch.allclose(attached, folded, atol=1e-3)


def test_bfloat16_answers_too(scenes):
    guard = Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR, device=DEVICE, dtype="bfloat16")
    answer = guard(scenes[0].image, PROMPT, imagination=-0.5)
    assert answer.draft
    assert answer.verdicts


def test_an_audit_gives_the_same_captions(tmp_path, scenes):
    rows, images = tmp_path / "captions.jsonl", tmp_path / "images"
    images.mkdir()
    with rows.open("w") as file:
        for scene in scenes:
            scene.image.save(images / f"{scene.image_id}.png")
            file.write(json.dumps({"image": f"{scene.image_id}.png", "caption": "A dog and a cup on a table."}) + "\n")
    texts = []
    for name in ("cpu", DEVICE):
        out, export = tmp_path / f"out-{name}", tmp_path / f"{name}.jsonl"
        audit(AuditConfig(rows, images=images, detector=str(sandbox.DETECTOR), device=name, out=out, export=export))
        texts.append(export.read_text())
    assert texts[0] == texts[1]


def test_the_doctor_finds_the_sandbox_healthy(guards):
    assert doctor.examine(guards[1].model, guards[1].processor).healthy
