"""Judge colours of objects without a model, by the share of the box that has the claimed colour in CIELAB.

    p(colour) = (1 + q) / 2    where s >= 0.2         s = share of the box with the colour
                q              where s < 0.05         r = the largest share of another colour
                None           between                q = s / (s + r)

Pixels are named by the nearest of the eleven basic colour terms (Berlin and Kay 1969) among the anchors below, in
CIELAB (CIE 1976), where distance follows perception. A box contains background too, so a colour that fills a fair part
of it is enough to support a claim, and the answer is "could not tell" (None) where no colour leads clearly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from halluguard.errors import ExpertError
from halluguard.images import ImageSource, load_image
from halluguard.records import Question

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image

# Several sRGB anchors per term: light, full and dark.
ANCHORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (35, 35, 35)),
    "white": ((255, 255, 255), (235, 235, 235)),
    "gray": ((128, 128, 128), (90, 90, 90), (180, 180, 180)),
    "red": ((220, 20, 30), (255, 0, 0), (160, 10, 20), (235, 70, 70)),
    "orange": ((255, 140, 0), (255, 165, 40), (225, 100, 15)),
    "yellow": ((255, 230, 0), (250, 240, 110), (225, 200, 30)),
    "green": ((0, 150, 50), (110, 200, 80), (20, 80, 30), (0, 220, 90)),
    "blue": ((20, 60, 220), (100, 170, 240), (15, 30, 110), (40, 120, 200)),
    "purple": ((128, 0, 160), (160, 90, 200), (75, 20, 110)),
    "pink": ((255, 150, 190), (250, 190, 210), (240, 80, 150)),
    "brown": ((130, 75, 30), (95, 55, 25), (165, 110, 70)),
}
SAME = {
    "grey": "gray", "silver": "gray", "golden": "yellow", "gold": "yellow", "violet": "purple", "lavender": "purple",
    "navy": "blue", "navy blue": "blue", "dark blue": "blue", "light blue": "blue", "dark green": "green",
    "light green": "green", "dark red": "red", "crimson": "red", "scarlet": "red", "tan": "brown",
    "dark brown": "brown", "light brown": "brown", "magenta": "pink", "cyan": "blue", "teal": "green", "beige": "brown",
    "cream": "white",
}  # fmt: skip
"""Other words for the eleven terms."""

# Pairs that the light of a scene turns into each other: neither contradicts the other.
CLOSE = ({"black", "gray"}, {"white", "gray"}, {"red", "orange"}, {"orange", "yellow"}, {"orange", "brown"},
         {"pink", "purple"}, {"blue", "purple"}, {"pink", "red"}, {"red", "brown"})  # fmt: skip
ENOUGH, LITTLE = 0.2, 0.05
"""Shares of the box: at least ENOUGH supports a colour, less than LITTLE contradicts it."""
SIDE = 64
"""Longer side, in pixels, to which a box is shrunk first."""


def lab(rgb: ArrayLike) -> NDArray[np.float64]:
    """sRGB (..., 3) in 0..255 -> CIELAB under D65 (L in 0..100)."""
    linear = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def shares(image: Image) -> dict[str, float]:
    """Share of each colour in an RGB image; the middle weighs more than the rim, where the background is."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    pixels = np.asarray(small, dtype=np.float64)
    points = lab(pixels)
    terms = list(ANCHORS)
    distances = np.stack(
        [np.linalg.norm(points[..., None, :] - lab(ANCHORS[term]), axis=-1).min(-1) for term in terms], axis=-1
    )
    nearest = distances.argmin(-1)
    y, x = (np.abs(np.linspace(-1, 1, n)) if n > 1 else np.zeros(1) for n in pixels.shape[:2])
    weight = (1 - 0.75 * np.maximum(y[:, None], x[None, :])) ** 2
    weight = weight / weight.sum()
    return {term: float(weight[nearest == i].sum()) for i, term in enumerate(terms)}


class Colours:
    """Judges "a red car" by the pixels of the car's box.

    Args:
        name: name in verdicts.
    """

    needs_image = True

    def __init__(self, *, name: str = "colours") -> None:
        self.name = name

    def covers(self, question: Question) -> bool:
        """Whether the question is the colour of an object with a known box."""
        has_box = question.box is not None and question.box.xyxy is not None
        return question.kind == "attribute" and has_box and _term(question.value) is not None

    def judge(self, images: Sequence[ImageSource], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """The probability of each colour; None where the box has only a little of it, or no colour leads clearly.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: a question is not covered, or a box lies outside the image.
        """
        return [judge_image(self._judge, image, row) for image, row in zip(images, questions, strict=True)]

    def _judge(self, image: Image, question: Question) -> float | None:
        term = _term(question.value)
        if term is None or not self.covers(question):
            raise ExpertError(f"{self.name} cannot judge {question.value!r} of {question.name!r}; ask covers() first")
        of_box = shares(crop(image, question, self.name))
        share = of_box[term] + sum(0.5 * of_box[other] for other in ANCHORS if {term, other} in CLOSE)
        rest = max(of_box[other] for other in ANCHORS if other != term and {term, other} not in CLOSE)
        if of_box[term] >= ENOUGH:
            return (1 + share / (share + rest)) / 2
        if share < LITTLE and rest >= 2 * ENOUGH:
            return share / (share + rest)
        return None


def judge_image(
    judge: Callable[[Image, Question], float | None], source: ImageSource, questions: Sequence[Question]
) -> list[float | None]:
    """The judgements of one image's questions; the image is opened only where there is a question."""
    if not questions:
        return []
    image = load_image(source)
    return [judge(image, question) for question in questions]


def crop(image: Image, question: Question, expert: str, margin: float = 0.0) -> Image:
    """The part of an image in the question's box, or the whole image where the question has no box.

    Args:
        image: RGB image.
        question: question whose box counts.
        expert: name of the expert, for errors.
        margin: fraction of the box's size that is added on each side.

    Raises:
        ExpertError: nothing of the box lies in the image.
    """
    if question.box is None or question.box.xyxy is None:
        return image
    x1, y1, x2, y2 = question.box.xyxy
    if not all(map(math.isfinite, question.box.xyxy)):
        raise ExpertError(f"{expert} needs finite boxes, got {question.box.xyxy}; check the detector")
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    left, top = max(0, math.floor(x1 - dx)), max(0, math.floor(y1 - dy))
    right, bottom = min(image.width, math.ceil(x2 + dx)), min(image.height, math.ceil(y2 + dy))
    if right <= left or bottom <= top:
        raise ExpertError(
            f"{expert} needs a box in the image ({image.width} x {image.height}), got {question.box.xyxy}; "
            "check that boxes are x1, y1, x2, y2 in pixels"
        )
    return image.crop((left, top, right, bottom))


def _term(word: str) -> str | None:
    term = " ".join(word.lower().replace("-", " ").replace("colored", "").replace("coloured", "").split())
    term = SAME.get(term, term)
    return term if term in ANCHORS else None
