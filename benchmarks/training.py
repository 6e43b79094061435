"""Does training on negative pictures make a model look? A causal test on the sandbox, whose truth is known.

    python benchmarks/training.py run --arm negative --seed 0 --out runs/training     # train, evaluate, write JSON
    python benchmarks/training.py table --out runs/training                           # what all runs found

Arms, all with the same rows, steps and settings, only the pictures differ:

    base       not trained
    negative   a picture with one object erased beside the same picture with background erased; each is the other's
               negative, the question about the object is answered no on one and yes on the other, and so in captions
    blank      the same with every picture grey: what the texts alone teach
    equal      the same with both pictures the same, nothing erased: what pairs teach whose negative is no negative
    sft        the chosen answers of `negative`, learnt plainly, without preference and negatives

Only `negative` (and `sft`) can teach to look. Where `blank` or `equal` raise the AUC as well, something else was learnt.
Evaluation: fresh scenes that no training has seen; POPE's three splits by logit(Yes) - logit(No); CHAIR of greedy
captions. One run takes some minutes of one core; a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from halluguard import sandbox
from halluguard.sandbox import measure
from halluguard.sandbox.language import CAPTION_PROMPTS, CLEAN, caption
from halluguard.sandbox.world import Scene
from halluguard.tuning import Annotated, PreferenceRow, fine_tune, negative_images
from halluguard.tuning.trainers import Preference

ARMS = ("base", "negative", "blank", "equal", "sft")
TRAINING_SEEDS = 5_000_000
"""Training scenes start here, and a hundred thousand further for each seed; evaluation draws from 10 000 000 on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="train one arm with one seed, and evaluate it")
    run_parser.add_argument("--arm", choices=ARMS, required=True)
    run_parser.add_argument("--seed", type=int, default=0)
    run_parser.add_argument("--scenes", type=int, default=600, help="training scenes [600]")
    run_parser.add_argument("--fresh", type=int, default=800, help="evaluation scenes [800]")
    run_parser.add_argument("--learning-rate", type=float, default=5e-4)
    run_parser.add_argument("--epochs", type=float, default=1.0)
    run_parser.add_argument("--beta", type=float, default=0.1)
    run_parser.add_argument("--out", type=Path, default=Path("runs/training"))
    commands.add_parser("table", help="print what the runs found").add_argument(
        "--out", type=Path, default=Path("runs/training")
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.command == "table":
        print("\n".join(table(given.out)))
    else:
        run(given)


# --- data --------------------------------------------------------------------------------------------------------


def pairs(count: int, seed: int, arm: str) -> list[PreferenceRow]:
    """Four rows a scene: the question and the caption, on the picture with and without the object."""
    rng = random.Random(seed)
    samples = list(sandbox.fresh_scenes(count, start=TRAINING_SEEDS + 100_000 * seed))
    whole = {sample.image_id: sample for sample in samples}
    items = [Annotated(sample.image_id, sample.image, tuple(sample.scene.boxes)) for sample in samples]

    def describe(item: Annotated) -> tuple[str, str]:
        scene = whole[int(item.image_id)].scene
        left = Scene(scene.seed, scene.context, tuple(thing for thing in scene.objects if thing.name in item.names))
        return rng.choice(CAPTION_PROMPTS), caption(left, rng, CLEAN)

    made = negative_images(items, seed=seed, describe=describe)
    rows: list[PreferenceRow] = []
    for without, control, told in zip(made, made, made, strict=True):
        sample = whole[int(without.image_id)]
        full = caption(sample.scene, rng, CLEAN)
        pictures = (control.images, without.images)
        if arm == "equal":
            pictures = ((sample.image,), (sample.image,))
        if arm == "blank":
            grey = (blank(sample.image),)
            pictures = (grey, grey)
        for prompt, there, gone in ((control.prompt, "Yes.", "No."), (told.prompt, full, told.completion)):
            if there == gone:
                continue
            rows.append(PreferenceRow(pictures[0], prompt, there, gone, negative_images=pictures[1]))
            rows.append(PreferenceRow(pictures[1], prompt, gone, there, negative_images=pictures[0]))
    rng.shuffle(rows)
    return rows


def blank(image: Any) -> Any:
    from PIL import Image

    return Image.new("RGB", image.size, (128, 128, 128))


# --- one run -----------------------------------------------------------------------------------------------------


def run(given: argparse.Namespace) -> None:
    """Train unless the adapter is there, evaluate unless the JSON is there."""
    import torch

    torch.set_num_threads(1)
    name = given.arm if given.arm == "base" else f"{given.arm}-{given.seed}"
    target, adapter = given.out / f"{name}.json", given.out / f"{name}.adapter"
    if target.exists():
        print(f"{target} is there")
        return
    settings = {key: value for key, value in vars(given).items() if key not in ("command", "out")}
    facts: dict[str, Any] = {}
    if given.arm != "base" and not (adapter / "adapter_model.safetensors").exists():
        facts = train(given, adapter)
        (given.out / f"{name}.facts.json").write_text(json.dumps(facts))
    found = evaluate(adapter if given.arm != "base" else None, given.fresh)
    target.write_text(json.dumps({"arm": given.arm, "seed": given.seed, "settings": settings, **found}) + "\n")
    print(json.dumps({key: round(value, 4) for key, value in found["values"].items()}))


def train(given: argparse.Namespace, adapter: Path) -> dict[str, Any]:
    model, processor = sandbox.load_mllm()
    rows: list[Any] = pairs(given.scenes, given.seed, given.arm)
    if given.arm == "sft":
        rows = [row.to_instruction() for row in rows]
    return fine_tune(
        model,
        processor,
        rows,
        adapter,
        preference=Preference(beta=given.beta),
        learning_rate=given.learning_rate,
        epochs=given.epochs,
        seed=given.seed,
        device="cpu",
        check=False,
    )


def evaluate(adapter: Path | None, fresh: int) -> dict[str, Any]:
    """Values with intervals, and the counts per image for paired comparisons."""
    from halluguard import Guard

    guard = Guard.from_pretrained(sandbox.MLLM, adapter=adapter, device="cpu", local_files_only=True)
    samples = list(sandbox.fresh_scenes(fresh))
    exam = measure.Exam.of(samples)
    margins = exam.margins(guard)
    values: dict[str, float] = {}
    intervals: dict[str, Any] = {}
    per_image: dict[str, Any] = {}
    for split in measure.SPLITS:
        score = exam.score(split, exam.answers(margins), margins)
        values |= {f"{split} {key}": value for key, value in score.values.items()}
        intervals |= {f"{split} {key}": value for key, value in score.intervals.items()}
        values[f"{split} false yes"] = score.counts["FP"] / (score.counts["FP"] + score.counts["TN"])
        per_image[split] = dict(score.per_image)
    chair = measure.chair_of(measure.captions(guard, samples), samples)
    values |= dict(chair.values)
    intervals |= dict(chair.intervals)
    per_image["chair"] = dict(chair.per_image)
    signatures = [score.signature, chair.signature]
    return {"values": values, "intervals": intervals, "signatures": signatures, "per_image": per_image}


# --- all runs ----------------------------------------------------------------------------------------------------

SHOWN = ("adversarial auc", "adversarial false yes", "adversarial recall", "adversarial yes_ratio", "adversarial acc",
         "CHAIRi", "recall", "length")  # fmt: skip


def table(out: Path) -> Iterator[str]:
    """Markdown: each run with intervals over images, then mean and spread over seeds, and the paired differences."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*.json")) if ".facts" not in path.name]
    runs = [run for run in runs if "values" in run]
    yield f"| arm | seed | {' | '.join(SHOWN)} |"
    yield f"|{'---|' * (len(SHOWN) + 2)}"
    for arm in ARMS:
        mine = [run for run in runs if run["arm"] == arm]
        for run in sorted(mine, key=lambda run: run["seed"]):
            cells = [_cell(name, run) for name in SHOWN]
            yield f"| {arm} | {run['seed'] if arm != 'base' else ''} | {' | '.join(cells)} |"
        if len(mine) > 1:
            cells = []
            for name in SHOWN:
                values = [run["values"][name] * _scale(name) for run in mine]
                cells.append(f"{mean(values):.1f} ± {stdev(values):.1f}")
            yield f"| **{arm}** | mean ± sd | {' | '.join(cells)} |"


def _scale(name: str) -> float:
    return 1.0 if name == "length" else 100.0


def _cell(name: str, run: dict[str, Any]) -> str:
    value = f"{run['values'][name] * _scale(name):.1f}"
    if name not in run["intervals"]:
        return value
    low, high = (bound * _scale(name) for bound in run["intervals"][name])
    return f"{value} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
