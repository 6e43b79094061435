"""Word questions that presuppose an object, with an answer that accepts it and one that denies it.

Three forms, each answerable from boxes: where the object is, how many there are, what else there is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from halluguard import vocabulary
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.question_templates import TEMPLATES, noun, with_article

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Wording:
    """Templates of a question, of the answer that accepts its object and of the one that denies it.

    Args:
        question, acceptance, denial: the templates.
        value: the value the acceptance states: a place, a number, other objects.
        singular: whether that value counts one object.
    """

    question: str
    acceptance: str
    denial: str
    value: str
    singular: bool

    def about(self, name: str) -> tuple[str, str, str]:
        """(question, answer that accepts the object, answer that denies it)."""
        words = {
            "name": noun(name),
            "names": _plural(name),
            "counted": noun(name) if self.singular else _plural(name),
            "is_": "is" if self.singular else "are",
            "value": self.value,
        }
        return self.question.format(**words), self.acceptance.format(**words), self.denial.format(**words)


def _plural(name: str) -> str:
    return vocabulary.plural(name) if noun(name) == name else f"pairs of {name}"


def forms_for(item: Annotated, name: str) -> list[str]:
    """The forms of question that can be answered about an object of the image."""
    return [form for form, value in _VALUES.items() if value(item, name)]


def draw(item: Annotated, name: str, rng: random.Random) -> Wording:
    """A wording that fits `name`, which is in the image; the same wording then asks about an absent object."""
    form = rng.choice(forms_for(item, name))
    value = _VALUES[form](item, name)
    singular = form != "count" or value == "one"
    sections = (f"{form} premise questions", f"{form} premise acceptances", "premise denials")
    question, acceptance, denial = (rng.choice(TEMPLATES[section]) for section in sections)
    return Wording(question, acceptance, denial, value, singular)


def place(item: Annotated, name: str) -> str:
    """Return "on the left", "in the middle", "on the right", or "" where none is clear.

    There must be one instance, with its centre at least 5 % of the width from the borders of the thirds.
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
    """The number of instances in words, or "" where it is unknown or above ten."""
    number = sum(box.label == name for box in item.boxes)
    known = name not in item.uncounted and 1 <= number < len(NUMBERS) and noun(name) == name
    return NUMBERS[number] if known else ""


def besides(item: Annotated, name: str) -> str:
    """Up to two other objects of the image, with articles, or ""."""
    others = [with_article(other) for other in item.names if other != name and other not in item.uncounted]
    return " and ".join(others[:2])


_VALUES: dict[str, Callable[[Annotated, str], str]] = {"where": place, "count": count, "besides": besides}
