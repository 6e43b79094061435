"""Compute MMHal-Bench: 96 questions of eight types, rated 0 to 6 by a judge model (Sun et al., 2023, arXiv 2309.14525).

    score = mean rating (0 to 6)        hallucination_rate = ratings below 3 / answers

The type of a question is its position in the file modulo 8. A reply without exactly one "rating: n" counts as 0, as in
the official eval_gpt4.py, and is counted as `unread`. Another judge gives other scores, so the signature names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from halluguard.errors import ExpertError, InputError
from halluguard.metrics.final_answers import without_thoughts
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, ratio

TYPES = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")


def read_rating(reply: str) -> int | None:
    """The rating in a judge's reply, or None when it has none or several.

    >>> read_rating("Informative.\\nRating: 5"), read_rating("Rating: 5 or rating: 2"), read_rating("five")
    (5, None, None)
    """
    text = without_thoughts(reply).lower()
    ratings = [n for n in range(7) if f"rating: {n}" in text]
    return ratings[0] if len(ratings) == 1 else None


def values(totals: Totals) -> dict[str, np.ndarray]:
    """Mean rating (0 to 6), share of ratings below 3, and mean rating by type."""
    overall = {
        "score": ratio(totals["rating"], totals["answers"]),
        "hallucination_rate": ratio(totals["hallucinated"], totals["answers"]),
    }
    return overall | {f"score.{t}": ratio(totals[f"rating.{t}"], totals[f"answers.{t}"]) for t in TYPES}


def score(
    prompts: Sequence[str],
    judge: Callable[[str], str],
    *,
    judge_name: str,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score answers in the order of the benchmark, which decides their types.

    Args:
        prompts: full texts for the judge, one per answer: the official template filled with image contents, question,
            reference and answer. It asks for a line "Rating: n".
        judge: prompt -> reply. An exception that it raises is not caught.
        judge_name: name of the judge, for the signature.
        image_ids: one id per answer; numbers from 0 by default.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no prompts, or a different number of ids.
        ExpertError: the judge's reply is not text.
    """
    names = [str(i) for i in range(len(prompts))] if image_ids is None else list(image_ids)
    if not prompts or len(names) != len(prompts):
        raise InputError(
            f"MMHal-Bench needs as many ids as prompts, at least one, got {len(names)} and {len(prompts)}; "
            "give one id per prompt"
        )
    columns: dict[str, list[int]] = {name: [] for name in ("answers", "rating", "hallucinated", "unread")}
    columns |= {f"{name}.{t}": [] for name in ("answers", "rating") for t in TYPES}
    ratings: list[int | None] = []
    for i, prompt in enumerate(prompts):
        reply = judge(prompt)
        if not isinstance(reply, str):
            raise ExpertError(f"a judge must reply with text, got {type(reply).__name__}; correct the judge")
        rating = read_rating(reply)
        ratings.append(rating)
        row = {"answers": 1, "rating": rating or 0, "hallucinated": (rating or 0) < 3, "unread": rating is None}
        for name in columns:
            count, _, kind = name.partition(".")
            columns[name].append(int(row[count]) if kind in ("", TYPES[i % 8]) else 0)
    unread = sum(columns["unread"])
    return from_counts(
        "mmhal",
        values,
        names,
        columns,
        {"judge": judge_name},
        seed=seed,
        resamples=resamples,
        warnings=[f"{unread} replies had no rating or several, and count as 0"] if unread else [],
        details={"ratings": ratings},
    )
