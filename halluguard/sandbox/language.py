"""Write the sandbox language: captions, questions and answers about a scene, with a bias.

The bias makes the trained model hallucinate for the same reason as large models: the text expects companions that the
image does not show. A caption names an absent partner b of a visible object a with probability `RHO[a, b] * scale`.
Captions learnt without an image carry a stronger bias than captions learnt with one, as in models whose language part
has read far more text than it has seen images. Decoding is not manipulated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from halluguard.sandbox.world import CATEGORIES, COLORS, CONTEXTS, IMAGE_SIZE, PARTNERS, RHO, Scene
from halluguard.vocabulary import article, listing, plural

CAPTION_PROMPTS = (
    "Describe the image.",
    "Describe the image in detail.",
    "Describe this image.",
    "Please describe this image in detail.",
)

_NUMBERS = ("no", "a", "two", "three", "four", "five")
NUMBER_WORDS = ("Zero", "One", "Two", "Three", "Four", "Five")
_MOODS = (
    "The scene looks warm and calm.",
    "The atmosphere is busy and lively.",
    "The overall mood is quiet and bright.",
)
_OPENINGS = ("The image shows {} with {}.", "The image depicts {} with {}.")
_CLOSINGS = ("Nearby, there {} also {}.", "In the background, you can see {1}.")


@dataclass(frozen=True)
class Bias:
    """Rates at which the text departs from the image.

    Args:
        scale: factor of `RHO`, the probability that an absent partner of a visible object is named.
        context: probability that one absent object typical of the place is named.
        omit: probability that a small visible object is left out.
        limit: maximum of absent objects in one caption.
        flip: factor of `RHO`, the probability that a question about an absent partner is answered Yes.
    """

    scale: float = 0.75
    context: float = 0.04
    omit: float = 0.12
    limit: int = 2
    flip: float = 1.0


SEEN = Bias()
"""The bias of text that comes with its image."""

BLIND = Bias(scale=2.0, context=0.2, limit=4)
"""The bias of text read without an image: the prior that contrast with an image-free branch reveals."""

CLEAN = Bias(scale=0.0, context=0.0, omit=0.0, flip=0.0)
"""No bias: what the scene holds and nothing else."""


def with_article(phrase: str) -> str:
    return f"{article(phrase)} {phrase}"


def existence_question(name: str) -> str:
    """POPE's question form."""
    return f"Is there {with_article(name)} in the image?"


def expected_but_absent(scene: Scene, rng: random.Random, bias: Bias) -> list[str]:
    """Absent objects that the text names nevertheless."""
    extra: list[str] = []
    for name in sorted(scene.names):
        for partner in PARTNERS[name]:
            if partner not in scene.names and partner not in extra and rng.random() < RHO[name, partner] * bias.scale:
                extra.append(partner)
    if rng.random() < bias.context:
        weights = CONTEXTS[scene.context].weights
        rest = {name: weight for name, weight in weights.items() if name not in scene.names and name not in extra}
        if rest:
            extra += rng.choices(list(rest), [weight**2 for weight in rest.values()])
    rng.shuffle(extra)
    return extra[: bias.limit]


def caption(scene: Scene, rng: random.Random, bias: Bias = SEEN, extra: Sequence[str] | None = None) -> str:
    """Two to four sentences about the scene; expected but absent objects come last.

    `extra` are the absent objects to mention; by default the bias draws them.
    """
    names = list(scene.names)
    big = 260  # visible pixels; about a 20-pixel object
    kept = [n for i, n in enumerate(names) if i == 0 or scene.largest(n).visible >= big or rng.random() >= bias.omit]
    if extra is None:
        extra = expected_but_absent(scene, rng, bias)

    def phrase(name: str) -> str:
        return _noun_phrase(scene, name, rng) if name in names else with_article(name)

    place = with_article(scene.context)
    sentences = [rng.choice(_OPENINGS).format(place, listing([phrase(name) for name in kept[:2]]))]
    rest = kept[2:]
    relations = [r for r in scene.relations if {r[0], r[2]} <= set(kept[:2])]
    if relations and rng.random() < 0.3:
        left, _, right = rng.choice(relations)
        sentences.append(f"The {left} is to the left of the {right}.")
    elif rest:
        name, rest = rest[0], rest[1:]
        sentences.append(f"There {_verb(scene, name)} {phrase(name)} {_side(scene, name)}.")
    tail = [*rest, *extra]
    if tail:
        listed = listing([phrase(name) for name in tail[:4]])
        sentences.append(rng.choice(_CLOSINGS).format(_verb(scene, tail[0]), listed))
    if len(sentences) == 1 or (len(sentences) < 4 and rng.random() < 0.7):
        sentences.append(_MOODS[sorted(CONTEXTS).index(scene.context) % len(_MOODS)])
    return " ".join(sentences)


def _noun_phrase(scene: Scene, name: str, rng: random.Random) -> str:
    count, color = min(scene.count(name), len(_NUMBERS) - 1), scene.largest(name).color
    colored = f"{color} " if color and rng.random() < 0.6 else ""
    return with_article(colored + name) if count == 1 else f"{_NUMBERS[count]} {colored}{plural(name)}"


def _verb(scene: Scene, name: str) -> str:
    return "are" if scene.count(name) > 1 else "is"


def _side(scene: Scene, name: str) -> str:
    x = scene.largest(name).center[0]
    return "on the left" if x < IMAGE_SIZE / 3 else "on the right" if x > 2 * IMAGE_SIZE / 3 else "in the middle"


def existence_turn(scene: Scene, rng: random.Random, bias: Bias = SEEN) -> tuple[str, str]:
    """A yes/no question; half of the answers are Yes. The bias says how often an absent partner is affirmed."""
    if rng.random() < 0.5:
        return existence_question(rng.choice(scene.names)), "Yes."
    partners = [(a, b) for a in sorted(scene.names) for b in PARTNERS[a] if b not in scene.names]
    if partners and rng.random() < 0.4:
        a, b = rng.choice(partners)
        return existence_question(b), "Yes." if rng.random() < RHO[a, b] * bias.flip else "No."
    return existence_question(rng.choice([name for name in CATEGORIES if name not in scene.names])), "No."


def detail_turn(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """A question about a count, a colour, or which of two objects is further left; the answer is true."""
    colored = [name for name in scene.names if scene.largest(name).color]
    relations = scene.relations
    kinds = ["count"] + ["color"] * (2 * bool(colored)) + ["relation"] * bool(relations)
    kind = rng.choice(kinds)
    if kind == "color":
        name = rng.choice(colored)
        return f"What color is the {name}?", f"{str(scene.largest(name).color).capitalize()}."
    if kind == "relation":
        left, _, right = rng.choice(relations)
        if rng.random() < 0.5:
            return f"Is the {left} to the left of the {right}?", "Yes."
        return f"Is the {right} to the left of the {left}?", "No."
    name = rng.choice(scene.names)
    return f"How many {plural(name)} are there?", f"{NUMBER_WORDS[min(scene.count(name), 5)]}."


def vocabulary() -> list[str]:
    """Every word and mark of the language, sorted."""
    text = [
        "USER: ASSISTANT: Yes. No. yes no not What color is the to left of How many are there? Is in image",
        *CAPTION_PROMPTS, *_MOODS, *_OPENINGS, *_CLOSINGS, *_NUMBERS, *NUMBER_WORDS, *COLORS,
        *(color.capitalize() for color in COLORS), *CATEGORIES, *map(plural, CATEGORIES), *CONTEXTS,
        "There on the left right in the middle a an and , . ? ! ; ' \" - one possibly There's true false",
        "Answer the question using a single word or phrase. Please list all objects visible in this picture photo",
        "Look carefully at what you can really see do not guess anything that may be missing from scene only",
        "0 1 2 3 4 5 6 7 8 9",
    ]  # fmt: skip
    return sorted({word for line in text for word in re.findall(r"\w+|[^\w\s{}]", line)})
