"""Rows per CPU second of every builder, with and without drawing the negative images.

    python benchmarks/speed/builders.py

Asked for: at least 500 rows a second without images, 100 with drawn negatives, streaming. Images are JPEG files of
random colours, of COCO's size (640 x 480) or the sandbox's (112 x 112); "drawn" opens one and makes its negative.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from halluguard import vocabulary
from halluguard.records import Box
from halluguard.tuning import (
    attribute_swaps,
    conditional_images,
    erased_preferences,
    false_premises,
    hallucinated_captions,
    knowledge_swaps,
    negative_preferences,
    retention_rows,
    swapped_preferences,
)
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.preferences import read_preferences


def images(count: int, folder: Path, size: tuple[int, int], files: int = 32) -> list[Annotated]:
    """COCO's 80 categories, two to five in an image, one caption; `files` different image files."""
    generator = np.random.default_rng(0)
    width, height = size
    for number in range(files):
        coarse = generator.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    items = []
    for number in range(count):
        names = [str(name) for name in generator.choice(vocabulary.COCO, generator.integers(2, 6), replace=False)]
        boxes = []
        for name in names:
            w, h = generator.uniform(0.1, 0.3, 2) * size
            x, y = generator.uniform(0, 1, 2) * (width - w, height - h)
            boxes.append(Box(name, 1.0, (float(x), float(y), float(x + w), float(y + h))))
        told = f"The image shows a {names[0]} next to a {names[1]}."
        items.append(Annotated(number, folder / f"{number % files}.jpg", tuple(boxes), (told,), size=size))
    return items


def timed(name: str, make: Callable[[], Iterable[Any]], use: Callable[[Any], object] | None, limit: int) -> None:
    started = time.process_time()
    count = 0
    for row in itertools.islice(make(), limit):
        count += 1
        if use is not None:
            use(row)
    spent = time.process_time() - started
    print(f"{name:<44} {count:7d} rows {count / spent:10.0f} rows per CPU second", flush=True)


def opened(row: Any) -> None:
    row.to_conversation()


def preference_file(folder: Path, rows: int) -> Path:
    entry = {
        "image": "0.jpg",
        "question": "What is there?",
        "chosen": "A dog on a couch. " * 8,
        "rejected": "A cat. " * 20,
    }
    path = folder / "preferences.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps(entry | {"chosen": f"{entry['chosen']}{number}"}) + "\n")
    return path


def with_negatives(items: list[Annotated], changes: tuple[str, ...]) -> Iterator[Any]:
    rows = (row for row in negative_preferences(items, seed=0) if row.kind == "positive")
    known = {item.image_id: item for item in items}
    return conditional_images(rows, seed=0, changes=changes, items=known)  # type: ignore[arg-type]


def drawn(items: list[Annotated], shown: str, limit: int) -> None:
    for change in ("crop", "shuffle", "noise"):
        timed(f"{shown}, {change}", lambda change=change: with_negatives(items, (change,)), opened, limit)  # type: ignore[misc]
    timed(f"{shown}, all three in turn", lambda: with_negatives(items, ("crop", "shuffle", "noise")), opened, limit)
    timed(f"{shown}, erased", lambda: erased_preferences(items, seed=0), opened, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000, help="number of images [5000]")
    parser.add_argument("--drawn", type=int, default=300, help="number of rows whose images are opened")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = images(given.images, folder, (640, 480))
        for build in (
            negative_preferences,
            false_premises,
            attribute_swaps,
            knowledge_swaps,
            hallucinated_captions,
            erased_preferences,
            swapped_preferences,
            retention_rows,
        ):
            timed(build.__name__, lambda build=build: build(items, seed=0), None, 10**9)  # type: ignore[misc]
        path = preference_file(folder, 20_000)
        timed("read_preferences (JSON Lines)", lambda: read_preferences(path, images=folder), None, 10**9)
        for size in ((640, 480), (112, 112)):
            (folder / str(size[0])).mkdir()
            items = images(1000, folder / str(size[0]), size)
            drawn(items, f"drawn, {size[0]} x {size[1]}", given.drawn)
    print(f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
