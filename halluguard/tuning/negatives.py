"""Training rows that teach a model to say no: questions about absent things, and pictures with things erased.

Negative instructions follow LRV-Instruction (Liu et al. 2023, arXiv 2306.14565): as many questions whose answer is
no as questions whose answer is yes, over every picture and over every object as nearly as the pictures allow, so that
neither "always no" nor "objects like this are never there" lowers the loss. What to ask about is drawn as in POPE
(Li et al. 2023, arXiv 2305.10355): at random, by frequency, or by co-occurrence with what is there.

Negative images erase every instance of one object. The same picture with an equal patch of background erased keeps
the answer yes, so that "something was erased" does not predict no.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from halluguard.errors import InputError, SettingsError
from halluguard.records import XYXY, Box
from halluguard.tuning.rows import InstructionRow

if TYPE_CHECKING:
    from PIL.Image import Image

Sampling = Literal["random", "popular", "adversarial"]
QUESTION = "Is there {} in the image?"


@dataclass(frozen=True)
class Annotated:
    """A picture whose objects are all known: `boxes` in pixels, one per instance, labels are object names."""

    image_id: int | str
    image: Image
    boxes: tuple[Box, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(box.label for box in self.boxes))

    def boxes_of(self, name: str) -> list[XYXY]:
        return [box.xyxy for box in self.boxes if box.label == name and box.xyxy is not None]

    def without(self, name: str, image: Image) -> Annotated:
        """The same with every `name` gone and `image` in place of the picture."""
        return Annotated(self.image_id, image, tuple(box for box in self.boxes if box.label != name))


def with_article(name: str) -> str:
    return ("an " if name[:1] in "aeiou" else "a ") + name


def negative_instructions(
    items: Sequence[Annotated],
    *,
    seed: int,
    per_image: int = 2,
    samplings: Sequence[Sampling] = ("random", "popular", "adversarial"),
    answers: tuple[str, str] = ("Yes.", "No."),
    question: str = QUESTION,
) -> Iterator[InstructionRow]:
    """`per_image` questions answered yes and as many answered no for every picture, shuffled within the picture.

    Args:
        items: pictures with their objects. Absent means: not annotated, so annotations must be complete.
        seed: the same seed gives the same rows.
        per_image: questions of each polarity; fewer where a picture has fewer objects.
        samplings: how absent objects are drawn, in turn: "random", "popular" (most frequent over `items`),
            "adversarial" (most frequent beside the picture's objects).
        answers: the texts for yes and for no.
        question: a format with one place for the object with its article.

    Raises:
        SettingsError: an unknown sampling, or `per_image` < 1. InputError: no object is annotated at all.
    """
    if per_image < 1:
        raise SettingsError(f"per_image must be at least 1, got {per_image}")
    unknown = set(samplings) - {"random", "popular", "adversarial"}
    if unknown or not samplings:
        raise SettingsError(f"samplings must be of random, popular, adversarial; got {sorted(unknown) or 'none'}")
    frequency = Counter(name for item in items for name in item.names)
    if not frequency:
        raise InputError("expected pictures with annotated objects, got none; check the annotations")
    beside = Counter((a, b) for item in items for a in item.names for b in item.names if a != b)
    rng = random.Random(seed)
    surplus: Counter[str] = Counter()  # yes rows minus no rows so far, per object
    for number, item in enumerate(items):
        present = sorted(item.names)
        absent = sorted(set(frequency) - set(present))
        asked = sorted(present, key=lambda name: (surplus[name], rng.random()))[:per_image]
        surplus.update(asked)
        rows = [(name, answers[0], "positive") for name in asked]
        for k in range(min(len(asked), len(absent))):
            sampling = samplings[(number + k) % len(samplings)]
            name = _draw_absent(absent, present, sampling, frequency, beside, surplus, rng)
            absent.remove(name)
            surplus[name] -= 1
            rows.append((name, answers[1], f"negative-{sampling}"))
        rng.shuffle(rows)
        for name, answer, kind in rows:
            asking = question.format(with_article(name))
            yield InstructionRow((item.image,), asking, answer, image_id=item.image_id, kind=kind)


def _draw_absent(
    absent: Sequence[str],
    present: Sequence[str],
    sampling: Sampling,
    frequency: Counter[str],
    beside: Counter[tuple[str, str]],
    surplus: Counter[str],
    rng: random.Random,
) -> str:
    """An absent object: of the candidates of this sampling, the one most in need of a "no"."""
    if sampling == "random":
        candidates = list(absent)
    elif sampling == "popular":
        candidates = sorted(absent, key=lambda name: (-frequency[name], name))[:8]
    else:
        together = {name: sum(beside[other, name] for other in present) for name in absent}
        candidates = sorted(absent, key=lambda name: (-together[name], name))[:3]
    return max(candidates, key=lambda name: (surplus[name], rng.random()))


def negative_images(
    items: Sequence[Annotated],
    *,
    seed: int,
    answers: tuple[str, str] = ("Yes.", "No."),
    question: str = QUESTION,
    describe: Callable[[Annotated], tuple[str, str]] | None = None,
) -> Iterator[InstructionRow]:
    """Pairs of pictures that differ in one object, and the question about it: no where it is erased, yes where an
    equal patch of background is.

    Args:
        describe: gives (prompt, caption) of a picture; when given, each erased picture is described too.
            It is called with what is left in the picture.

    Pictures with fewer than two kinds of objects, without boxes, or too crowded for a control are passed over.
    """
    rng = random.Random(seed)
    for item in items:
        names = [name for name in sorted(item.names) if item.boxes_of(name)]
        if len(item.names) < 2 or not names:
            continue
        name = rng.choice(names)
        asked = question.format(with_article(name))
        erased = erase(item.image, item.boxes_of(name), seed=rng.randrange(2**32))
        patches = _background_patches(item, name, rng)
        if _covered(patches, item.boxes_of(name)) > 0.1:
            continue  # no room for a control that leaves the object whole
        control = erase(item.image, patches, seed=rng.randrange(2**32))
        yield InstructionRow((erased,), asked, answers[1], image_id=item.image_id, kind="erased")
        yield InstructionRow((control,), asked, answers[0], image_id=item.image_id, kind="control")
        if describe is not None:
            prompt, caption = describe(item.without(name, erased))
            yield InstructionRow((erased,), prompt, caption, image_id=item.image_id, kind="erased-caption")


def _background_patches(item: Annotated, name: str, rng: random.Random) -> list[XYXY]:
    """One patch for each box of `name`, of its size, placed where it covers other boxes least (of 30 tries)."""
    width, height = item.image.size
    patches = []
    for x1, y1, x2, y2 in item.boxes_of(name):
        w, h = x2 - x1, y2 - y1
        places = [(rng.uniform(0, max(0, width - w)), rng.uniform(0, max(0, height - h))) for _ in range(30)]
        tries: list[XYXY] = [(x, y, x + w, y + h) for x, y in places]
        patches.append(min(tries, key=lambda patch: _harm(item, name, patch)))
    return patches


def _harm(item: Annotated, name: str, patch: XYXY) -> float:
    """How much of the objects a patch covers, in pixels; `name` itself counts ten times."""
    return sum(
        _shared(patch, box.xyxy) * (10 if box.label == name else 1) for box in item.boxes if box.xyxy is not None
    )


def _covered(patches: Sequence[XYXY], boxes: Sequence[XYXY]) -> float:
    """The largest share of any box that the patches cover (overlapping patches count twice)."""
    return max(sum(_shared(patch, box) for patch in patches) / _shared(box, box) for box in boxes)


def _shared(a: XYXY, b: XYXY) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def erase(image: Image, boxes: Sequence[XYXY], *, seed: int, margin: int = 2) -> Image:
    """Fill `boxes` with what surrounds them: colours blended from the four edges, grain as around.

    Args:
        image: RGB.
        boxes: x1, y1, x2, y2 in pixels; parts outside the picture are ignored.
        seed: of the grain.
        margin: pixels added on every side, so that no outline is left.
    """
    import numpy as np
    from PIL import Image as Pictures

    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    height, width = pixels.shape[:2]
    generator = np.random.default_rng(seed)
    for box in boxes:
        x1, y1 = max(0, int(box[0]) - margin), max(0, int(box[1]) - margin)
        x2, y2 = min(width, int(box[2]) + margin), min(height, int(box[3]) + margin)
        if x1 >= x2 or y1 >= y2:
            continue
        left, right = pixels[y1:y2, max(0, x1 - 1)], pixels[y1:y2, min(width - 1, x2)]
        above, below = pixels[max(0, y1 - 1), x1:x2], pixels[min(height - 1, y2), x1:x2]
        across = np.linspace(0, 1, x2 - x1)[None, :, None]
        down = np.linspace(0, 1, y2 - y1)[:, None, None]
        sides = _smooth(left)[:, None] * (1 - across) + _smooth(right)[:, None] * across
        ends = _smooth(above)[None] * (1 - down) + _smooth(below)[None] * down
        grain = np.median([(edge - _smooth(edge)).std(0) for edge in (left, right, above, below)], axis=0)
        noise = generator.normal(0, 1, (y2 - y1, x2 - x1, 3)) * grain
        pixels[y1:y2, x1:x2] = (sides + ends) / 2 + noise
    return Pictures.fromarray(pixels.clip(0, 255).astype("uint8"))


def _smooth(edge: Any, reach: int = 4) -> Any:
    """(n, 3): moving average over 2 * reach + 1 pixels of an edge."""
    import numpy as np

    padded = np.pad(edge, ((reach, reach), (0, 0)), mode="edge")
    window = 2 * reach + 1
    return np.stack([padded[i : i + len(edge)] for i in range(window)]).mean(0)
