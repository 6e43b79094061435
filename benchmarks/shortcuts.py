"""Try to solve the rows of each builder without the image: from words or lengths, only chance should be reached.

    python benchmarks/shortcuts.py               # sandbox scenes, drawn again
    python benchmarks/shortcuts.py --coco        # the same through COCO's files
    python benchmarks/shortcuts.py --instances instances.json --captions captions.json --images train2017/

Each builder runs twice, on two sets of images with none in common; classifiers are fitted on the first and tested on
the second. `halluguard.tuning.shortcuts` says what is measured, and why not by cross-validation. Exits 1 when a figure
is outside the limits: 45 to 55 % for the polarity of a question, and at most 60 % for the choice between two answers.
A name with unequal numbers of yes and no, an image of an evaluation, or a present name called absent fails too.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halluguard.sandbox import fresh_scenes
from halluguard.sandbox.language import CLEAN, caption
from halluguard.sandbox.world import Scene
from halluguard.tuning import (
    EvaluationImages,
    attribute_swaps,
    conditional_images,
    erased_preferences,
    false_premises,
    hallucinated_captions,
    knowledge_swaps,
    negative_images,
    negative_instructions,
    negative_preferences,
    swapped_preferences,
)
from halluguard.tuning.annotations import Annotated, coco_items
from halluguard.tuning.shortcuts import ShortcutReport, shortcut_report

FIRST_SCENE = 7_000_000
WITHOUT_PICTURE = ("knowledge_swaps",)
"""Builders whose questions ask for knowledge: the words give the answer, which is why nothing calls them by default."""
COLUMNS = ("question_words", "question_length", "answer_words", "answer_length")

Builder = Callable[[Sequence[Annotated], int], list[Any]]
BUILDERS: dict[str, Builder] = {
    "negative_instructions": lambda items, seed: [*negative_instructions(items, seed=seed)],
    "negative_preferences": lambda items, seed: [*negative_preferences(items, seed=seed)],
    "false_premises": lambda items, seed: [*false_premises(items, seed=seed)],
    "attribute_swaps": lambda items, seed: [*attribute_swaps(items, seed=seed)],
    "knowledge_swaps": lambda items, seed: [*knowledge_swaps(items, seed=seed)],
    "hallucinated_captions": lambda items, seed: [*hallucinated_captions(items, seed=seed)],
    "negative_images": lambda items, seed: [*negative_images(items, seed=seed)],
    "erased_preferences": lambda items, seed: [*erased_preferences(items, seed=seed)],
    "swapped_preferences": lambda items, seed: [*swapped_preferences(items, seed=seed)],
    "conditional_images": lambda items, seed: [
        *conditional_images(negative_preferences(items, seed=seed), seed=seed, items={i.image_id: i for i in items})
    ],
}


def sandbox_items(count: int, start: int) -> list[Annotated]:
    """Scenes with their colours, and a true caption that leaves one thing unsaid where there are several."""
    items = []
    for sample in fresh_scenes(count, start=start):
        rng = random.Random(sample.image_id)
        unsaid = rng.choice(sample.names) if len(sample.names) > 1 else None
        told = tuple(thing for thing in sample.objects if thing.name != unsaid)
        text = caption(Scene(sample.scene.seed, sample.scene.context, told), rng, CLEAN)
        colors = tuple((thing.color,) if thing.color else () for thing in sample.objects)
        boxes = tuple(sample.scene.boxes)
        items.append(Annotated(sample.image_id, sample.image, boxes, (text,), colors, source="sandbox"))
    return items


def through_coco(items: Sequence[Annotated], folder: Path) -> list[Annotated]:
    """The same images written as COCO files and read again."""
    names = sorted({name for item in items for name in item.names})
    images, instances, captions = [], [], []
    for item in items:
        name = f"{item.image_id:012d}.png"
        item.open().save(folder / name)
        images.append({"id": item.image_id, "file_name": name, "width": item.size[0], "height": item.size[1]})  # type: ignore[index]
        captions += [{"image_id": item.image_id, "caption": text} for text in item.captions]
        for box, words in zip(item.boxes, item.attributes, strict=True):
            x1, y1, x2, y2 = box.xyxy  # type: ignore[misc]
            instances.append(
                {
                    "image_id": item.image_id,
                    "category_id": names.index(box.label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                    "attributes": list(words),
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": instances, "categories": categories})
    )
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return [*coco_items(folder / "instances.json", folder, captions=folder / "captions.json")]


def report_all(parts: tuple[Sequence[Annotated], Sequence[Annotated]], seed: int) -> dict[str, ShortcutReport | str]:
    items = {item.image_id: item for part in parts for item in part}
    guard = EvaluationImages()
    found: dict[str, ShortcutReport | str] = {}
    for name, build in BUILDERS.items():
        train, test = (build(part, seed) for part in parts)
        found[name] = shortcut_report(train, test, guard=guard, items=items) if train and test else "no rows"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000, help="number of images in each of the two sets")
    parser.add_argument("--coco", action="store_true", help="write the scenes as COCO files and read them")
    parser.add_argument("--instances", type=Path, help="COCO's instances, in place of the sandbox")
    parser.add_argument("--captions", type=Path, help="COCO's captions, with --instances")
    parser.add_argument("--images", type=Path, default=Path(), help="folder of the images, with --instances")
    parser.add_argument("--seed", type=int, default=0, help="seed of the builders and classifiers [0]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.instances:
            items = [*coco_items(given.instances, given.images, captions=given.captions)]
            random.Random(given.seed).shuffle(items)
            items = items[: 2 * given.images]
        else:
            items = sandbox_items(2 * given.images, FIRST_SCENE)
            items = through_coco(items, Path(folder)) if given.coco else items
        half = len(items) // 2
        found = report_all((items[:half], items[half:]), given.seed)
    failed = False
    print(f"{half} images to fit on, {len(items) - half} to test on, seed {given.seed}; accuracy in %, [95 % interval]")
    for name, report in found.items():
        if isinstance(report, str):
            print(f"{name:<22} {report}")
            continue
        cells = " ".join(f"{column} {getattr(report, column)};" for column in COLUMNS if getattr(report, column))
        print(
            f"{name:<22} rows {sum(report.rows)}; {cells} imbalance {report.imbalance}; leaked {report.leaked}; "
            f"present denied {report.present_denied}"
        )
        for failure in report.failures():
            meant = name in WITHOUT_PICTURE and failure.startswith("question_words")
            failed = failed or not meant
            print(f"    {'by its nature' if meant else 'OUTSIDE THE LIMITS'}: {failure}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
