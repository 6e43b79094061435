"""Baselines that do not look at the picture: a method must beat its shams to be called helpful.

Much of what contrastive decoding gains on POPE is a push towards one answer, and much of what any method gains on
CHAIR is shorter captions (arXiv 2504.10020; "Does Object Grounding Really Reduce Hallucination", 2406.14492). So each
method is put beside the plain run, changed blindly until it matches the method in the one respect that is suspect:

    always          one answer to every question                       the floor of POPE
    shift_yes       the plain run's answers, flipped at random until it says yes as often as the method
    lean_yes        the same with logits: the questions it leans to most say yes
    shorten         the plain run's captions, cut to the method's lengths
    drop_mentions   the plain run's captions, with as many mentions dropped at random as the method leaves out

`matched` compares two runs at equal length, which is fair to both.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.chair import CaptionScore, ChairScorer
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope_parsers import parse
from halluguard.metrics.pope_questions import Question, question_key
from halluguard.metrics.score import Score


def always(questions: Sequence[Question], answer: Literal["Yes", "No"] = "No") -> dict[str, str]:
    """The same answer to every question, by question id."""
    return {q.question_id: answer for q in questions}


def _wanted(questions: Sequence[Question], yes_ratio: float) -> int:
    if not 0 <= yes_ratio <= 1:
        raise SettingsError(f"yes_ratio must be between 0 and 1, got {yes_ratio}; give a fraction")
    return round(yes_ratio * len(questions))


def shift_yes(
    questions: Sequence[Question],
    answers: Mapping[Any, str],
    yes_ratio: float,
    *,
    parser: str = "official",
    seed: int = 0,
) -> dict[str, str]:
    """`answers` with some flipped at random, until `yes_ratio` of them say yes.

    Args:
        answers: question id -> answer of the plain run.
        yes_ratio: the method's, in [0, 1].

    Returns:
        question id -> "Yes" or "No".
    """
    said = {question_key(key, "answers"): answer for key, answer in answers.items()}
    missing = [q.question_id for q in questions if q.question_id not in said]
    if missing:
        raise InputError(f"every question needs an answer, {len(missing)} have none, such as {missing[0]}")
    yes = [q.question_id for q in questions if parse(said[q.question_id], parser, q.label) == "yes"]
    no = [q.question_id for q in questions if q.question_id not in set(yes)]
    rng = random.Random(seed)
    wanted = _wanted(questions, yes_ratio)
    if len(yes) > wanted:
        yes = rng.sample(yes, wanted)
    else:
        yes += rng.sample(no, wanted - len(yes))
    says_yes = set(yes)
    return {q.question_id: "Yes" if q.question_id in says_yes else "No" for q in questions}


def lean_yes(questions: Sequence[Question], logits: Mapping[Any, float], yes_ratio: float) -> dict[str, str]:
    """Yes to the questions with the highest logits, so many that `yes_ratio` of all say yes.

    The strongest sham: a threshold moved, and nothing else.
    """
    by_key = {question_key(key, "logits"): value for key, value in logits.items()}
    missing = [q.question_id for q in questions if q.question_id not in by_key]
    if missing:
        raise InputError(f"every question needs a logit, {len(missing)} have none, such as {missing[0]}")
    ranked = sorted(questions, key=lambda q: -by_key[q.question_id])
    says_yes = {q.question_id for q in ranked[: _wanted(questions, yes_ratio)]}
    return {q.question_id: "Yes" if q.question_id in says_yes else "No" for q in questions}


def first_words(caption: str, words: int) -> str:
    """The first `words` words of `caption`, with its own blanks.

    >>> first_words("A dog  on a couch.", 3)
    'A dog  on'
    """
    if words < 0:
        raise SettingsError(f"words must be >= 0, got {words}")
    at, left = 0, words
    while left:
        while at < len(caption) and caption[at].isspace():
            at += 1
        while at < len(caption) and not caption[at].isspace():
            at += 1
        left -= 1
        if at == len(caption):
            break
    return caption[:at]


def _by_image(captions: Iterable[tuple[Any, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for image_id, caption in captions:
        key = image_key(image_id)
        if key in found:
            raise InputError(f"every image may have one caption, got a second for {key}; remove one")
        found[key] = caption
    return found


def _same_images(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    only = sorted(first.keys() ^ second.keys())
    if only:
        raise InputError(f"both runs must caption the same images, {len(only)} are in one only, such as {only[0]}")


def shorten(captions: Iterable[tuple[Any, str]], like: Iterable[tuple[Any, str]]) -> list[tuple[str, str]]:
    """Each caption cut to as many words as the caption of the same image in `like` has; shorter ones stay."""
    plain, method = _by_image(captions), _by_image(like)
    _same_images(plain, method)
    return [(image, first_words(text, len(method[image].split()))) for image, text in plain.items()]


def drop_mentions(scored: Sequence[CaptionScore], scorer: ChairScorer, keep: int, seed: int = 0) -> list[CaptionScore]:
    """Scored captions with mentions dropped at random over all of them, until `keep` are left."""
    places = [(i, j) for i, one in enumerate(scored) for j in range(len(one.mentions))]
    if keep < 0:
        raise SettingsError(f"keep must be >= 0, got {keep}")
    kept = random.Random(seed).sample(places, min(keep, len(places)))
    by_caption: dict[int, list[int]] = {}
    for i, j in kept:
        by_caption.setdefault(i, []).append(j)
    return [scorer.keep(one, by_caption.get(i, [])) for i, one in enumerate(scored)]


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
        the two scores, which `score.compare` takes; their signature says by what they were matched.
    """
    if by not in ("words", "mentions"):
        raise SettingsError(f"by must be 'words' or 'mentions', got {by!r}")
    runs = [_by_image(first), _by_image(second)]
    _same_images(*runs)
    scored: list[list[CaptionScore]] = [[], []]
    for image in runs[0]:
        if by == "words":
            length = min(len(run[image].split()) for run in runs)
            for out, run in zip(scored, runs, strict=True):
                out.append(scorer.caption(image, first_words(run[image], length)))
        else:
            pair = [scorer.caption(image, run[image]) for run in runs]
            length = min(len(one.mentions) for one in pair)
            for out, one in zip(scored, pair, strict=True):
                out.append(scorer.keep(one, range(length)))
    settings = {"matched": by}
    a, b = (scorer.total(run, seed=seed, resamples=resamples, run=settings) for run in scored)
    return a, b
