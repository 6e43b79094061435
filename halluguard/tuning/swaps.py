"""Questions that describe a present object wrongly: another colour, number or side, or a false fact about it.

LRV-Instruction's "existent object" and "knowledge" manipulations, without a language model: values come from boxes and
annotated attributes, facts from a table. Every (object, value) is asked about equally often rightly and wrongly.
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
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.edge_balance import balanced
from halluguard.tuning.premise_templates import NUMBERS, count, place
from halluguard.tuning.question_templates import TEMPLATES, noun
from halluguard.tuning.rows import PreferenceRow, Truth, row_seed

COLORS = ("red", "blue", "green", "yellow", "black", "white", "brown", "gray", "orange", "pink", "purple")
SIDES = ("on the left", "in the middle", "on the right")


@dataclass(frozen=True)
class _Swap:
    """A value that is true of an object and one that is false of it; `kind` is "color", "side" or "count"."""

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
    """Pairs of questions about a present object, with its true value (yes) and with a false one (no).

    Colours come from `attributes`, numbers and sides from boxes. A colour or side is asked about where there is one
    instance only, a number where all instances are known. Kinds "color-positive", "count-negative" and so on. The
    rejected answer has the other polarity and the wrong value, so that chosen and rejected share their words.

    Args:
        items: images with boxes; they are not opened.
        seed: the same seed gives the same rows.
        per_image: maximum of pairs per image; balance leaves some out.
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
        side = place(item, name)
        if side:
            yield "side", name, side, [other for other in SIDES if other != side]
        number = count(item, name)
        if number:
            at = NUMBERS.index(number)
            yield "count", name, number, [NUMBERS[n] for n in (at - 1, at + 1) if 1 <= n <= 10]


def _rows(swap: _Swap, seed: int) -> Iterator[PreferenceRow]:
    own = row_seed(seed, swap.kind, swap.item.image_id, swap.name, swap.false)
    rng = random.Random(own)
    question, template = (rng.choice(TEMPLATES[f"{swap.kind} {part}"]) for part in ("questions", "answers"))
    polarities = [True, False]
    rng.shuffle(polarities)
    for yes in polarities:
        yield swap.item.preference(
            swap.fill(question, swap.true if yes else swap.false),
            swap.fill(template, swap.true, yes),
            swap.fill(template, swap.false, not yes),
            kind=f"{swap.kind}-{'positive' if yes else 'negative'}",
            seed=own,
            truth=Truth((swap.name,)),
        )


def knowledge_swaps(items: Sequence[Annotated], *, seed: int) -> Iterator[PreferenceRow]:
    """One true and one false fact about an object of the image, from the curated table `knowledge.txt`.

    No other builder calls this one: the questions can be answered without the image, and teach a model to doubt
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
        question, answers = rng.choice(TEMPLATES["fact questions"]), rng.choice(TEMPLATES["fact answers"]).split(" | ")
        for fact, yes in zip(both, (True, False), strict=True):
            words = {"name": noun(name), "names": vocabulary.plural(name), "fact": fact}
            affirmed, denied = (answer.format(**words) for answer in answers)
            yield item.preference(
                question.format(**words),
                affirmed if yes else denied,
                denied if yes else affirmed,
                kind=f"knowledge-{'positive' if yes else 'negative'}",
                seed=own,
                truth=Truth((name,)),
            )


@lru_cache(maxsize=1)
def knowledge() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """name -> (facts that are true of it, facts that are false of it)."""
    facts: dict[str, tuple[list[str], list[str]]] = {}
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
                facts.setdefault(name, ([], []))[side].append(fact)
    return {name: (tuple(true), tuple(false)) for name, (true, false) in facts.items()}
