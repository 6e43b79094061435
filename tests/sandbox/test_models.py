"""The shipped models: loaded by transformers alone, small, safe, and as good as the model cards say."""

import json
import subprocess
import sys

import pytest

from halluguard import Guard, sandbox
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.sandbox import measure


def test_everything_shipped_is_small_and_holds_no_pickle():
    files = [path for path in sandbox.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert sum(path.stat().st_size for path in sandbox.ADAPTER.iterdir()) < 2e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".jinja"}


def test_transformers_loads_them_without_our_code():
    code = (
        "import sys; from transformers import AutoModelForImageTextToText as M, AutoProcessor as P, "
        "AutoModelForZeroShotObjectDetection as D\n"
        f"M.from_pretrained({str(sandbox.MLLM)!r}); P.from_pretrained({str(sandbox.MLLM)!r})\n"
        f"D.from_pretrained({str(sandbox.DETECTOR)!r}); P.from_pretrained({str(sandbox.DETECTOR)!r})\n"
        "sys.exit('halluguard' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


def test_the_adapter_names_no_folder_of_the_machine_it_was_made_on():
    config = json.loads((sandbox.ADAPTER / "adapter_config.json").read_text())
    assert not config["base_model_name_or_path"].startswith("/")


def test_two_hundred_test_scenes_that_training_never_saw():
    samples = sandbox.scenes()
    assert len(samples) == 200
    assert min(sample.image_id for sample in samples) >= 20_000_000
    assert all(sample.image.size == (112, 112) and sample.names for sample in samples)


@pytest.fixture(scope="module")
def few():
    return sandbox.scenes(60)


def test_the_model_hallucinates_companions_and_sees_well(few):
    guard = Guard.from_pretrained(sandbox.MLLM, device="cpu")
    score = measure.chair_of(measure.captions(guard, few), few)
    assert 0.10 < score["CHAIRi"] < 0.30
    assert score["recall"] > 0.75
    assert measure.partner_share(score, few) > 0.5
    exam = measure.Exam.of(few)
    margins = exam.margins(guard)
    assert exam.score("random", exam.answers(margins), margins)["auc"] > 0.9
    assert exam.score("adversarial", exam.answers(margins), margins)["auc"] > 0.8


def test_the_expert_finds_what_is_there(few):
    expert = ZeroShotDetector.from_pretrained(sandbox.DETECTOR)
    quality = measure.detector_quality(expert, few, expert.thresholds[0])
    assert quality["presence recall"][0] > 0.85
    assert quality["presence precision"][0] > 0.85
    assert quality["mean IoU of hits"][0] > 0.6


def test_the_expert_does_not_cover_words_it_never_learnt():
    expert = ZeroShotDetector.from_pretrained(sandbox.DETECTOR)
    assert expert.covers("dog")
    assert not expert.covers("submarine")
