"""Annotated images for tests: random objects of a few names in a grid of places."""

import numpy as np
from PIL import Image

from halluguard import Box
from halluguard.tuning.annotations import Annotated

NAMES = ("dog", "cat", "cup", "fork", "apple", "chair")


def world(count=150, size=100, names=NAMES, seed=0, most=4):
    """Images with two to `most` coloured squares on a smooth ground; a caption that leaves the last one unsaid."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        ground = np.linspace(60, 180, size)[None, :, None] + np.zeros((size, size, 3))
        image = Image.fromarray((ground + rng.normal(0, 3, ground.shape)).clip(0, 255).astype(np.uint8))
        boxes, there = [], [str(n) for n in rng.choice(names, rng.integers(2, most + 1), replace=False)]
        for k, name in enumerate(there):
            x, y = 4 + 50 * (k % 2), 4 + 50 * (k // 2)
            image.paste((255, 0, 0), (x, y, x + 20, y + 20))
            boxes.append(Box(name, 1.0, (x, y, x + 20, y + 20)))
        told = " and ".join(("an " if n[0] == "a" else "a ") + n for n in there[:-1])
        caption = f"This is a quiet place. The image shows {told}. The mood is calm."
        colors = tuple((str(rng.choice(["red", "blue"])),) for _ in boxes)
        made.append(Annotated(1000 * seed + i, image, tuple(boxes), (caption,), colors, source="test", license="CC0"))
    return made
