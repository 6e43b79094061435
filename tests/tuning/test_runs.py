"""Whole runs: resumed as if never interrupted, exported to a folder that needs nothing of ours, two processes as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("trl")

from halluguard import Guard, InputError, UnsupportedModelError
from halluguard.sandbox.models import build_mllm, build_processor
from halluguard.tuning import InstructionRow, PreferenceRow, RatedRow, fine_tune
from halluguard.tuning.export import card, export
from halluguard.tuning.images import Crop
from halluguard.tuning.trainers import PreferenceLoss

from .conftest import noise

ROOT = Path(__file__).parents[2]


def fresh():
    torch.manual_seed(0)
    processor = build_processor()
    return build_mllm(processor), processor


def drawn_pairs(count=16):
    """Each row's negative is a crop that is drawn when the row is read."""
    return [
        PreferenceRow(
            (noise(i),), "Is there a dog in the image?", ("Yes.", "No.")[i % 2], ("No.", "Yes.")[i % 2],
            negative_images=(Crop(noise(i), seed=i),),
        )
        for i in range(count)
    ]  # fmt: skip


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def train(out, rows=None, **more):
    model, processor = fresh()
    settings = {"learning_rate": 1e-2, "batch_size": 2, "device": "cpu", "rank": 4, **more}
    return fine_tune(model, processor, rows or drawn_pairs(), out, **settings)


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    """Also the negatives drawn after the interruption are those it would have seen."""
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 5:
                raise KilledError

    train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "cut", save_every=4, callbacks=[Kill()])
    facts = train(tmp_path / "cut", save_every=4, resume=True)
    assert facts["steps"] == 8
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert max(float((whole[name] - cut[name]).abs().max()) for name in whole) <= 1e-6


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(InputError, match="resume"):
        train(tmp_path, resume=True)


def test_another_number_of_workers_draws_the_same_negatives():
    from torch.utils.data import DataLoader

    from halluguard.tuning import as_dataset
    from halluguard.tuning.collating import NegativeImageCollator

    data, collator = as_dataset(drawn_pairs(8)), NegativeImageCollator(build_processor())
    none, two = (
        [batch["pixel_values"] for batch in DataLoader(data, batch_size=2, num_workers=n, collate_fn=collator)]
        for n in (0, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(none, two, strict=True))


def test_ratings_are_learnt_by_kto(tmp_path):
    rows = [RatedRow((noise(i),), "Is there a dog?", ("Yes.", "No.")[i % 2], bool(i % 2)) for i in range(8)]
    facts = train(tmp_path, rows, batch_size=4)
    assert facts["first loss"] == pytest.approx(0.5, abs=1e-4)
    assert (tmp_path / "adapter_model.safetensors").exists()


def test_losses_of_trl_can_be_mixed(tmp_path):
    preference = PreferenceLoss(losses=("sigmoid", "sft"), loss_weights=(1.0, 0.25), visual_weight=0.5, gamma=2.0)
    assert train(tmp_path, preference=preference)["steps"] == 8


def test_after_a_run_a_copy_of_the_model_is_its_own(tmp_path):
    """TRL leaves a forward on the model that a deep copy would share: the copy would run the original's weights."""
    import copy

    model, processor = fresh()
    fine_tune(model, processor, drawn_pairs(4), tmp_path, batch_size=2, device="cpu", rank=4)
    inputs = Guard(model, processor).inputs([noise(0)], ["Is there a dog?"])
    other = copy.deepcopy(model).eval()
    with torch.no_grad():
        before = other(**inputs).logits
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(other(**inputs).logits, before)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model, processor = fresh()
    model.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    rows = [InstructionRow((noise(i),), "Describe the image.", "A dog and a cat.") for i in range(8)]
    facts = train(folder / "adapter", rows, epochs=3)
    export(
        folder / "base", folder / "adapter", folder / "merged", facts=facts, data="Noise.",
        licenses=("CC BY-NC 4.0",), metrics={"CHAIRi": (0.2, (0.1, 0.3))},
    )  # fmt: skip
    return folder


def test_the_export_loads_without_halluguard_and_trl_and_says_the_same(exported, tmp_path):
    guard = Guard.from_pretrained(exported / "base", adapter=exported / "adapter", device="cpu")
    expected = guard.drafts([noise(3)], ["Describe the image."], max_new_tokens=12)[0]
    assert expected
    noise(3).save(tmp_path / "image.png")
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('halluguard', 'trl'):
            raise ImportError(name + ' is not installed here')
sys.meta_path.insert(0, Absent())
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
processor = AutoProcessor.from_pretrained(sys.argv[1])
chat = [{'role': 'user', 'content': [{'type': 'image'}, {'type': 'text', 'text': 'Describe the image.'}]}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(images=[Image.open(sys.argv[2])], text=[text], return_tensors='pt')
ids = model.generate(**inputs, max_new_tokens=12)[:, inputs['input_ids'].shape[1]:]
print('SAYS:' + processor.batch_decode(ids, skip_special_tokens=True)[0].strip())
assert not {'halluguard', 'trl'} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(exported / "merged"), str(tmp_path / "image.png")],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-800:]
    assert run.stdout.strip().splitlines()[-1] == "SAYS:" + expected


def test_the_merged_logits_are_those_of_the_adapter(exported):
    adapted = Guard.from_pretrained(exported / "base", adapter=exported / "adapter", device="cpu")
    merged = Guard.from_pretrained(exported / "merged", device="cpu")
    inputs = merged.inputs([noise(3)], ["Describe the image."])
    with torch.no_grad():
        assert torch.allclose(adapted.model(**inputs).logits, merged.model(**inputs).logits, atol=1e-4)


def test_the_card_carries_data_licence_and_numbers(exported):
    text = (exported / "merged" / "README.md").read_text()
    for words in ("CC BY-NC 4.0", "Noise.", "| CHAIRi | 0.2 [0.1, 0.3] |", "base_model:"):
        assert words in text
    assert "Nothing was measured" in card("base", "title")


def test_an_adapter_for_another_base_is_not_merged(exported, tmp_path):
    from transformers import LlavaForConditionalGeneration

    model, processor = fresh()
    model.config.text_config.hidden_size, model.config.text_config.head_dim = 96, 24
    LlavaForConditionalGeneration(model.config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="base model it was trained on"):
        export(tmp_path, exported / "adapter", tmp_path / "merged")
    with pytest.raises(InputError, match="adapter_config"):
        export(tmp_path, tmp_path / "nothing", tmp_path / "merged")


WORKER = """
import json, sys
from safetensors.torch import save_file
from halluguard.tuning import as_dataset
from halluguard.tuning.preference_trainer import NegativePreferenceTrainer
from halluguard.tuning.trainers import lora_config
from tests.tuning.test_preference_trainer import settings
from tests.tuning.test_runs import drawn_pairs, fresh

out, batch = sys.argv[1], int(sys.argv[2])
model, processor = fresh()
# plain gradient descent: Adam would turn rounding errors of tiny gradients into whole steps
args = settings(out, per_device_train_batch_size=batch, max_steps=3, learning_rate=1.0, optim="sgd")
trainer = NegativePreferenceTrainer(
    model, args, train_dataset=as_dataset(drawn_pairs(12)), processing_class=processor, peft_config=lora_config(4)
)
trainer.train()
if trainer.accelerator.is_main_process:
    save_file({n: p.detach().contiguous() for n, p in trainer.model.named_parameters() if p.requires_grad}, out + ".st")
    losses = [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]
    print("FOUND:" + json.dumps([trainer.accelerator.num_processes, losses]))
"""


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    # what `accelerate launch` calls for several GPUs; on a CPU it starts one process whatever it is told
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    found = {}
    for count, batch in ((2, 2), (1, 4)):
        run = subprocess.run(
            [*launch, str(count), str(script), str(tmp_path / str(count)), str(batch)],
            capture_output=True, text=True, cwd=ROOT, env=env, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-1500:]
        line = next(line for line in run.stdout.splitlines() if line.startswith("FOUND:"))
        processes, losses = json.loads(line.removeprefix("FOUND:"))
        assert processes == count, "the launcher did not start as many processes as asked for"
        found[count] = losses, load_file(tmp_path / f"{count}.st")
    (one, first), (two, second) = found[1], found[2]
    assert one == pytest.approx(two, abs=1e-5)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) <= 1e-5
    assert len(set(one)) == 3, "nothing was learnt: the comparison says nothing"
