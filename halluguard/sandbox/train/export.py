"""Write the package data: float16 safetensors, model cards, and the drawn test scenes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.sandbox import ADAPTER, DETECTOR, MLLM, TEST_SCENES, fresh_scenes, load_detector, load_mllm
from halluguard.sandbox.measure import detector_quality
from halluguard.sandbox.train.scenes import SHIPPED_SEEDS

CALIBRATION_SEEDS = 9_000_000
"""Scenes on which the detector's thresholds are chosen: neither trained on nor evaluated on."""

CARD = """---
license: {license}
library_name: {library}
tags: [halluguard, sandbox]
---
# {title}

{text}

Made by `{command}`.

| fact | value |
|---|---|
{facts}

Loss curve (means over the steps before each line):

| {head} |
|{rule}|
{curve}
"""

MLLM_TEXT = """A LLaVA-architecture model of about 3 million parameters, trained from scratch on drawn scenes of 45
COCO categories (112 x 112 pixels). It describes a scene in two to four sentences and answers questions about
existence, counts, colours and left/right.

**It hallucinates on purpose, and nothing in its decoding is rigged.** Its training captions name absent companions of
what is visible (a knife where there is a fork) with a fixed probability per pair, and captions learnt without a
image do so more often: a language prior stronger than the image-conditioned one, as in large models. Yes/no answers
about such companions carry the same bias.

It shows mechanics and directions, never the size of gains on real models. Measure it with
`python -m halluguard.sandbox.evaluate`."""

DETECTOR_TEXT = """An OWL-ViT-architecture detector of about 2 million parameters for the sandbox's 45 categories,
trained from the same pretrained tower as the sandbox MLLM, on the true boxes. It makes errors of its own; measure them
with `python -m halluguard.sandbox.evaluate`. Words outside its vocabulary are `<unk>` to it."""

ADAPTER_TEXT = """A LoRA adapter of the sandbox MLLM's language model, fine-tuned by `halluguard.tuning` on balanced
yes/no questions about present and absent objects, on images with one object erased beside controls with an equal
patch of background erased, and on true captions of both."""


def export(out: Path, test_scenes: int = 200) -> None:
    """Write the package data from the training folder `out`."""
    for name, target, load in (("mllm", MLLM, load_mllm), ("detector", DETECTOR, load_detector)):
        if (out / name).exists():
            model, processor = load(out / name)
            if name == "detector":
                model.config.halluguard_thresholds = thresholds(model, processor)
            model.half().save_pretrained(target)
            processor.save_pretrained(target)
            text = MLLM_TEXT if name == "mllm" else DETECTOR_TEXT
            _write_card(out, name, target, f"The sandbox {'MLLM' if name == 'mllm' else 'detector'}", text)
    if (out / "adapter").exists():
        _export_adapter(out / "adapter", ADAPTER)
        _write_card(out, "adapter", ADAPTER, "The sandbox adapter", ADAPTER_TEXT)
    _export_scenes(test_scenes)


def thresholds(model: PreTrainedModel, processor: ProcessorMixin, scenes: int = 400) -> tuple[float, float]:
    """The thresholds (high, low), on a grid of 0.05, from scenes kept for this purpose.

    Above high, the precision of presence is at least 0.9. Below low lie at most 3 % of the objects that are there.
    """
    detector = ZeroShotDetector(model, processor)
    samples = list(fresh_scenes(scenes, start=CALIBRATION_SEEDS))
    grid = [round(0.05 * step, 2) for step in range(1, 20)]
    quality = {at: detector_quality(detector, samples, at) for at in grid}
    high = min(at for at in grid if quality[at]["presence precision"][0] >= 0.9)
    low = max(at for at in grid if quality[at]["presence recall"][0] >= 0.97)
    return high, min(high, low)


def _export_adapter(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.float16) for key, value in load_file(source / "adapter_model.safetensors").items()}
    save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "halluguard/sandbox/weights/mllm"
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _write_card(out: Path, name: str, target: Path, title: str, text: str) -> None:
    facts = json.loads((out / f"{name}.facts.json").read_text())
    facts.pop("last", None)
    log = out / f"{name}.log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    curve = lines[:: max(1, len(lines) // 20)] + lines[-1:] if lines else []
    head = list(curve[-1]) if curve else ["first loss", "last loss"]
    rows = [[line.get(key, "") for key in head] for line in curve] or [[facts.get(key, "") for key in head]]
    (target / "README.md").write_text(
        CARD.format(
            license="apache-2.0",
            library="peft" if name == "adapter" else "transformers",
            title=title,
            text=text,
            command=f"python -m halluguard.sandbox.train {name}",
            facts="\n".join(f"| {key} | {value} |" for key, value in facts.items()),
            head=" | ".join(head),
            rule="---|" * (len(head) - 1) + "---",
            curve="\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows),
        ),
        encoding="utf-8",
    )


def _export_scenes(count: int) -> None:
    shutil.rmtree(TEST_SCENES, ignore_errors=True)
    TEST_SCENES.mkdir(parents=True)
    truths = []
    for sample in fresh_scenes(count, start=SHIPPED_SEEDS):
        sample.image.save(TEST_SCENES / f"{sample.image_id}.webp", quality=92, method=6)
        truths.append(sample.scene.to_dict())
    (TEST_SCENES / "scenes.jsonl").write_text("".join(json.dumps(truth) + "\n" for truth in truths))
    (TEST_SCENES / "LICENSE").write_text(
        "The images in this folder are drawn with OpenMoji glyphs (https://openmoji.org), recoloured and composed.\n"
        "OpenMoji is licensed under CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/);\n"
        "so are these images.\n"
    )
