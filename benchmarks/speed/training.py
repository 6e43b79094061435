"""Measure the cost of negative images: time and activation memory of a training step, beside plain DPO, in one process.

    python benchmarks/speed/training.py

On the sandbox model, LoRA on the language model, the same pairs, CPU time. Activation memory is what autograd keeps for
the backward pass: the bytes of distinct saved tensors, weights excluded. Four sequences are run for each pair where
DPO runs two, so about twice either is expected.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer

from halluguard import sandbox
from halluguard.tuning import PreferenceRow, as_dataset
from halluguard.tuning.images import Crop
from halluguard.tuning.preference_trainer import NegativePreferenceTrainer
from halluguard.tuning.trainers import lora_config


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=8, help="pairs per batch [8]")
    parser.add_argument("--repeat", type=int, default=7, help="steps of each loss, in turn; the median is taken [7]")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        PreferenceRow(
            (sample.image,),
            "Describe the image.",
            "The image shows a kitchen with a bowl and a cup. There is a knife on the left.",
            "The image shows a kitchen with a bowl and a cup. There is a fork and a spoon on the left.",
            negative_images=(Crop(sample.image, seed=sample.image_id),),
        )
        for sample in sandbox.scenes(given.pairs)
    ]
    trainers = {"DPO": trainer(DPOTrainer, rows), "conditional": trainer(NegativePreferenceTrainer, rows)}
    found: dict[str, dict[str, Any]] = {}
    for name, which in trainers.items():
        step(which, rows)  # warm
        found[name] = {"activation bytes": activations(which, rows), "seconds": []}
    for _ in range(given.repeat):
        for name, which in trainers.items():
            started = time.process_time()
            step(which, rows)
            found[name]["seconds"].append(time.process_time() - started)
    for values in found.values():
        values["seconds"] = statistics.median(values["seconds"])
    ratios = {what: found["conditional"][what] / found["DPO"][what] for what in ("seconds", "activation bytes")}
    for name, values in found.items():
        print(
            f"{name:<12} {values['seconds']:.3f} CPU s a step, {values['activation bytes'] / 2**20:.1f} MiB activations"
        )
    print(f"ratios: time {ratios['seconds']:.2f} (at most 2.2), memory {ratios['activation bytes']:.2f} (at most 2.1)")
    if given.json:
        given.json.write_text(json.dumps({"pairs": given.pairs, "ratios": ratios, **found}) + "\n")


def trainer(cls: Any, rows: list[PreferenceRow]) -> Any:
    model, processor = sandbox.load_mllm()
    args = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        max_length=None,
        report_to="none",
        gradient_checkpointing=False,
        remove_unused_columns=False,
        save_strategy="no",
        per_device_train_batch_size=len(rows),
    )
    return cls(
        model=model,
        args=args,
        train_dataset=as_dataset(rows),
        processing_class=processor,
        peft_config=lora_config(),
    )


def step(which: Any, rows: list[PreferenceRow]) -> None:
    """Collate (images drawn), forward of policy and reference, backward."""
    loss(which, rows).backward()
    which.model.zero_grad(set_to_none=True)


def loss(which: Any, rows: list[PreferenceRow]) -> Any:
    which.model.train()
    return which.compute_loss(which.model, which.data_collator([row.to_conversation() for row in rows]))


def activations(which: Any, rows: list[PreferenceRow]) -> int:
    """Bytes of the distinct storages that autograd keeps of one forward, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in which.model.parameters()}
    kept: dict[int, int] = {}
    held = []

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)  # alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = loss(which, rows)
    del found
    return sum(kept.values())


if __name__ == "__main__":
    main()
