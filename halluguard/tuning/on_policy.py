"""Build preference pairs from a model's own answers, judged by a checker.

A model learns most from answers that it is likely to give. There are two ways, after RLAIF-V (Yu et al. 2024, arXiv
2405.17220) and HA-DPO (Zhao et al. 2023, arXiv 2311.16839):

    scored    of several answers to one prompt, those with fewer contradicted claims are chosen over those with more
    cleaned   an answer with its contradicted claims corrected is chosen over the draft

The checker is any callable that gives an `Answer` with verdicts, such as `halluguard.correct` or a `Guard`'s check.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from halluguard.errors import SettingsError
from halluguard.records import Answer
from halluguard.tuning.rows import PreferenceRow, RowImage, Truth, row_seed

Check = Callable[[RowImage, str, str], Answer]
"""(image, prompt, answer) -> the answer with its claims, verdicts and edits."""


@dataclass(frozen=True)
class Sampled:
    """A model's answers to one prompt about one image; the rows repeat `source` and `license`."""

    image_id: int | str
    image: RowImage
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
        samples: samples with several answers each for "scored", one or more for "cleaned".
        check: the checker. Claims it could not judge count neither way; its exceptions are not caught.
        seed: seed from which the rows' own seeds come.
        way: "scored" or "cleaned", see above.
        least_gap: for "scored", the rejected answer has at least this many contradicted claims more than the chosen.
        per_prompt: largest number of pairs for one prompt; pairs with the widest gap come first.
        rewrite: function applied to both answers, so that the style of an edit does not reveal the edited one.

    An answer is chosen only if at least one of its claims is supported: an answer without claims is no better.
    """
    if way not in ("scored", "cleaned"):
        raise SettingsError(f'way must be "scored" or "cleaned", got {way!r}; choose one')
    if least_gap < 1 or per_prompt < 1:
        raise SettingsError(
            f"least_gap and per_prompt must be at least 1, got {least_gap} and {per_prompt}; give larger numbers"
        )
    rewritten = rewrite or (lambda text: text)
    for sample in samples:
        checked = [check(sample.image, sample.prompt, text) for text in dict.fromkeys(sample.answers)]
        pairs = _scored(checked, least_gap) if way == "scored" else _cleaned(checked)
        styled = ((rewritten(chosen), rewritten(rejected), truth) for chosen, rejected, truth in pairs)
        distinct = (pair for pair in styled if pair[0].strip() and pair[0].split() != pair[1].split())
        for chosen, rejected, truth in itertools.islice(distinct, per_prompt):
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
    """Names of the claims with that verdict ("supported", "contradicted", "unsure"), each once."""
    names = (answer.claims[v.claim].name for v in answer.verdicts if v.decision == decision)
    return tuple(dict.fromkeys(names))


def _scored(checked: Sequence[Answer], least_gap: int) -> list[tuple[str, str, Truth]]:
    pairs = []
    errors = [sum(v.decision == "contradicted" for v in answer.verdicts) for answer in checked]
    for (a, better), (b, worse) in itertools.permutations(zip(errors, checked, strict=True), 2):
        if b - a >= least_gap and names_judged(better, "supported"):
            truth = Truth(names_judged(better, "supported"), names_judged(worse, "contradicted"))
            pairs.append((b - a, better.draft, worse.draft, truth))
    pairs.sort(key=lambda pair: -pair[0])
    return [pair[1:] for pair in pairs]


def _cleaned(checked: Sequence[Answer]) -> list[tuple[str, str, Truth]]:
    return [
        (answer.text, answer.draft, Truth(names_judged(answer, "supported"), names_judged(answer, "contradicted")))
        for answer in checked
        if answer.edits and names_judged(answer, "supported")
    ]


def balance_lengths(rows: Sequence[PreferenceRow]) -> tuple[list[PreferenceRow], float]:
    """Leave out pairs of very different lengths, so that chosen and rejected have nearly the same mean length in words.

    This is RLAIF-V's cut. One side is shorter on average, usually the chosen one; pairs in which this side is shorter
    by more than a share r are left out. r is tried from 0 to 0.98 in steps of 0.02, and the one with the smallest
    difference of the means is taken; of several, the largest, which keeps most pairs.

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
            difference = abs(sum(lengths[i][0] - lengths[i][1] for i in kept)) / len(kept)
            if difference < smallest:
                best, best_r, smallest = kept, 0.02 * step, difference
    return [rows[i] for i in best], best_r
