"""Fine-tune a model on negative images, watch it while it learns, and export it: the same script small and large.

    python examples/train_negative_images.py                                  # the sandbox, on a CPU, some minutes
    accelerate launch examples/train_negative_images.py --model llava-hf/llava-1.5-7b-hf --four-bit \\
        --instances annotations/instances_train2017.json --captions annotations/captions_train2017.json \\
        --images train2017 --images 8000                                    # a 7B model, on GPUs

Needs the extra `train`; the sandbox also `sandbox`. Every image is asked about an object that is erased in one copy
and there in another, and paired with a natural image that lacks what it has; the true answer is preferred, and so is
the image that it fits. A part of the images is held out and measured while training.

For 7B these are estimates, not measurements: with LoRA in bfloat16, 8 pairs a batch and gradient checkpointing about
40 GB of GPU memory; with --four-bit about 24 GB; for 16,000 pairs some 3 hours of one 80 GB GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from halluguard import Guard, sandbox
from halluguard.tuning import Annotated, fine_tune
from halluguard.tuning.annotations import coco_items
from halluguard.tuning.counterfactuals import erased_preferences, swapped_preferences
from halluguard.tuning.evaluation import Evaluation, HeldOut
from halluguard.tuning.export import export
from halluguard.tuning.loading import load
from halluguard.tuning.splits import EvaluationImages, split_by_image, without_leaks
from halluguard.tuning.trainers import PreferenceLoss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="hub name or folder; the sandbox model by default")
    parser.add_argument("--instances", type=Path, help="COCO's instances_*.json; drawn scenes by default")
    parser.add_argument("--captions", type=Path, help="COCO's captions_*.json: what they name is not called absent")
    parser.add_argument("--images", type=Path, help="folder of the images")
    parser.add_argument("--images", type=int, default=150, help="number of images to use [150]")
    parser.add_argument("--learning-rate", type=float, help="learning rate [1e-5; sandbox: 5e-4]")
    parser.add_argument("--batch-size", type=int, default=8, help="pairs per step [8]")
    parser.add_argument("--four-bit", action="store_true", help="QLoRA; needs bitsandbytes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the rows and of the training [0]")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/negative-images"), help="folder for the adapter [runs/negative-images]"
    )
    options = parser.parse_args()

    small = options.model is None
    base = str(sandbox.MLLM) if small else options.model
    items, leaked = without_leaks(images(options), EvaluationImages())
    print(f"{len(items)} images; {len(leaked)} left out, which evaluations use")
    learnt, kept = split_by_image(items, share=0.15, seed=options.seed)
    rows = [*erased_preferences(learnt, seed=options.seed), *swapped_preferences(learnt, seed=options.seed)]
    # Each question is asked of two images with opposite answers, so no lean towards yes or no pays.
    print(f"{len(rows)} preference rows of {len(learnt)} images; {len(kept)} images held out")

    model, processor = load(base, four_bit=options.four_bit)
    held = HeldOut([item.open() for item in kept[:100]], [item.names for item in kept[:100]])
    watch = Evaluation(Guard(model, processor), held, every=200, out=options.out, stop=not small)
    facts = fine_tune(
        model,
        processor,
        rows,
        options.out / "adapter",
        preference=PreferenceLoss(),
        learning_rate=options.learning_rate or (5e-4 if small else None),
        batch_size=options.batch_size,
        bf16=not small,
        checkpointing=not small,
        save_every=200,
        seed=options.seed,
        callbacks=[watch],
        device="cpu" if small else None,
    )
    start, end = watch.history[0][1], watch.history[-1][1]
    for name, before in start.items():
        print(f"{name:<16} {before:8.3f} -> {end[name]:.3f}")
    for step, alarm in watch.raised:
        print(f"alarm at step {step}: {alarm}")
    told = f"{len(rows)} rows made from {options.instances or 'drawn scenes'}"
    licenses = tuple({row.license for row in rows if row.license})
    folder = export(
        base, options.out / "adapter", options.out / "merged", facts=facts, data=told, licenses=licenses, metrics=end
    )
    print(f"merged model in {folder}; it loads with transformers alone")


def images(options: argparse.Namespace) -> list[Any]:
    """Images whose objects are all known."""
    if options.instances is not None:
        items = coco_items(options.instances, options.images, captions=options.captions)
        return [item for item, _ in zip(items, range(options.images), strict=False)]
    samples = sandbox.fresh_scenes(options.images, start=5_000_000)
    return [Annotated(sample.image_id, sample.image, tuple(sample.scene.boxes)) for sample in samples]


if __name__ == "__main__":
    main()
