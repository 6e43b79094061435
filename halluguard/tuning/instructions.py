"""Negative instructions: questions about absent objects, as many as about present ones.

LRV-Instruction (Liu et al. 2023, arXiv 2306.14565) showed that a balance of the two teaches a model to look, and that
either alone teaches one answer. Here every image has as many questions answered yes as no, and so has every object over
the whole set: neither "always no" nor "such objects are never there" lowers the loss. Absent objects are drawn as in
POPE (Li et al. 2023, arXiv 2305.10355): at random, by frequency, or by co-occurrence with the present ones.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from halluguard.errors import SettingsError
from halluguard.tuning import premise_templates
from halluguard.tuning.annotations import Annotated, Companions
from halluguard.tuning.edge_balance import balanced
from halluguard.tuning.question_templates import ANSWERS, QUESTIONS, answer, ask, check_templates
from halluguard.tuning.rows import InstructionRow, PreferenceRow, Truth, row_seed

Sampling = Literal["random", "popular", "adversarial"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)

_POPULAR = 8  # candidates by frequency
_ADVERSARIAL = 3  # candidates by co-occurrence


@dataclass(frozen=True)
class QuestionPair:
    """An object that is present in the image `item`, and an absent one drawn by `sampling`."""

    item: Annotated
    present: str
    absent: str
    sampling: Sampling

    def seed(self, seed: int, builder: str) -> int:
        return row_seed(seed, builder, self.item.image_id, self.present, self.absent)

    def row(self, name: str, prompt: str, chosen: str, rejected: str, seed: int, prefix: str = "") -> PreferenceRow:
        """The row that asks about `name`, one of the two."""
        present = name == self.present
        kind = prefix + ("positive" if present else f"negative-{self.sampling}")
        truth = Truth((name,), ()) if present else Truth((), (name,))
        return self.item.preference(prompt, chosen, rejected, kind=kind, seed=seed, truth=truth)


def negative_instructions(
    items: Sequence[Annotated],
    *,
    seed: int,
    per_image: int = 2,
    samplings: Sequence[Sampling] = SAMPLINGS,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
) -> Iterator[InstructionRow]:
    """Up to `per_image` yes/no questions answered yes and as many answered no about every image.

    Args:
        items: annotated images; they are not opened.
        seed: the same seed gives the same rows.
        per_image: questions of each polarity per image; fewer where an image has fewer objects or balance forbids more.
        samplings: ways to draw absent objects, used in turn: "random", "popular" (most frequent over `items`),
            "adversarial" (most frequent together with the image's objects).
        questions, answers: templates, see `question_templates`; the yes and the no of a pair share theirs.

    Yields:
        Rows of kind "positive" and "negative-random", "negative-popular", "negative-adversarial". Every name is asked
        about equally often with either answer; pairs that cannot be balanced are left out.

    Raises:
        SettingsError: an unknown sampling, a bad template, or `per_image` < 1. InputError: no object is annotated.
    """
    for row in negative_preferences(
        items, seed=seed, per_image=per_image, samplings=samplings, questions=questions, answers=answers
    ):
        yield row.to_instruction()


def negative_preferences(
    items: Sequence[Annotated],
    *,
    seed: int,
    per_image: int = 2,
    samplings: Sequence[Sampling] = SAMPLINGS,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
) -> Iterator[PreferenceRow]:
    """The same rows as pairs: the true answer is chosen, the same template with the other polarity rejected."""
    check_templates(questions, answers)
    for pair in question_pairs(items, seed=seed, per_image=per_image, samplings=samplings):
        own = pair.seed(seed, "negative-instructions")
        rng = random.Random(own)
        question, template = rng.choice(questions), rng.choice(answers)
        rows = [
            pair.row(name, ask(question, name), answer(template, name, yes), answer(template, name, not yes), own)
            for name, yes in ((pair.present, True), (pair.absent, False))
        ]
        rng.shuffle(rows)
        yield from rows


def false_premises(
    items: Sequence[Annotated],
    *,
    seed: int,
    per_image: int = 1,
    samplings: Sequence[Sampling] = SAMPLINGS,
) -> Iterator[PreferenceRow]:
    """Open questions that presuppose an object ("Where is the dog?"), as often rightly as wrongly.

    Where the object is present, the chosen answer says where it is, how many there are, or what else there is, and the
    rejected answer denies it; where it is absent, the other way round. So both kinds of answer are chosen and rejected
    equally often, in the same words. Arguments and errors are those of `negative_instructions`.
    """

    def able(item: Annotated, name: str) -> bool:
        return bool(premise_templates.forms_for(item, name))

    for pair in question_pairs(items, seed=seed + 1, per_image=per_image, samplings=samplings, able=able):
        own = pair.seed(seed, "false-premises")
        rng = random.Random(own)
        rows = []
        wording = premise_templates.draw(pair.item, pair.present, rng)
        for name in (pair.present, pair.absent):
            prompt, acceptance, denial = wording.about(name)
            chosen, rejected = (acceptance, denial) if name == pair.present else (denial, acceptance)
            rows.append(pair.row(name, prompt, chosen, rejected, own, prefix="premise-"))
        rng.shuffle(rows)
        yield from rows


def question_pairs(
    items: Sequence[Annotated],
    *,
    seed: int,
    per_image: int,
    samplings: Sequence[Sampling] = SAMPLINGS,
    able: Callable[[Annotated, str], bool] | None = None,
) -> list[QuestionPair]:
    """Choose the present and the absent object to ask about in each image, so that names and polarities balance.

    A greedy pass prefers the names that lack such questions; the surplus is removed (`edge_balance.balanced`).

    Args:
        able: `(item, name) -> bool`, whether a present name can be asked about; by default all can.
    """
    if per_image < 1:
        raise SettingsError(f"per_image must be at least 1, got {per_image}; give a larger number")
    unknown = [name for name in samplings if name not in SAMPLINGS]
    if unknown or not samplings or isinstance(samplings, str):
        raise SettingsError(
            f"samplings must be some of {', '.join(SAMPLINGS)}, got {unknown or samplings!r}; choose among them"
        )
    companions = Companions(items)
    rng = random.Random(row_seed(seed, "plan"))
    surplus: Counter[str] = Counter()  # yes rows minus no rows so far, per name
    pairs = []
    for number, item in enumerate(items):
        fit = [name for name in item.names if able is None or able(item, name)]
        present = sorted(fit, key=lambda name: (surplus[name], rng.random()))[:per_image]
        absent = [name for name in companions.names if item.lacks(name)]
        for k, name in enumerate(present[: len(absent)]):
            sampling = samplings[(number + k) % len(samplings)]
            other = _draw_absent(absent, item.names, sampling, companions, surplus, rng)
            absent.remove(other)
            surplus[name] += 1
            surplus[other] -= 1
            pairs.append(QuestionPair(item, name, other, sampling))
    return [pairs[index] for index in balanced([(pair.present, pair.absent) for pair in pairs], seed)]


def _draw_absent(
    absent: Sequence[str],
    present: Sequence[str],
    sampling: Sampling,
    companions: Companions,
    surplus: Counter[str],
    rng: random.Random,
) -> str:
    """An absent object: of the candidates of this sampling, the one with the largest surplus of yes."""
    candidates = list(absent)
    if sampling == "popular":
        candidates = sorted(absent, key=lambda name: (-companions.frequency[name], name))[:_POPULAR]
    elif sampling == "adversarial":
        candidates = companions.expected(present, absent)[:_ADVERSARIAL]
    return max(candidates, key=lambda name: (surplus[name], rng.random()))
