"""A training that would fail silently is refused: each check is shown to fire."""

import math

import pytest
import torch

pytest.importorskip("trl")

from trl import DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from halluguard.errors import PreflightError
from halluguard.sandbox.models import build_processor
from halluguard.tuning import InstructionRow, RatedRow, as_dataset
from halluguard.tuning.preference_trainer import NegativePreferenceTrainer
from halluguard.tuning.preflight import preflight
from halluguard.tuning.trainers import lora_config

from .conftest import moved, noise, preferences
from .test_preference_trainer import settings

COMMON = {
    "use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": False,
    "remove_unused_columns": False, "disable_tqdm": True, "save_strategy": "no", "max_length": None,
}  # fmt: skip


def instructions():
    return [InstructionRow((noise(i),), "Is there a dog in the image?", ("Yes.", "No.")[i % 2]) for i in range(4)]


def sft(model, processor, folder, rows=None, **more):
    args = SFTConfig(output_dir=str(folder), **{**COMMON, **more})
    data = as_dataset(instructions() if rows is None else rows)
    return SFTTrainer(model, args, train_dataset=data, processing_class=processor)


def preference(model, processor, folder, **more):
    rows = as_dataset(preferences())
    return NegativePreferenceTrainer(model, settings(folder), train_dataset=rows, processing_class=processor, **more)


def test_a_sound_training_passes_and_is_described(model, processor, tmp_path):
    found = preflight(preference(model, processor, tmp_path, peft_config=lora_config(4), visual_weight=2.0))
    assert found.rows == 4
    assert found.loss == pytest.approx(found.law, abs=1e-4)
    # text and anchor of all rows, the visual term of the three that have an image
    assert found.law == pytest.approx((2 + 2.0 * 3 / 4) * math.log(2), abs=1e-6)
    assert found.gradient > 0
    assert found.image_tokens == 3 * 4 * 49
    assert found.learnt_tokens > 20


def test_it_changes_nothing(model, processor, tmp_path):
    trainer = preference(model, processor, tmp_path, peft_config=lora_config(4))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    preflight(trainer)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert not any(trainer._metrics["train"].values())


def test_kto_starts_at_one_half(model, processor, tmp_path):
    rows = [RatedRow((noise(i),), "Is there a dog?", ("Yes.", "No.")[i % 2], bool(i % 2)) for i in range(4)]
    trainer = KTOTrainer(
        model, args=KTOConfig(output_dir=str(tmp_path), **{**COMMON, "per_device_train_batch_size": 4}),
        train_dataset=as_dataset(rows), processing_class=processor, peft_config=lora_config(4),
    )  # fmt: skip
    assert preflight(trainer).loss == pytest.approx(0.5, abs=1e-4)


def test_a_reference_that_is_not_the_policy_is_refused(model, processor, tmp_path):
    """TRL reloads a missing reference from disk: after training in process these are other weights."""
    with pytest.raises(PreflightError, match="policy and reference"):
        preflight(preference(moved(model, 0.2), processor, tmp_path, ref_model=model))


@pytest.mark.parametrize("cls", ["sft", "dpo"])
def test_a_limit_that_can_cut_answers_is_refused(model, processor, tmp_path, cls):
    if cls == "sft":
        trainer = sft(model, processor, tmp_path, max_length=60)
    else:
        args = settings(tmp_path)
        args.max_length = 60
        trainer = DPOTrainer(
            model, moved(model, 0.0), args, train_dataset=as_dataset(preferences()), processing_class=processor
        )
    with pytest.raises(PreflightError, match="max_length"):
        preflight(trainer)


def test_answers_without_an_end_are_refused(model, tmp_path):
    processor = build_processor()
    processor.chat_template = processor.chat_template.replace("</s>", "")
    with pytest.raises(PreflightError, match="end-of-sequence"):
        preflight(sft(model, processor, tmp_path))


def test_a_start_token_only_inference_has_is_refused_and_the_template_can_be_mended(model, tmp_path):
    """LLaVA-1.5: the tokenizer adds <s>, the template writes neither <s> nor </s>."""
    from tokenizers.processors import TemplateProcessing

    from halluguard.tuning.chat_template import trainable

    processor = build_processor()
    processor.chat_template = processor.chat_template.replace("</s>", "")
    start = processor.tokenizer.bos_token_id
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", start)]
    )
    with pytest.raises(PreflightError, match="another prompt"):
        preflight(sft(model, processor, tmp_path))
    mended = trainable(processor)
    preflight(sft(model, mended, tmp_path))
    chat = instructions()[0].to_conversation()["prompt"]
    text = mended.apply_chat_template(chat, add_generation_prompt=True)
    ids = mended(text=[text], images=[[noise(0)]])["input_ids"][0]
    assert ids.count(start) == 1
    assert trainable(mended).chat_template == mended.chat_template, "mending twice is mending once"


def test_answers_tokenised_apart_otherwise_than_together_are_refused(model, tmp_path):
    """A Llama-2 normaliser puts a space in front of every text: the answer's first token is never generated."""
    from tokenizers import normalizers

    processor = build_processor()
    processor.tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("one ")
    with pytest.raises(PreflightError, match="tokenised separately"):
        preflight(sft(model, processor, tmp_path))


def test_prompts_among_the_learnt_tokens_are_refused(model, processor, tmp_path):
    """Rows of `messages` train on the prompt and on every image token."""
    from datasets import Dataset

    row = instructions()[0].to_conversation()
    data = Dataset.from_list([{"images": row["images"], "messages": row["prompt"] + row["completion"]}] * 2)
    trainer = SFTTrainer(
        model, SFTConfig(output_dir=str(tmp_path), **COMMON), train_dataset=data, processing_class=processor
    )
    with pytest.raises(PreflightError, match="image tokens are among"):
        preflight(trainer)


def test_a_training_without_a_gradient_is_refused(model, processor, tmp_path):
    trainer = sft(model, processor, tmp_path)
    for parameter in trainer.model.parameters():
        parameter.requires_grad_(False)
    model.model.vision_tower.post_layernorm.weight.requires_grad_(True)  # LLaVA passes it over
    with pytest.raises(PreflightError, match="gradient is 0"):
        preflight(trainer)
