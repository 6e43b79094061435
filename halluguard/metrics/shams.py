"""Baselines that do not look at the picture: a method must beat them to be called helpful.

    POPE     always the same answer; plain answers with as many yes as the method has, chosen blindly
    CHAIR    plain captions cut to the method's length; plain captions with as many mentions as the method, the rest
             dropped blindly

The first of each shows what a score gives away for nothing, the second what a mere shift of the answers, or a mere
shortening, would have gained.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import chair
from halluguard.metrics.pope_questions import Question
from halluguard.metrics.score import Score, from_counts


def always(questions: Sequence[Question], answer: str = "No") -> dict[str, str]:
    """One answer to every question."""
    return {question.question_id: answer for question in questions}


def shift_yes_ratio(verdicts: Mapping[str, str], ratio: float, seed: int = 0) -> dict[str, str]:
    """Change answers, drawn at random, until the share of yes is `ratio`.

    Args:
        verdicts: question id -> "yes", "no" or "neither" (taken for no).
        ratio: wanted share of yes, in [0, 1].

    Returns:
        question id -> "Yes" or "No".
    """
    if not 0 <= ratio <= 1:
        raise SettingsError(f"ratio must be in [0, 1], got {ratio}; it is a share of yes answers")
    said = {key: verdict == "yes" for key, verdict in verdicts.items()}
    excess = sum(said.values()) - round(ratio * len(said))
    surplus = sorted(key for key, yes in said.items() if yes == (excess > 0))
    changed = set(random.Random(seed).sample(surplus, abs(excess)))
    return {key: "Yes" if yes != (key in changed) else "No" for key, yes in said.items()}


def shorten(captions: Iterable[tuple[Any, str]], share: float) -> list[tuple[Any, str]]:
    """Keep the first `share` of the words of every caption, at least one.

    >>> shorten([(1, "A dog on a couch.")], 0.4)
    [(1, 'A dog')]
    """
    if not 0 < share <= 1:
        raise SettingsError(f"share must be in (0, 1], got {share}; 0.5 keeps the first half")
    found = []
    for image_id, text in captions:
        words = text.split()
        found.append((image_id, " ".join(words[: max(1, round(share * len(words)))])))
    return found


def drop_mentions(score: Score, share: float, seed: int = 0, resamples: int = 1000) -> Score:
    """CHAIR if every mention were kept with a chance of `share`, blindly; a dropped mention is one token less.

    Args:
        score: from `chair.score`, with its captions kept.
        share: in (0, 1].

    Raises:
        InputError: the score holds no captions.
    """
    if not 0 < share <= 1:
        raise SettingsError(f"share must be in (0, 1], got {share}; 0.5 keeps half of the mentions")
    rows = score.details.get("per_caption")
    if not rows:
        raise InputError("dropping mentions needs the captions of a score, got one without; keep_captions=True")
    rng = random.Random(seed)
    columns: dict[str, list[Any]] = {name: [] for name in score.per_image if name != "image_id"}
    order = {str(image): i for i, image in enumerate(score.per_image["image_id"])}
    for image, named, hallucinated in rows:
        i = order[str(image)]
        absent = {category for _, category in hallucinated}
        kept = [name for name in named if rng.random() < share]
        wrong = sum(name in absent for name in kept)
        counted = {
            "captions": 1,
            "hallucinated_captions": int(wrong > 0),
            "object_mentions": len(kept),
            "hallucinated_mentions": wrong,
            "named_objects": len(set(kept)),
            "recalled_gt_objects": len(set(kept) - absent),
            "gt_objects": score.per_image["gt_objects"][i],
            "tokens": score.per_image["tokens"][i] - len(named) + len(kept),
        }
        for name, column in columns.items():
            column.append(counted[name])
    settings = {k: v for k, v in score.settings.items() if k not in ("n", "seed", "version")}
    images = [str(row[0]) for row in rows]
    return from_counts("chair", chair.values, images, columns, settings, seed=seed, resamples=resamples)
