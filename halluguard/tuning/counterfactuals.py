"""Rows with negative images whose truth is known: an object erased, or another picture without it.

    negative_images, erased_preferences   the object erased: no; an equal patch of background erased: yes, so that
                                          "something was erased" says nothing
    swapped_preferences                   two natural pictures with the same company, each asked about what only one has

These are ordinary rows, balanced by construction: the same question, word for word, has either answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from halluguard.boxes import area, intersection
from halluguard.errors import SettingsError
from halluguard.records import XYXY
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.images import Erased
from halluguard.tuning.question_templates import ANSWERS, QUESTIONS, answer, ask, check_templates
from halluguard.tuning.rows import InstructionRow, PreferenceRow, Truth, row_seed

_CANDIDATES = 50  # pictures looked at for a swap
_NEAR = 2000  # of each name, the pictures a swap is drawn from
_LARGEST = 0.5  # share of the picture that may be erased


def negative_images(
    items: Iterable[Annotated],
    *,
    seed: int,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
    describe: Callable[[Annotated], tuple[str, str]] | None = None,
    fill: Callable[..., Any] | None = None,
) -> Iterator[InstructionRow]:
    """Two pictures that differ in one object, and the question about it: kinds "erased" (no) and "control" (yes).

    Args:
        items: pictures with boxes; they are opened when a row is used (earlier only where `size` is not known).
        seed: of the choice of objects and of the pixels; each row's own comes from it and the picture's id.
        questions, answers: templates, see `wording`.
        describe: gives (prompt, caption) of a picture; when given, each erased picture is described too (kind
            "erased-caption"). It is called with what is left in the picture.
        fill: `(picture, boxes, seed) -> picture`, such as an inpainting model, in place of `images.erase`.

    Passed over are pictures with fewer than two kinds of objects, and objects without boxes, in crowds, larger than
    half the picture, or too crowded in for a control.
    """
    check_templates(questions, answers)
    for erasure in _erasures(items, seed, fill):
        for row in _both(erasure, questions, answers):
            yield row.to_instruction()
        if describe is not None:
            left = erasure.left
            prompt, caption = describe(left)
            yield InstructionRow(
                (left.image,),
                prompt,
                caption,
                image_id=left.image_id,
                kind="erased-caption",
                source=left.source,
                seed=erasure.seed,
                truth=Truth(left.names, (erasure.name,)),
                license=left.license,
            )


def erased_preferences(
    items: Iterable[Annotated],
    *,
    seed: int,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
    fill: Callable[..., Any] | None = None,
) -> Iterator[PreferenceRow]:
    """The rows of `negative_images` as pairs: the true answer is chosen, the other polarity rejected."""
    check_templates(questions, answers)
    for erasure in _erasures(items, seed, fill):
        yield from _both(erasure, questions, answers)


@dataclass(frozen=True)
class _Erasure:
    item: Annotated
    name: str
    erased: Erased
    control: Erased
    seed: int

    @property
    def left(self) -> Annotated:
        """What can still be said to be in the erased picture: things less than half under the patch."""
        left = self.item.without(self.name, self.erased)
        for name in left.names:
            hidden = [
                sum(intersection(patch, b) for patch in self.erased.boxes) > area(b) / 2 for b in left.boxes_of(name)
            ]
            if hidden and all(hidden):
                left = left.without(name, self.erased)
        return left


def _both(erasure: _Erasure, questions: Sequence[str], answers: Sequence[str]) -> Iterator[PreferenceRow]:
    rng = random.Random(erasure.seed)
    prompt, template = ask(rng.choice(questions), erasure.name), rng.choice(answers)
    for picture, yes, kind in ((erasure.erased, False, "erased"), (erasure.control, True, "control")):
        chosen, rejected = (answer(template, erasure.name, polarity) for polarity in (yes, not yes))
        yield _row(erasure.item, picture, erasure.name, prompt, chosen, rejected, yes, kind, erasure.seed)


def _row(
    item: Annotated, picture: Any, name: str, prompt: str, chosen: str, rejected: str, yes: bool, kind: str, seed: int
) -> PreferenceRow:
    return PreferenceRow(
        (picture,),
        prompt,
        chosen,
        rejected,
        image_id=item.image_id,
        kind=kind,
        source=item.source,
        seed=seed,
        truth=Truth((name,), ()) if yes else Truth((), (name,)),
        license=item.license,
    )


def _erasures(items: Iterable[Annotated], seed: int, fill: Callable[..., Any] | None) -> Iterator[_Erasure]:
    for item in items:
        own = row_seed(seed, "erase", item.image_id)
        rng = random.Random(own)
        names = [name for name in sorted(item.names) if _can_go(item, name)]
        if len(item.names) < 2 or not names:
            continue
        name = rng.choice(names)
        boxes = tuple(item.boxes_of(name))
        width, height = item.size or item.open().size
        patches = _background_patches(item, name, width, height, rng)
        if _covered(patches, boxes) > 0.1 or sum(area(b) for b in boxes) > _LARGEST * width * height:
            continue  # no room for a control that leaves the object whole, or hardly a picture left
        erased = Erased(item.image, boxes, rng.randrange(2**32), fill)
        control = Erased(item.image, tuple(patches), rng.randrange(2**32), fill)
        yield _Erasure(item, name, erased, control, own)


def _can_go(item: Annotated, name: str) -> bool:
    """Whether erasing the boxes of `name` makes it absent: all of it is boxed, and nothing else goes by that name."""
    boxes = item.boxes_of(name)
    boxed = len(boxes) == sum(box.label == name for box in item.boxes) and all(area(box) > 0 for box in boxes)
    return boxed and name not in item.uncounted and item.without(name, item.image).lacks(name)


def _background_patches(item: Annotated, name: str, width: int, height: int, rng: random.Random) -> list[XYXY]:
    """One patch for each box of `name`, of its size, placed where it covers other boxes least (of 30 tries)."""
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
        intersection(patch, box.xyxy) * (10 if box.label == name else 1) for box in item.boxes if box.xyxy is not None
    )


def _covered(patches: Sequence[XYXY], boxes: Sequence[XYXY]) -> float:
    """The largest share of any box that the patches cover (overlapping patches count twice)."""
    return max(sum(intersection(patch, box) for patch in patches) / area(box) for box in boxes)


def swapped_preferences(
    items: Sequence[Annotated],
    *,
    seed: int,
    shared_names: int = 1,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
) -> Iterator[PreferenceRow]:
    """Four rows from two natural pictures: each is asked about a thing of its own and about one of the other.

    The two share at least `shared_names` names, as many as `_CANDIDATES` looked-at pictures allow: the object is
    expected where it is not, and no pixel was touched. Kinds "swap-positive" and "swap-negative"; every question and
    every picture has a yes and a no. Pictures without such a partner are passed over.

    Raises:
        SettingsError: `shared_names` < 1, or a bad template.
    """
    if shared_names < 1:
        raise SettingsError(f"shared_names must be at least 1, got {shared_names}; any picture shares nothing")
    check_templates(questions, answers)
    having: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        for name in item.names:
            having.setdefault(name, []).append(index)
    for index, item in enumerate(items):
        own = row_seed(seed, "swap", item.image_id)
        rng = random.Random(own)
        partner = _partner(items, index, having, shared_names, rng)
        if partner is None:
            continue
        other, mine, its = partner
        for name, holder, lacker in ((mine, item, other), (its, other, item)):
            prompt, template = ask(rng.choice(questions), name), rng.choice(answers)
            yes, no = (answer(template, name, polarity) for polarity in (True, False))
            yield _row(holder, holder.image, name, prompt, yes, no, True, "swap-positive", own)
            yield _row(lacker, lacker.image, name, prompt, no, yes, False, "swap-negative", own)


def _partner(
    items: Sequence[Annotated], index: int, having: dict[str, list[int]], least: int, rng: random.Random
) -> tuple[Annotated, str, str] | None:
    """The picture with most names in common, a name only this one has, and a name only that one has."""
    item = items[index]
    rarest = sorted(item.names, key=lambda name: (len(having[name]), name))
    near = sorted({number for name in rarest[:3] for number in having[name][:_NEAR]} - {index})
    best, most = None, least - 1
    for number in rng.sample(near, min(_CANDIDATES, len(near))):
        other = items[number]
        common = len(set(item.names) & set(other.names))
        if common <= most or other.image_id == item.image_id:
            continue
        mine = [name for name in sorted(item.names) if other.lacks(name)]
        its = [name for name in sorted(other.names) if item.lacks(name)]
        if mine and its:
            best, most = (other, rng.choice(mine), rng.choice(its)), common
    return best
