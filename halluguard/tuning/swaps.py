"""Things that are there, described wrongly: another colour, number, side, or a false fact about them.

LRV-Instruction's "existent object" and "knowledge" manipulations, without a language model: values come from boxes and
annotated attributes, facts from a table. Every (thing, value) is asked for equally often rightly and wrongly.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from halluguard import vocabulary
from halluguard.errors import InputError
from halluguard.tuning import false_premises
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.edge_balance import balanced
from halluguard.tuning.question_templates import noun
from halluguard.tuning.rows import PreferenceRow, Truth, row_seed

COLORS = ("red", "blue", "green", "yellow", "black", "white", "brown", "gray", "orange", "pink", "purple")
SIDES = ("on the left", "in the middle", "on the right")

_QUESTIONS = {
    "color": (
        "Is the {name} {value}?",
        "Is the {name} in the image {value}?",
        "Does the image show a {name} that is {value}?",
        "Would you say that the {name} is {value}?",
        "Tell me whether the {name} is {value}.",
        "Is {value} the color of the {name}?",
        "Is it true that the {name} in the picture is {value}?",
    ),
    "count": (
        "{Is} there exactly {value} {counted} in the image?",
        "{Is} there {value} {counted} in the picture, no more and no fewer?",
        "Does the image show exactly {value} {counted}?",
        "Can you see exactly {value} {counted} in this photo?",
        "Tell me whether there {is_} exactly {value} {counted}.",
        "Is {value} the number of {names} in the image?",
        "Is it true that the picture shows exactly {value} {counted}?",
    ),
    "side": (
        "Is the {name} {value}?",
        "Is the {name} {value} of the image?",
        "Can the {name} be seen {value}?",
        "Does the {name} appear {value} of the picture?",
        "Tell me whether the {name} is {value}.",
        "Would you say that the {name} is {value}?",
        "Is it true that the {name} is {value} of the photo?",
    ),
}
_ANSWERS = {
    "color": (
        "{Yes}, the {name} is {value}.",
        "{Yes}, it is {value}.",
        "{Yes}, its color is {value}.",
        "{Yes}, the color of the {name} is {value}.",
        "{Yes}, the {name} in the image is {value}.",
        "{Yes}, {value} is its color.",
        "{Yes}, what I see is {value}.",
    ),
    "count": (
        "{Yes}, there {is_} {value} {counted}.",
        "{Yes}, I count {value}.",
        "{Yes}, I can see {value} {counted}.",
        "{Yes}, the image shows {value} {counted}.",
        "{Yes}, the number is {value}.",
        "{Yes}, the picture has {value} {counted} in it.",
        "{Yes}, {value} can be seen.",
    ),
    "side": (
        "{Yes}, the {name} is {value}.",
        "{Yes}, it is {value}.",
        "{Yes}, the {name} is {value} of the image.",
        "{Yes}, it can be seen {value}.",
        "{Yes}, the {name} appears {value}.",
        "{Yes}, its place is {value}.",
        "{Yes}, I see it {value}.",
    ),
}


@dataclass(frozen=True)
class _Swap:
    item: Annotated
    kind: str
    name: str
    true: str
    false: str

    @property
    def pair(self) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
        return (self.kind, self.name, self.true), (self.kind, self.name, self.false)

    def fill(self, template: str, value: str, yes: bool = True) -> str:
        one = self.kind != "count" or value == "one"
        return template.format(
            name=noun(self.name),
            names=vocabulary.plural(self.name),
            counted=self.name if one else vocabulary.plural(self.name),
            is_="is" if one else "are",
            Is="Is" if one else "Are",
            value=value,
            Yes="Yes" if yes else "No",
        )


def attribute_swaps(items: Sequence[Annotated], *, seed: int, per_image: int = 2) -> Iterator[PreferenceRow]:
    """Pairs of questions about a thing that is there: its own value (yes) and another (no, with the right one said).

    Colours come from `attributes`, numbers and sides from boxes. A colour or side is asked for where there is one
    instance only, a number where the instances are all known. Kinds "color-positive", "count-negative" and so on. The
    rejected answer has the other polarity and the wrong value, so that chosen and rejected share their words.

    Args:
        items: pictures with boxes; pictures are not opened.
        seed: the same seed gives the same rows.
        per_image: pairs per picture at most; balance leaves some out.
    """
    surplus: Counter[tuple[str, str, str]] = Counter()
    swaps: list[_Swap] = []
    for item in items:
        rng = random.Random(row_seed(seed, "attribute", item.image_id))
        options = list(_options(item))
        rng.shuffle(options)
        options.sort(key=lambda option: surplus[option[:3]])
        for kind, name, true, others in options[:per_image]:
            false = max(others, key=lambda value: (surplus[kind, name, value], rng.random()))
            swaps.append(_Swap(item, kind, name, true, false))
            surplus[kind, name, true] += 1
            surplus[kind, name, false] -= 1
    for index in balanced([swap.pair for swap in swaps], seed):
        yield from _rows(swaps[index], seed)


def _options(item: Annotated) -> Iterator[tuple[str, str, str, list[str]]]:
    """(kind, name, true value, values that are false of every instance)."""
    for name in sorted(item.names):
        single = sum(box.label == name for box in item.boxes) == 1 and name not in item.uncounted
        words = {word for known in item.attributes_of(name) for word in known} & set(COLORS)
        if single and len(words) == 1:
            true = words.pop()
            yield "color", name, true, [color for color in COLORS if color != true]
        side = false_premises.place(item, name)
        if side:
            yield "side", name, side, [other for other in SIDES if other != side]
        number = false_premises.count(item, name)
        if number:
            at = false_premises.NUMBERS.index(number)
            yield "count", name, number, [false_premises.NUMBERS[n] for n in (at - 1, at + 1) if 1 <= n <= 10]


def _rows(swap: _Swap, seed: int) -> Iterator[PreferenceRow]:
    own = row_seed(seed, swap.kind, swap.item.image_id, swap.name, swap.false)
    rng = random.Random(own)
    question, template = rng.choice(_QUESTIONS[swap.kind]), rng.choice(_ANSWERS[swap.kind])
    polarities = [True, False]
    rng.shuffle(polarities)
    for yes in polarities:
        yield PreferenceRow(
            (swap.item.image,),
            swap.fill(question, swap.true if yes else swap.false),
            swap.fill(template, swap.true, yes),
            swap.fill(template, swap.false, not yes),
            image_id=swap.item.image_id,
            kind=f"{swap.kind}-{'positive' if yes else 'negative'}",
            source=swap.item.source,
            seed=own,
            truth=Truth((swap.name,), ()),
            license=swap.item.license,
        )


_FACT_QUESTIONS = (
    "Look at the {name} in the image. Is it true that {names} {fact}?",
    "The image shows a {name}. Do people say rightly that {names} {fact}?",
    "There is a {name} in the picture. Would you agree that {names} {fact}?",
    "Consider the {name} in this photo: is it a fact that {names} {fact}?",
)
_FACT_ANSWERS = (
    ("Yes, that is true of {names}.", "No, that is false of {names}."),
    ("Yes, this holds for {names}.", "No, this fails for {names}."),
    ("Yes, it is right.", "No, it is wrong."),
    ("Yes, that is correct.", "No, that is incorrect."),
    ("Yes, it is a fact about {names}.", "No, it is an error about {names}."),
)


def knowledge_swaps(items: Sequence[Annotated], *, seed: int) -> Iterator[PreferenceRow]:
    """One true and one false fact about a thing in the picture, from the curated table `knowledge.txt`.

    No other builder calls this one: these questions can be answered without the picture, and teach a model to doubt
    premises, not to look. Every fact is asked about equally often where it is true and where it is false. Kinds
    "knowledge-positive" and "knowledge-negative".
    """
    facts = knowledge()
    surplus: Counter[str] = Counter()
    chosen: list[tuple[Annotated, str, str, str]] = []
    for item in items:
        rng = random.Random(row_seed(seed, "knowledge", item.image_id))
        known = [name for name in sorted(item.names) if name in facts and all(facts[name])]
        if not known:
            continue
        name = rng.choice(known)
        true = min(facts[name][0], key=lambda fact: (surplus[fact], rng.random()))
        false = max(facts[name][1], key=lambda fact: (surplus[fact], rng.random()))
        surplus[true] += 1
        surplus[false] -= 1
        chosen.append((item, name, true, false))
    for index in balanced([(true, false) for _, _, true, false in chosen], seed):
        item, name, *both = chosen[index]
        own = row_seed(seed, "knowledge", item.image_id, name, *both)
        rng = random.Random(own)
        question, answers = rng.choice(_FACT_QUESTIONS), rng.choice(_FACT_ANSWERS)
        for fact, yes in zip(both, (True, False), strict=True):
            words = {"name": noun(name), "names": vocabulary.plural(name), "fact": fact}
            told = [answer.format(**words) for answer in answers]
            yield PreferenceRow(
                (item.image,),
                question.format(**words),
                told[0] if yes else told[1],
                told[1] if yes else told[0],
                image_id=item.image_id,
                kind=f"knowledge-{'positive' if yes else 'negative'}",
                source=item.source,
                seed=own,
                truth=Truth((name,), ()),
                license=item.license,
            )


@lru_cache(maxsize=1)
def knowledge() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """name -> (facts that are true of it, facts that are false of it)."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    text = files("halluguard.tuning").joinpath("knowledge.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        fact, _, names = line.partition(": ")
        sides = names.split(" | ")
        if len(sides) != 2:
            raise InputError(f"expected 'fact: names | names' in knowledge.txt, got {line!r}; correct the line")
        for side, listed in enumerate(sides):
            for name in listed.split(", "):
                found.setdefault(name, ([], []))[side].append(fact)
    return {name: (tuple(true), tuple(false)) for name, (true, false) in found.items()}
