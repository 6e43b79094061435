"""Pairs from the model's own answers, judged by a checker: answers it is likely to give are those it learns from most.

Two ways, after RLAIF-V (Yu et al. 2024, arXiv 2405.17220) and HA-DPO (Zhao et al. 2023, arXiv 2311.16839):

    scored    of several answers to one prompt, those with fewer contradicted claims are chosen over those with more
    cleaned   an answer with its contradicted claims corrected is chosen over the answer as it was

The checker is any callable that gives an `Answer` with verdicts, such as `halluguard.correct` or a `Guard`'s check.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from halluguard.errors import SettingsError
from halluguard.records import Answer
from halluguard.tuning.rows import Picture, PreferenceRow, Truth, row_seed

Check = Callable[[Picture, str, str], Answer]
"""(picture, prompt, answer) -> the answer with its claims, verdicts and edits."""


@dataclass(frozen=True)
class Sampled:
    """A model's answers to one prompt about one picture; `source` and `license` go into the rows."""

    image_id: int | str
    image: Picture
    prompt: str
    answers: tuple[str, ...]
    source: str = "own answers"
    license: str = ""


def on_policy_pairs(
    samples: Iterable[Sampled],
    check: Check,
    *,
    seed: int,
    way: Literal["scored", "cleaned"] = "scored",
    least_gap: int = 1,
    per_prompt: int = 2,
    rewrite: Callable[[str], str] | None = None,
) -> Iterator[PreferenceRow]:
    """Pairs of kind "on-policy-scored" or "on-policy-cleaned", streamed; balance their lengths with `balance_lengths`.

    Args:
        samples: several answers each for "scored", one or more for "cleaned".
        check: what judges. Claims it could not judge count neither way; what it raises is not caught.
        seed: for the rows' own seeds.
        least_gap: "scored": the chosen answer has at least this many contradicted claims fewer.
        per_prompt: at most this many pairs for one prompt, those with the widest gap first.
        rewrite: applied to both sides alike, so that the style of an edit does not tell which side was edited.

    An answer is chosen only when a claim of it was found true: saying nothing that can be checked is no merit.
    """
    if way not in ("scored", "cleaned"):
        raise SettingsError(f'way must be "scored" or "cleaned", got {way!r}')
    if least_gap < 1 or per_prompt < 1:
        raise SettingsError(f"least_gap and per_prompt must be at least 1, got {least_gap} and {per_prompt}")
    same = rewrite or (lambda text: text)
    for sample in samples:
        checked = [check(sample.image, sample.prompt, text) for text in dict.fromkeys(sample.answers)]
        found = _scored(checked, least_gap) if way == "scored" else _cleaned(checked)
        sides = ((same(chosen), same(rejected), truth) for chosen, rejected, truth in found)
        apart = (side for side in sides if side[0].strip() and side[0].split() != side[1].split())
        for chosen, rejected, truth in itertools.islice(apart, per_prompt):
            yield PreferenceRow(
                (sample.image,),
                sample.prompt,
                chosen,
                rejected,
                image_id=sample.image_id,
                kind=f"on-policy-{way}",
                source=sample.source,
                seed=row_seed(seed, "on-policy", sample.image_id, sample.prompt, chosen),
                truth=truth,
                license=sample.license,
                minimal_edit=way == "cleaned",
            )


def names_judged(answer: Answer, decision: str) -> tuple[str, ...]:
    """Names of the claims on which the checker decided so, each once."""
    names = (answer.claims[v.claim].name for v in answer.verdicts if v.decision == decision)
    return tuple(dict.fromkeys(names))


def _scored(checked: Sequence[Answer], least_gap: int) -> list[tuple[str, str, Truth]]:
    found = []
    wrong = [sum(v.decision == "contradicted" for v in answer.verdicts) for answer in checked]
    for (a, one), (b, two) in itertools.permutations(zip(wrong, checked, strict=True), 2):
        if b - a >= least_gap and names_judged(one, "supported"):
            truth = Truth(names_judged(one, "supported"), names_judged(two, "contradicted"))
            found.append((b - a, one.draft, two.draft, truth))
    found.sort(key=lambda pair: -pair[0])
    return [pair[1:] for pair in found]


def _cleaned(checked: Sequence[Answer]) -> list[tuple[str, str, Truth]]:
    return [
        (answer.text, answer.draft, Truth(names_judged(answer, "supported"), names_judged(answer, "contradicted")))
        for answer in checked
        if answer.edits and names_judged(answer, "supported")
    ]


def balance_lengths(rows: Sequence[PreferenceRow]) -> tuple[list[PreferenceRow], float]:
    """RLAIF-V's cut: leave out pairs whose one side is shorter by more than a share r, for the r that makes the mean
    lengths (in words) most alike.

    The side is the one that is shorter on average: usually the chosen one, as fewer claims are fewer words. r is tried
    from 0 to 0.98 in steps of 0.02; of equal ones the largest, which keeps most, is taken.

    Returns:
        (the rows kept, in order; r). With nothing to balance, all rows and 1.0.
    """
    lengths = [(len(row.chosen.split()), len(row.rejected.split())) for row in rows]
    gap = sum(a - b for a, b in lengths)
    if not rows or gap == 0:
        return list(rows), 1.0
    sign = -1 if gap < 0 else 1
    short = [max(0.0, sign * (a - b) / max(a, b)) for a, b in lengths]
    best, best_r = list(range(len(rows))), 1.0
    smallest = abs(gap) / len(rows)
    for step in range(49, -1, -1):
        kept = [i for i, share in enumerate(short) if share <= 0.02 * step]
        if kept:
            apart = abs(sum(lengths[i][0] - lengths[i][1] for i in kept)) / len(kept)
            if apart < smallest:
                best, best_r, smallest = kept, 0.02 * step, apart
    return [rows[i] for i in best], best_r
