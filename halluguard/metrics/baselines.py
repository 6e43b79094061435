"""Baselines that do not look at the picture: a method must beat them to be called helpful.

Much of what contrastive decoding gains on POPE is a push towards one answer (arXiv 2504.10020), and much of what any
method gains on CHAIR is shorter captions. So the plain run is changed blindly, until it matches the method in the one
respect that is suspect:

    always            one answer to every question: what a score gives away for nothing
    shift_yes_ratio   plain answers, flipped at random until yes is said as often
    lean_yes          the same with margins: a threshold moved, and nothing else
    shorten           plain captions cut, each to the length of the method's, or to a share of its words
    drop_mentions     plain captions with mentions left out at random

`matched` compares two runs of captions at equal length, which is fair to both.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.chair import CaptionScore, ChairScorer
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope_questions import Question
from halluguard.metrics.score import Score


def always(questions: Sequence[Question], answer: Literal["Yes", "No"] = "No") -> dict[str, str]:
    """One answer to every question."""
    return {question.question_id: answer for question in questions}


def _share(name: str, value: float, zero: bool = True) -> None:
    if not (0 <= value <= 1 and (zero or value > 0)):
        raise SettingsError(f"{name} must be in {'[' if zero else '('}0, 1], got {value}; 0.5 is one half")


def shift_yes_ratio(verdicts: Mapping[str, str], ratio: float, seed: int = 0) -> dict[str, str]:
    """Change answers, drawn at random, until the share of yes is `ratio`.

    Args:
        verdicts: question id -> "yes", "no" or "neither" (taken for no).
        ratio: wanted share of yes, in [0, 1].

    Returns:
        question id -> "Yes" or "No".
    """
    _share("ratio", ratio)
    said = {key: verdict == "yes" for key, verdict in verdicts.items()}
    excess = sum(said.values()) - round(ratio * len(said))
    surplus = sorted(key for key, yes in said.items() if yes == (excess > 0))
    changed = set(random.Random(seed).sample(surplus, abs(excess)))
    return {key: "Yes" if yes != (key in changed) else "No" for key, yes in said.items()}


def lean_yes(margins: Mapping[str, float], ratio: float) -> dict[str, str]:
    """Yes to the questions with the highest margins, so many that the share of yes is `ratio`.

    The strongest sham where margins are known: the plain model with its threshold moved.

    Args:
        margins: question id -> how much more the plain model leans to yes than to no.
    """
    _share("ratio", ratio)
    ranked = sorted(margins, key=lambda key: (-margins[key], key))
    says_yes = set(ranked[: round(ratio * len(ranked))])
    return {key: "Yes" if key in says_yes else "No" for key in margins}


def first_words(caption: str, count: int) -> str:
    """The first `count` words, one blank between them."""
    return " ".join(caption.split()[:count])


def shorten(
    captions: Iterable[tuple[Any, str]], *, share: float | None = None, like: Mapping[str, int] | None = None
) -> Iterator[tuple[Any, str]]:
    """Cut captions at the end.

    Args:
        share: keep this share of the words of each, in (0, 1], at least one word; or
        like: image key -> how many words to keep, such as the method's (`word_counts`); shorter captions stay.

    >>> list(shorten([(1, "A dog on a couch.")], share=0.4))
    [(1, 'A dog')]
    """
    if (share is None) == (like is None):
        raise SettingsError("shorten needs either share or like; give one of them")
    if share is not None:
        _share("share", share, zero=False)
    for image_id, text in captions:
        if share is not None:
            count = max(1, round(share * len(text.split())))
        else:
            count = _counted(like or {}, image_key(image_id))
        yield image_id, first_words(text, count)


def _counted(like: Mapping[str, int], key: str) -> int:
    if key not in like:
        raise InputError(f"both runs must caption the same images, image {key} is in one only")
    return like[key]


def word_counts(captions: Iterable[tuple[Any, str]]) -> dict[str, int]:
    """image key -> words of its caption."""
    return {image_key(image_id): len(text.split()) for image_id, text in captions}


def drop_mentions(
    scored: Iterable[CaptionScore], scorer: ChairScorer, share: float, seed: int = 0
) -> Iterator[CaptionScore]:
    """Captions with every mention kept with a chance of `share`, blindly; a dropped mention is one token less.

    Args:
        scored: from `ChairScorer.caption`; hand the result to `ChairScorer.total`.
        share: in [0, 1].
    """
    _share("share", share)
    rng = random.Random(seed)
    for one in scored:
        yield scorer.keep(one, [i for i in range(len(one.mentions)) if rng.random() < share])


def matched(
    first: Iterable[tuple[Any, str]],
    second: Iterable[tuple[Any, str]],
    scorer: ChairScorer,
    *,
    by: Literal["words", "mentions"] = "words",
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[Score, Score]:
    """CHAIR of two runs at equal length: in each image both captions end where the shorter one does.

    Args:
        first, second: (image id, caption) pairs over the same images.
        by: what is made equal, "words" or "mentions" of objects.

    Returns:
        the two scores, for `score.compare`; their signature says by what they were matched.

    Raises:
        InputError: the runs caption different images, or an image twice.
    """
    if by not in ("words", "mentions"):
        raise SettingsError(f"by must be 'words' or 'mentions', got {by!r}")
    runs = [_by_image(run) for run in (first, second)]
    only = sorted(runs[0].keys() ^ runs[1].keys())
    if only:
        raise InputError(f"both runs must caption the same images, {len(only)} are in one only, such as {only[0]}")
    scored: tuple[list[CaptionScore], list[CaptionScore]] = ([], [])
    for image in runs[0]:
        texts = [run[image] for run in runs]
        if by == "words":
            length = min(len(text.split()) for text in texts)
            pair = [scorer.caption(image, first_words(text, length)) for text in texts]
        else:
            whole = [scorer.caption(image, text) for text in texts]
            length = min(len(one.mentions) for one in whole)
            pair = [scorer.keep(one, range(length)) for one in whole]
        for one, out in zip(pair, scored, strict=True):
            out.append(one)
    a, b = (scorer.total(run, seed=seed, resamples=resamples, run={"matched": by}) for run in scored)
    return a, b


def _by_image(captions: Iterable[tuple[Any, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for image_id, caption in captions:
        key = image_key(image_id)
        if key in found:
            raise InputError(f"every image may have one caption, got a second for {key}; remove one")
        found[key] = caption
    return found
