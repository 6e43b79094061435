"""Change plain output without looking at the image. A method that does not beat such a baseline does not help.

Much of what contrastive decoding gains on POPE is a push towards one answer (arXiv 2504.10020), and much of what any
method gains on CHAIR comes from shorter captions. A baseline changes the output of plain decoding without the image,
until it equals the method's output in one such respect:

    always            the same answer to every question
    shift_yes_ratio   plain answers, changed at random until yes is as frequent as in the method's answers
    lean_yes          plain answers by their margins, with a moved threshold
    shorten           plain captions, cut to the lengths of the method's captions, or to a share of their words
    drop_mentions     plain captions, with mentions dropped at random

`matched` compares two runs of captions at equal length.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.chair import CaptionScore, ChairScorer
from halluguard.metrics.ground_truth import ImageId, image_key
from halluguard.metrics.pope_questions import Question
from halluguard.metrics.score import Score


def always(questions: Sequence[Question], answer: Literal["Yes", "No"] = "No") -> dict[str, str]:
    """Give the same answer to every question."""
    return {question.question_id: answer for question in questions}


def _share(name: str, value: float, zero: bool = True) -> None:
    if not (0 <= value <= 1 and (zero or value > 0)):
        least = "at least 0" if zero else "above 0"
        raise SettingsError(f"{name} must be {least} and at most 1, got {value}; 0.5 is one half")


def shift_yes_ratio(verdicts: Mapping[str, str], ratio: float, seed: int = 0) -> dict[str, str]:
    """Change answers at random until the share of yes is `ratio`.

    Args:
        verdicts: question id -> "yes", "no" or "neither" (counted as no).
        ratio: target share of yes, in [0, 1].
        seed: seed of the random choice.

    Returns:
        question id -> "Yes" or "No".
    """
    _share("ratio", ratio)
    says_yes = {key: verdict == "yes" for key, verdict in verdicts.items()}
    excess = sum(says_yes.values()) - round(ratio * len(says_yes))
    surplus = sorted(key for key, yes in says_yes.items() if yes == (excess > 0))
    changed = set(random.Random(seed).sample(surplus, abs(excess)))
    return {key: "Yes" if yes != (key in changed) else "No" for key, yes in says_yes.items()}


def lean_yes(margins: Mapping[str, float], ratio: float) -> dict[str, str]:
    """Answer yes to the questions with the highest margins, so that the share of yes is `ratio`.

    This equals the plain model with a moved threshold. It is the strongest baseline if margins are known.

    Args:
        margins: question id -> logit(yes) - logit(no) of the plain model.
        ratio: target share of yes, in [0, 1].
    """
    _share("ratio", ratio)
    ranked = sorted(margins, key=lambda key: (-margins[key], key))
    says_yes = set(ranked[: round(ratio * len(ranked))])
    return {key: "Yes" if key in says_yes else "No" for key in margins}


def first_words(caption: str, count: int) -> str:
    """The first `count` words of a caption, with one blank between them."""
    return " ".join(caption.split()[:count])


def shorten(
    captions: Iterable[tuple[ImageId, str]], *, share: float | None = None, like: Mapping[str, int] | None = None
) -> Iterator[tuple[ImageId, str]]:
    """Cut captions at the end. Needs either `share` or `like`.

    Args:
        captions: (image id, caption) pairs.
        share: share of the words of each caption to keep, in (0, 1]; at least one word is kept.
        like: image key -> number of words to keep, such as `word_counts` of the method's captions. Shorter captions
            are not changed.

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
        raise InputError(f"both runs must caption the same images, image {key} is in one only; score the same images")
    return like[key]


def word_counts(captions: Iterable[tuple[ImageId, str]]) -> dict[str, int]:
    """Image key -> number of words in its caption."""
    return {image_key(image_id): len(text.split()) for image_id, text in captions}


def drop_mentions(
    scored: Iterable[CaptionScore], scorer: ChairScorer, share: float, seed: int = 0
) -> Iterator[CaptionScore]:
    """Keep each mention with probability `share`, whether it is right or not. Dropping one removes one token.

    Args:
        scored: captions as `ChairScorer.caption` scored them. Pass the result to `ChairScorer.total`.
        scorer: the scorer that made them.
        share: probability in [0, 1].
        seed: seed of the random choice.
    """
    _share("share", share)
    rng = random.Random(seed)
    for one in scored:
        yield scorer.keep(one, [i for i in range(len(one.mentions)) if rng.random() < share])


def matched(
    first: Iterable[tuple[ImageId, str]],
    second: Iterable[tuple[ImageId, str]],
    scorer: ChairScorer,
    *,
    by: Literal["words", "mentions"] = "words",
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[Score, Score]:
    """CHAIR of two runs at equal length: for each image, both captions are cut to the length of the shorter one.

    Args:
        first: (image id, caption) pairs of the first run.
        second: the pairs of the second run, for the same images.
        scorer: the scorer to use.
        by: unit of length: "words", or "mentions" of objects.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Returns:
        The two scores, for `score.compare`. Their signature names the unit of length.

    Raises:
        InputError: the runs caption different images, or an image twice.
    """
    if by not in ("words", "mentions"):
        raise SettingsError(f"by must be 'words' or 'mentions', got {by!r}; choose one")
    runs = [_by_image(run) for run in (first, second)]
    only = sorted(runs[0].keys() ^ runs[1].keys())
    if only:
        raise InputError(
            f"both runs must caption the same images, {len(only)} are in one only, such as {only[0]}; "
            "score the same images"
        )
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


def _by_image(captions: Iterable[tuple[ImageId, str]]) -> dict[str, str]:
    by_key: dict[str, str] = {}
    for image_id, caption in captions:
        key = image_key(image_id)
        if key in by_key:
            raise InputError(f"every image may have one caption, got a second for {key}; remove one")
        by_key[key] = caption
    return by_key
