"""Define the sandbox world: its objects, their co-occurrence, and the truth of a scene.

Forty-five COCO categories in eight contexts. Partners (`PARTNERS`) are often drawn together, so that a language model
trained on the captions learns to expect the partner of what it sees. That expectation, stronger in the text than in the
images, is why the sandbox model hallucinates.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from halluguard.records import Box

IMAGE_SIZE = 112
"""Side of the square scenes, in pixels."""

COLORS = ("red", "blue", "green", "yellow")

TYPICAL_COLOR = {
    "car": "red",
    "umbrella": "blue",
    "book": "red",
    "chair": "yellow",
    "couch": "blue",
    "kite": "green",
    "cup": "green",
}
"""The categories whose colour varies, with the colour that half of them have."""


@dataclass(frozen=True)
class Context:
    """A kind of place: two background colours (RGB) and how often each thing is found there."""

    palette: tuple[tuple[int, int, int], tuple[int, int, int]]
    weights: Mapping[str, int]


def _context(palette: tuple[tuple[int, int, int], tuple[int, int, int]], things: str) -> Context:
    pairs = (thing.split(":") for thing in things.split(", "))
    return Context(palette, {name: int(weight) for name, weight in pairs})


CONTEXTS: dict[str, Context] = {
    "kitchen": _context(
        ((225, 205, 175), (240, 235, 220)),
        "bowl:3, knife:3, carrot:2, apple:2, banana:3, bottle:2, cup:2, chair:1, cat:1",
    ),
    "restaurant": _context(
        ((150, 95, 70), (190, 140, 110)),
        "pizza:3, wine glass:3, fork:3, knife:2, cake:2, sandwich:2, donut:2, bottle:2, cup:2, chair:2, person:2",
    ),
    "street": _context(
        ((150, 150, 158), (190, 195, 205)),
        "car:3, truck:2, motorcycle:2, bicycle:2, traffic light:3, stop sign:2, person:3, dog:1",
    ),
    "living room": _context(
        ((200, 175, 190), (225, 205, 215)),
        "couch:3, tv:3, book:2, clock:2, potted plant:2, cat:2, chair:2, teddy bear:2, cell phone:1, dog:1",
    ),
    "office": _context(
        ((170, 190, 205), (205, 220, 230)),
        "laptop:3, keyboard:3, mouse:3, cell phone:2, book:2, cup:2, chair:2, clock:1, potted plant:1",
    ),
    "farm": _context(
        ((140, 180, 90), (175, 205, 120)),
        "cow:3, sheep:3, horse:3, dog:2, bird:2, person:2, truck:1, bicycle:1",
    ),
    "savanna": _context(
        ((215, 185, 105), (235, 210, 140)),
        "elephant:3, zebra:3, giraffe:3, bird:2, bear:2, truck:1",
    ),
    "beach": _context(
        ((235, 215, 160), (130, 195, 225)),
        "umbrella:3, kite:3, frisbee:2, person:3, boat:3, bird:2, dog:1, bicycle:1",
    ),
}

CATEGORIES: tuple[str, ...] = tuple(sorted({name for context in CONTEXTS.values() for name in context.weights}))

_PAIRS = (
    "fork+knife, bowl+banana, keyboard+mouse, laptop+cup, wine glass+bottle, couch+tv, car+traffic light, "
    "motorcycle+bicycle, person+bicycle, truck+stop sign, cow+sheep, horse+dog, zebra+giraffe, elephant+bird, "
    "boat+kite, umbrella+person, banana+apple, carrot+knife, pizza+wine glass, donut+cup, cake+fork, "
    "sandwich+cup, chair+book, clock+potted plant, cat+couch, bear+giraffe, teddy bear+book, "
    "cell phone+laptop, tv+clock, apple+bowl, umbrella+frisbee, pizza+fork, traffic light+truck"
)

_BOTH_WAYS = [pair for text in _PAIRS.split(", ") for a, b in [text.split("+")] for pair in ((a, b), (b, a))]

PARTNERS: dict[str, tuple[str, ...]] = {name: tuple(b for a, b in _BOTH_WAYS if a == name) for name in CATEGORIES}
"""The objects that often occur together with each object."""

_rho = random.Random(7)
RHO: dict[tuple[str, str], float] = {(a, b): _rho.random() ** 1.5 for a in CATEGORIES for b in PARTNERS[a]}
"""Strength with which the *text* expects b where a is seen, in [0, 1]; see `language.Bias`."""


@dataclass(frozen=True)
class SceneObject:
    """One object: `box` is x1, y1, x2, y2 of its visible part, `visible` the number of its visible pixels."""

    name: str
    box: tuple[int, int, int, int]
    visible: int
    color: str | None = None

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Scene:
    """The truth of one image. The same seed always gives the same scene and the same pixels."""

    seed: int
    context: str
    objects: tuple[SceneObject, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The distinct things present, largest visible one first."""
        largest: dict[str, int] = {}
        for thing in self.objects:
            largest[thing.name] = max(largest.get(thing.name, 0), thing.visible)
        return tuple(sorted(largest, key=lambda name: (-largest[name], name)))

    def count(self, name: str) -> int:
        return sum(thing.name == name for thing in self.objects)

    def largest(self, name: str) -> SceneObject:
        return max((thing for thing in self.objects if thing.name == name), key=lambda thing: thing.visible)

    @property
    def relations(self) -> tuple[tuple[str, str, str], ...]:
        """(a, "left of", b) for single things whose centres are at least 18 pixels apart."""
        single = [thing for thing in self.objects if self.count(thing.name) == 1]
        return tuple((a.name, "left of", b.name) for a in single for b in single if b.center[0] - a.center[0] >= 18)

    @property
    def boxes(self) -> list[Box]:
        return [Box(thing.name, 1.0, thing.box) for thing in self.objects]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        things = tuple(SceneObject(**{**thing, "box": tuple(thing["box"])}) for thing in data["objects"])
        return cls(data["seed"], data["context"], things)


def choose_things(rng: random.Random) -> tuple[str, list[str]]:
    """A context and one to five things for it; partners come together, with an unrelated thing at times."""
    context = rng.choice(sorted(CONTEXTS))
    weights = CONTEXTS[context].weights
    number = rng.choices([1, 2, 3, 4, 5], [1, 3, 4, 3, 1])[0]
    things: list[str] = []
    while len(things) < number:
        present = sorted(set(things))
        chance = rng.random()
        if present and chance < 0.35:
            name = rng.choice(PARTNERS[rng.choice(present)] or list(weights))
        elif chance < 0.42:
            name = rng.choice(CATEGORIES)
        else:
            name = rng.choices(list(weights), list(weights.values()))[0]
        if name in present:
            continue
        copies = rng.choice([2, 2, 3]) if rng.random() < 0.15 else 1
        things += [name] * min(copies, number - len(things))
    return context, things
