"""Does training on negative images make a model look? A causal test on the sandbox, whose truth is known.

    python benchmarks/training.py run --method sft --arm negative --seed 0 --out runs/training   # train, evaluate
    python benchmarks/training.py table --out runs/training                                      # what all runs found

Arms, all with the same questions, answers, steps and settings; only the images differ:

    base       not trained
    negative   pairs of images of which one lacks an object: it is erased there (and background is erased in the
               other), or the two are natural images that share objects. The same question is answered yes on one and
               no on the other; captions name the object on one and not on the other
    blank      the same with every image grey: what the texts alone teach
    equal      the same with both images the same: what pairs teach whose negative is not a negative

Methods: `sft` learns the true answers with TRL's SFTTrainer; `preference` prefers them to the false ones, each image
being the other's negative (mDPO's three terms). Only `negative` can teach to look: where `blank` or `equal` raise the
AUC as well, something else was learnt.

Evaluation: fresh scenes that no training has seen; POPE's three splits by logit(Yes) - logit(No); CHAIR of greedy
captions. A run takes some minutes of one core; one that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from PIL import Image

from halluguard import sandbox
from halluguard.sandbox import measure
from halluguard.sandbox.language import CAPTION_PROMPTS, CLEAN, caption, existence_question
from halluguard.sandbox.world import IMAGE_SIZE, Scene
from halluguard.tuning import Annotated, PreferenceRow, fine_tune, negative_images
from halluguard.tuning.question_templates import POPE_QUESTION, QUESTIONS

ARMS = ("base", "negative", "blank", "equal")
LEARNING_RATES = {"sft": 5e-4, "preference": 1e-3}
TRAINING_SEEDS = 5_000_000
"""Training scenes start here, and a hundred thousand further for each seed; evaluation draws from 10 000 000 on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="train one arm with one seed, and evaluate it")
    run_parser.add_argument("--arm", choices=ARMS, required=True, help="training rows to use")
    run_parser.add_argument("--method", choices=tuple(LEARNING_RATES), default="sft", help="trainer [sft]")
    run_parser.add_argument("--seed", type=int, default=0, help="seed of the training [0]")
    run_parser.add_argument(
        "--wordings", choices=("many", "one"), default="many", help="wordings of the questions of erased pairs"
    )
    run_parser.add_argument("--scenes", type=int, default=600, help="training scenes [600]")
    run_parser.add_argument("--fresh", type=int, default=850, help="evaluation scenes [850]")
    run_parser.add_argument(
        "--captions", type=int, default=850, help="number of evaluation scenes that are captioned too; 0: none [850]"
    )
    run_parser.add_argument(
        "--out", type=Path, default=Path("runs/training"), help="folder of the runs [runs/training]"
    )
    commands.add_parser("table", help="print the results of the runs").add_argument(
        "--out",
        type=Path,
        default=Path("runs/training"),
        help="folder of the runs [runs/training]",
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.command == "table":
        print("\n".join(table(given.out)))
    else:
        run(given)


# --- data --------------------------------------------------------------------------------------------------------


def pairs(count: int, seed: int, arm: str, wordings: str) -> list[PreferenceRow]:
    """Two rows of every pair: `there` is true of the first image, `gone` of the second."""
    rng = random.Random(seed)
    samples = list(sandbox.fresh_scenes(count, start=TRAINING_SEEDS + 100_000 * seed))
    rows: list[PreferenceRow] = []
    for prompt, there, gone, holder, lacker in [*erased(samples, seed, wordings), *swapped(samples, rng)]:
        if there == gone:
            continue
        if arm == "equal":
            lacker = holder
        if arm == "blank":
            holder = lacker = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (128, 128, 128))
        rows.append(PreferenceRow((holder,), prompt, there, gone, negative_images=(lacker,)))
        rows.append(PreferenceRow((lacker,), prompt, gone, there, negative_images=(holder,)))
    rng.shuffle(rows)
    return rows


Pair = tuple[str, str, str, Any, Any]
"""prompt, answer where the thing is, answer where it is not, image with it, image without."""


def erased(samples: Sequence[sandbox.Sample], seed: int, wordings: str) -> Iterator[Pair]:
    """An object erased beside background erased: the question, and the caption."""
    rng = random.Random(seed)
    whole = {sample.image_id: sample.scene for sample in samples}
    items = [Annotated(sample.image_id, sample.image, tuple(sample.scene.boxes)) for sample in samples]

    def describe(item: Annotated) -> tuple[str, str]:
        scene = whole[int(item.image_id)]
        left = Scene(scene.seed, scene.context, tuple(thing for thing in scene.objects if thing.name in item.names))
        return rng.choice(CAPTION_PROMPTS), caption(left, rng, CLEAN)

    questions = QUESTIONS if wordings == "many" else (POPE_QUESTION,)
    made = iter(negative_images(items, seed=seed, questions=questions, describe=describe))
    for without, control, told in zip(made, made, made, strict=True):
        full = caption(whole[int(without.image_id)], rng, CLEAN)
        yield control.prompt, "Yes.", "No.", control.images[0], without.images[0]
        yield told.prompt, full, told.completion, control.images[0], without.images[0]


def swapped(samples: Sequence[sandbox.Sample], rng: random.Random) -> Iterator[Pair]:
    """Two natural images with as many objects in common as 50 tries allow, each asked about what one alone has."""
    for sample in samples:
        others = [other for other in rng.sample(samples, min(50, len(samples))) if other is not sample]
        other = max(others, key=lambda other: len({*sample.names} & {*other.names}))
        for holder, lacker in ((sample, other), (other, sample)):
            own = sorted({*holder.names} - {*lacker.names})
            if own:
                yield existence_question(rng.choice(own)), "Yes.", "No.", holder.image, lacker.image


# --- one run -----------------------------------------------------------------------------------------------------


def run(given: argparse.Namespace) -> None:
    """Train unless the adapter is there, evaluate unless the JSON is there."""
    import torch

    torch.set_num_threads(1)
    name = "base" if given.arm == "base" else f"{given.method}-{given.arm}-{given.seed}"
    target, adapter = given.out / f"{name}.json", given.out / f"{name}.adapter"
    if target.exists():
        print(f"{target} is there")
        return
    settings = {key: value for key, value in vars(given).items() if key not in ("command", "out")}
    facts: dict[str, Any] = {}
    if given.arm != "base" and not (adapter / "adapter_model.safetensors").exists():
        facts = train(given, adapter)
        (given.out / f"{name}.facts.json").write_text(json.dumps(facts))
    found = evaluate(adapter if given.arm != "base" else None, given.fresh, given.captions)
    target.write_text(
        json.dumps({"arm": given.arm, "method": given.method, "seed": given.seed, "settings": settings, **found}) + "\n"
    )
    print(json.dumps({key: round(value, 4) for key, value in found["values"].items()}))


def train(given: argparse.Namespace, adapter: Path) -> dict[str, Any]:
    model, processor = sandbox.load_mllm()
    rows: list[Any] = pairs(given.scenes, given.seed, given.arm, given.wordings)
    if given.method == "sft":
        rows = [row.to_instruction() for row in rows]
    rate = LEARNING_RATES[given.method]
    return fine_tune(model, processor, rows, adapter, learning_rate=rate, seed=given.seed, device="cpu")


def evaluate(adapter: Path | None, fresh: int, captions: int) -> dict[str, Any]:
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
    signatures = [score.signature]
    if captions:
        chair = measure.chair_of(measure.captions(guard, samples[:captions]), samples[:captions])
        values |= dict(chair.values)
        intervals |= dict(chair.intervals)
        per_image["chair"] = dict(chair.per_image)
        signatures.append(chair.signature)
    return {"values": values, "intervals": intervals, "signatures": signatures, "per_image": per_image}


# --- all runs ----------------------------------------------------------------------------------------------------

SHOWN = ("adversarial auc", "adversarial false yes", "adversarial recall", "adversarial yes_ratio", "adversarial acc",
         "CHAIRi", "recall", "length")  # fmt: skip


def table(out: Path) -> Iterator[str]:
    """Markdown: each run with intervals over images, then mean and spread over seeds, and the paired differences."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("*.json")) if ".facts" not in path.name]
    runs = [run for run in runs if "values" in run]
    yield f"| method | arm | seed | {' | '.join(SHOWN)} |"
    yield f"|{'---|' * (len(SHOWN) + 3)}"
    groups = [("", "base"), *((method, arm) for method in LEARNING_RATES for arm in ARMS[1:])]
    for method, arm in groups:
        mine = [run for run in runs if run["arm"] == arm and (arm == "base" or run["method"] == method)]
        for run in sorted(mine, key=lambda run: run["seed"]):
            cells = [_cell(name, run) for name in SHOWN]
            yield f"| {method} | {arm} | {run['seed'] if method else ''} | {' | '.join(cells)} |"
        if len(mine) > 1:
            yield f"| {method} | {arm} | mean | {' | '.join(_mean(name, mine) for name in SHOWN)} |"


def _mean(name: str, runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds, of the runs that measured it."""
    values = [run["values"][name] * _scale(name) for run in runs if name in run["values"]]
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else ""


def _scale(name: str) -> float:
    return 1.0 if name == "length" else 100.0


def _cell(name: str, run: dict[str, Any]) -> str:
    if name not in run["values"]:
        return ""
    value = f"{run['values'][name] * _scale(name):.1f}"
    if name not in run["intervals"]:
        return value
    low, high = (bound * _scale(name) for bound in run["intervals"][name])
    return f"{value} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
