"""Build rows with negative images whose truth is known: an object erased, or another natural image without it.

    negative_images, erased_preferences   the object erased: no; an equal patch of background erased: yes, so that the
                                          mark of erasing reveals nothing
    swapped_preferences                   two natural images that share objects, each asked about an object of only one

The rows are balanced by construction: the same question, word for word, has either answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from halluguard.boxes import area, intersection
from halluguard.errors import SettingsError
from halluguard.records import XYXY
from halluguard.tuning.annotations import Annotated
from halluguard.tuning.images import Erased, Fill
from halluguard.tuning.question_templates import ANSWERS, QUESTIONS, answer, ask, check_templates
from halluguard.tuning.rows import InstructionRow, PreferenceRow, Truth, row_seed

_CANDIDATES = 50  # images compared for a swap
_NEAR = 2000  # images of each name, from which the candidates are drawn
_LARGEST = 0.5  # share of the image that may be erased


def negative_images(
    items: Iterable[Annotated],
    *,
    seed: int,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
    describe: Callable[[Annotated], tuple[str, str]] | None = None,
    fill: Fill | None = None,
) -> Iterator[InstructionRow]:
    """Two images that differ in one object, and the question about it: kinds "erased" (no) and "control" (yes).

    Args:
        items: images with boxes; they are opened when a row is used (earlier only where `size` is not known).
        seed: seed of the choice of objects and of the pixels; each row's own comes from it and the image's id.
        questions, answers: templates, see `question_templates`.
        describe: function that gives (prompt, caption) of an image. When given, each erased image is described too
            (kind "erased-caption"); the function is called with what is left in the image.
        fill: `(image, boxes, seed) -> image`, such as an inpainting model, in place of `images.erase`.

    Images with fewer than two kinds of objects give no row. Objects without boxes, in crowds, larger than half the
    image, or too crowded for a control are not erased.
    """
    check_templates(questions, answers)
    for erasure in _erasures(items, seed, fill):
        for row in _pair(erasure, questions, answers):
            yield row.to_instruction()
        if describe is not None:
            left = erasure.left
            prompt, caption = describe(left)
            truth = Truth(left.names, (erasure.name,))
            yield left.instruction(prompt, caption, kind="erased-caption", seed=erasure.seed, truth=truth)


def erased_preferences(
    items: Iterable[Annotated],
    *,
    seed: int,
    questions: Sequence[str] = QUESTIONS,
    answers: Sequence[str] = ANSWERS,
    fill: Fill | None = None,
) -> Iterator[PreferenceRow]:
    """The rows of `negative_images` as pairs: the true answer is chosen, the other polarity rejected."""
    check_templates(questions, answers)
    for erasure in _erasures(items, seed, fill):
        yield from _pair(erasure, questions, answers)


@dataclass(frozen=True)
class _Erasure:
    """`name` erased from the image, and equal patches of background erased as a control."""

    item: Annotated
    name: str
    erased: Erased
    control: Erased
    seed: int

    @property
    def left(self) -> Annotated:
        """The annotation of the erased image, without names whose every box is covered by more than half."""
        left = self.item.without(self.name, self.erased)
        for name in left.names:
            hidden = [
                sum(intersection(patch, b) for patch in self.erased.boxes) > area(b) / 2 for b in left.boxes_of(name)
            ]
            if hidden and all(hidden):
                left = left.without(name, self.erased)
        return left


def _pair(erasure: _Erasure, questions: Sequence[str], answers: Sequence[str]) -> Iterator[PreferenceRow]:
    rng = random.Random(erasure.seed)
    name, prompt, template = erasure.name, ask(rng.choice(questions), erasure.name), rng.choice(answers)
    for image, yes, kind in ((erasure.erased, False, "erased"), (erasure.control, True, "control")):
        yield erasure.item.preference(
            prompt,
            answer(template, name, yes),
            answer(template, name, not yes),
            kind=kind,
            seed=erasure.seed,
            truth=_truth(name, yes),
            image=image,
        )


def _truth(name: str, present: bool) -> Truth:
    return Truth((name,), ()) if present else Truth((), (name,))


def _erasures(items: Iterable[Annotated], seed: int, fill: Fill | None) -> Iterator[_Erasure]:
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
            continue  # no room for a control that leaves the object whole, or hardly an image left
        erased = Erased(item.image, boxes, rng.randrange(2**32), fill)
        control = Erased(item.image, tuple(patches), rng.randrange(2**32), fill)
        yield _Erasure(item, name, erased, control, own)


def _can_go(item: Annotated, name: str) -> bool:
    """Whether erasing the boxes of `name` makes it absent: every instance has a box, and no other label covers it."""
    boxes = item.boxes_of(name)
    boxed = len(boxes) == sum(box.label == name for box in item.boxes) and all(area(box) > 0 for box in boxes)
    return boxed and name not in item.uncounted and item.without(name, item.image).lacks(name)


def _background_patches(item: Annotated, name: str, width: int, height: int, rng: random.Random) -> list[XYXY]:
    """One patch for each box of `name`, of its size, placed where it covers other boxes least (best of 30 places)."""
    patches = []
    for x1, y1, x2, y2 in item.boxes_of(name):
        w, h = x2 - x1, y2 - y1
        places = [(rng.uniform(0, max(0, width - w)), rng.uniform(0, max(0, height - h))) for _ in range(30)]
        candidates: list[XYXY] = [(x, y, x + w, y + h) for x, y in places]
        patches.append(min(candidates, key=lambda patch: _harm(item, name, patch)))
    return patches


def _harm(item: Annotated, name: str, patch: XYXY) -> float:
    """The area of objects that a patch covers, in pixels; `name` itself counts ten times."""
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
    """Four rows from two natural images: each is asked about an object of its own and about one of the other.

    The two images share at least `shared_names` names, and as many as the compared candidates allow: the object is
    expected where it is absent, and no pixel was changed. Kinds "swap-positive" and "swap-negative"; every question
    and every image has a yes and a no. Images without such a partner give no row.

    Raises:
        SettingsError: `shared_names` < 1, or a bad template.
    """
    if shared_names < 1:
        raise SettingsError(f"shared_names must be at least 1, got {shared_names}; with 0 any two images would do")
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
            yes, no = answer(template, name, True), answer(template, name, False)
            yield holder.preference(prompt, yes, no, kind="swap-positive", seed=own, truth=_truth(name, True))
            yield lacker.preference(prompt, no, yes, kind="swap-negative", seed=own, truth=_truth(name, False))


def _partner(
    items: Sequence[Annotated], index: int, having: dict[str, list[int]], least: int, rng: random.Random
) -> tuple[Annotated, str, str] | None:
    """The image with most names in common, a name that only this image has, and a name that only the other has."""
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
