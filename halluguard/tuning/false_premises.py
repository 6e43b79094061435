"""Questions that take a thing for granted, and how to answer them whether it is there or not.

Three forms, each answerable from boxes: where it is, how many there are, what else there is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from halluguard import vocabulary
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.question_templates import noun, with_article

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_QUESTIONS = {
    "where": (
        "Where is the {name} in the image?",
        "Where in the picture is the {name}?",
        "In which part of the image is the {name}?",
        "On which side of the photo is the {name}?",
        "Tell me where the {name} is.",
        "Point out the place of the {name} in this picture.",
        "Describe where the {name} is in the scene.",
    ),
    "count": (
        "How many {names} are there in the image?",
        "How many {names} does the picture show?",
        "How many {names} can you see?",
        "Count the {names} in the image.",
        "Tell me the number of {names} in this photo.",
        "What is the number of {names} in the scene?",
        "Please count how many {names} there are.",
    ),
    "besides": (
        "What is in the image besides the {name}?",
        "Apart from the {name}, what does the picture show?",
        "What else is there with the {name}?",
        "What else can be seen in the photo with the {name}?",
        "Name something in the image other than the {name}.",
        "Tell me what appears in the scene together with the {name}.",
        "List what the image shows besides the {name}.",
    ),
}

_TOLD = {
    "where": (
        "The {name} is {value}.",
        "The {name} is {value} of the image.",
        "It is {value}.",
        "It is {value} of the picture.",
        "You can see the {name} {value}.",
        "The {name} appears {value}.",
        "In this image, the {name} is {value}.",
    ),
    "count": (
        "There {is_} {value} {counted} in the image.",
        "There {is_} {value} {counted}.",
        "I can see {value} {counted}.",
        "I count {value} {counted}.",
        "The picture shows {value} {counted}.",
        "The image contains {value} {counted}.",
        "The number is {value}.",
    ),
    "besides": (
        "Besides the {name}, there is {value}.",
        "Apart from the {name}, the image shows {value}.",
        "Together with the {name}, I can see {value}.",
        "Next to the {name}, the picture shows {value}.",
        "The {name} is shown with {value}.",
        "With the {name} there is {value}.",
        "In addition to the {name}, there is {value}.",
    ),
}

DENIALS = (
    "There is no {name} in the image.",
    "There is no {name} in the picture.",
    "There is no {name} here.",
    "There is no {name}.",
    "The image shows no {name}.",
    "The picture shows no {name}.",
    "The photo contains no {name}.",
    "I can see no {name}.",
    "I see no {name} in the image.",
    "I cannot see any {name}.",
    "I do not see any {name} here.",
    "No {name} can be seen.",
    "No {name} can be seen in the image.",
    "No {name} is visible.",
    "No {name} is visible in the picture.",
    "No {name} appears in the image.",
    "No {name} is present.",
    "In this image there is no {name}.",
    "This picture does not show any {name}.",
    "The scene does not include any {name}.",
    "Looking at the image, I find no {name}.",
)


@dataclass(frozen=True)
class Asking:
    """One wording of question, true-premise answer and denial, ready for any name."""

    question: str
    told: str
    denial: str
    value: str
    one: bool

    def about(self, name: str) -> tuple[str, str, str]:
        """(question, answer that accepts the thing, answer that denies it)."""
        words = {
            "name": noun(name),
            "names": _plural(name),
            "counted": noun(name) if self.one else _plural(name),
            "is_": "is" if self.one else "are",
            "value": self.value,
        }
        return self.question.format(**words), self.told.format(**words), self.denial.format(**words)


def _plural(name: str) -> str:
    return vocabulary.plural(name) if noun(name) == name else f"pairs of {name}"


def forms_for(item: Annotated, name: str) -> list[str]:
    """The forms that can be answered about a thing that is there."""
    return [form for form, value in _VALUES.items() if value(item, name)]


def draw(item: Annotated, name: str, rng: random.Random) -> Asking:
    """A wording that fits `name`, which is in the picture; the same wording then asks about what is not."""
    form = rng.choice(forms_for(item, name))
    value = _VALUES[form](item, name)
    one = form != "count" or value == "one"
    return Asking(rng.choice(_QUESTIONS[form]), rng.choice(_TOLD[form]), rng.choice(DENIALS), value, one)


def place(item: Annotated, name: str) -> str:
    """Say "on the left", "in the middle" or "on the right", or nothing where none is clear.

    There must be one instance, its centre at least 5 % of the width from the borders of the thirds.
    """
    boxes = item.boxes_of(name)
    if len(boxes) != 1 or name in item.uncounted or item.size is None:
        return ""
    x = (boxes[0][0] + boxes[0][2]) / 2 / item.size[0]
    if x < 1 / 3 - 0.05:
        return "on the left"
    if x > 2 / 3 + 0.05:
        return "on the right"
    return "in the middle" if 1 / 3 + 0.05 < x < 2 / 3 - 0.05 else ""


def count(item: Annotated, name: str) -> str:
    """The number of instances in words, or nothing where it is not known or more than ten."""
    number = sum(box.label == name for box in item.boxes)
    known = name not in item.uncounted and 1 <= number < len(NUMBERS) and noun(name) == name
    return NUMBERS[number] if known else ""


def besides(item: Annotated, name: str) -> str:
    """Up to two other things in the picture."""
    others = [with_article(other) for other in item.names if other != name and other not in item.uncounted]
    return " and ".join(others[:2])


_VALUES: dict[str, Callable[[Annotated, str], str]] = {"where": place, "count": count, "besides": besides}
