"""Arguments that people know from transformers are refused in a sentence that says what to write, at every door."""

import pytest

from halluguard import Guard, SettingsError, sandbox
from halluguard.baking import bake
from halluguard.checkpoints import load_mllm
from halluguard.correction.rewriting.llm_rewriter import ChatModel
from halluguard.detectors.checkpoints import load_detector
from halluguard.detectors.closed_set import ClosedSetDetector
from halluguard.detectors.groundingdino_py import GroundingDinoPy
from halluguard.detectors.questions import VisualQuestions
from halluguard.detectors.self_check import SelfCheck
from halluguard.detectors.written_boxes import WrittenBoxes
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.tuning.loading import load

CLASSES = (ZeroShotDetector, ClosedSetDetector, WrittenBoxes, VisualQuestions, SelfCheck, ChatModel, Guard)
DOORS = {
    **{one.__name__: one.from_pretrained for one in CLASSES},
    "load_detector": lambda name, **rest: load_detector(sandbox.DETECTOR, **rest),
    "load_mllm": load_mllm,
    "load": load,
    "bake": lambda name, **rest: bake(name, "controller.safetensors", 0.5, "out", **rest),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_old_name_of_dtype_is_refused_with_the_new_one(door):
    with pytest.raises(SettingsError, match=r"takes no argument 'torch_dtype'; write dtype=\.\.\. in its place"):
        DOORS[door](sandbox.MLLM, torch_dtype="float32")


@pytest.mark.parametrize("door", DOORS)
def test_an_argument_that_nothing_is_known_of_is_refused_before_anything_is_loaded(door):
    with pytest.raises(SettingsError, match=r"takes no argument 'qqq'; it takes .*dtype"):
        DOORS[door](sandbox.MLLM, qqq="sweet")


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("load_in_4bit", r"write quantization_config=transformers\.BitsAndBytesConfig\(load_in_4bit=\.\.\.\)"),
        ("bnb_4bit_quant_type", "write quantization_config="),
        ("use_auth_token", "write token="),
        ("use_flash_attention_2", 'write attn_implementation="flash_attention_2"'),
        ("min_pixels", r'write processor_kwargs=\{"min_pixels": \.\.\.\}'),
        ("use_fast", "write processor_kwargs="),
        ("low_cpu_mem_usage", "leave it out: weights are always loaded without a second copy"),
        ("trust_remote_code", "leave it out: code of a checkpoint is never run"),
        ("imagination", r"give it to the call: guard\(image, prompt, imagination=\.\.\.\)"),
        ("max_new_tokens", "give it to the call"),
        ("detectr", "did you mean 'detector'"),
    ],
)
def test_what_people_pass_to_from_pretrained_gets_the_place_where_it_belongs(argument, advice):
    with pytest.raises(SettingsError, match=advice):
        Guard.from_pretrained(sandbox.MLLM, **{argument: 1})


def test_what_one_door_lacks_another_word_does():
    with pytest.raises(SettingsError, match="write device="):
        ZeroShotDetector.from_pretrained(sandbox.DETECTOR, device_map="auto")
    with pytest.raises(SettingsError, match="write device_map="):
        ChatModel.from_pretrained("nobody/none", device="cuda")
    with pytest.raises(SettingsError, match="write four_bit=True"):
        load("nobody/none", load_in_4bit=True)
    with pytest.raises(SettingsError, match="from_checkpoint takes no argument 'threshold'"):
        GroundingDinoPy.from_checkpoint("GroundingDINO_SwinT_OGC", "x.pth", threshold=0.3)
