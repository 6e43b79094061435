"""Fine-tune the sandbox MLLM on negative images and negative instructions: a LoRA adapter, by TRL and PEFT."""

from __future__ import annotations

import json
import random
from pathlib import Path

from halluguard.sandbox import fresh_scenes, load_mllm
from halluguard.sandbox.language import CAPTION_PROMPTS, CLEAN, caption
from halluguard.sandbox.train.loop import Facts
from halluguard.sandbox.world import Scene
from halluguard.tuning import Annotated, InstructionRow, fine_tune, negative_images, negative_instructions
from halluguard.tuning.question_templates import POPE_QUESTION, SHORT_ANSWERS

ADAPTER_SEEDS = 5_000_000
"""Fine-tuning scenes start here: neither the training nor the evaluation draws them."""


def build_rows(scenes: int, seed: int) -> list[InstructionRow]:
    """Balanced questions, erased images with their controls and captions, and true captions of whole images."""
    rng = random.Random(seed)
    truths: dict[int, Scene] = {}
    items = []
    for sample in fresh_scenes(scenes, start=ADAPTER_SEEDS):
        truths[sample.image_id] = sample.scene
        items.append(Annotated(sample.image_id, sample.image, tuple(sample.scene.boxes)))

    def describe(item: Annotated) -> tuple[str, str]:
        whole = truths[int(item.image_id)]
        left = Scene(whole.seed, whole.context, tuple(thing for thing in whole.objects if thing.name in item.names))
        return rng.choice(CAPTION_PROMPTS), caption(left, rng, CLEAN)

    rows = [
        *negative_instructions(items, seed=seed, questions=(POPE_QUESTION,), answers=SHORT_ANSWERS),
        *negative_images(items, seed=seed, questions=(POPE_QUESTION,), answers=SHORT_ANSWERS, describe=describe),
    ]
    rows += [InstructionRow((item.image,), *describe(item), image_id=item.image_id, kind="caption") for item in items]
    rng.shuffle(rows)
    return rows


def train(out: Path, scenes: int = 900, seed: int = 0) -> Facts:
    """Train on `scenes` images and save `adapter/` under `out`; returns the facts of the run."""
    model, processor = load_mllm(out / "mllm")
    facts = fine_tune(
        model, processor, build_rows(scenes, seed), out / "adapter", learning_rate=5e-4, seed=seed, device="cpu"
    )
    facts |= {"seed": seed, "scenes": scenes}
    (out / "adapter.facts.json").write_text(json.dumps(facts))
    return facts
