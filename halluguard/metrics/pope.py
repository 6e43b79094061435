"""Compute POPE: yes/no questions about objects that are, or are not, in the image (Li et al., 2023, arXiv 2305.10355).

    accuracy = (TP + TN) / questions    precision = TP / (TP + FP)    recall = TP / (TP + FN)
    f1 = 2 precision recall / (precision + recall)                    yes_ratio = (TP + FP) / questions

The positive answer is yes. One call scores one file; papers report the mean over the three files. Read f1 together with
yes_ratio: a method that only pushes towards one answer gains on one split and loses on another. `baselines` measures
this effect.

Differences from RUCAIBox/POPE evaluate.py: questions and answers are matched by id, never by order; 0/0 is 0 with a
warning, while it crashes there; answers that say neither yes nor no are counted. The parsers of answers are in
`pope_parsers.py`, the questions in `pope_questions.py`, the files of answers in `pope_answers.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, TypeVar

import numpy as np

from halluguard.errors import InputError
from halluguard.metrics import stats
from halluguard.metrics.final_answers import Forms
from halluguard.metrics.ground_truth import ById, ImageId, image_key
from halluguard.metrics.pope_answers import read_answers, read_labelled, read_margins
from halluguard.metrics.pope_parsers import PARSERS, Verdict, parse, says_neither
from halluguard.metrics.pope_questions import (
    Kind,
    Question,
    ask,
    build_questions,
    file_version,
    question_key,
    read_questions,
)
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, ratio, warn_undefined

__all__ = [
    "PARSERS",
    "Kind",
    "Question",
    "Verdict",
    "ask",
    "build_questions",
    "file_version",
    "mcnemar",
    "parse",
    "read_answers",
    "read_labelled",
    "read_margins",
    "read_questions",
    "score",
    "values",
]

T = TypeVar("T")
Answers = ById[T] | Iterable[tuple[ImageId, T]]
"""One value for each question: question id -> value, or pairs of the two."""

_COUNTS = ("TP", "FP", "TN", "FN", "questions", "neither", "unparsed")


def values(totals: Totals) -> dict[str, np.ndarray]:
    """POPE's values from totals, as fractions."""
    tp, fp, tn, fn = (totals[name] for name in ("TP", "FP", "TN", "FN"))
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    return {
        "acc": ratio(tp + tn, totals["questions"]),
        "precision": precision,
        "recall": recall,
        "f1": ratio(2 * precision * recall, precision + recall),
        "yes_ratio": ratio(tp + fp, totals["questions"]),
    }


def _cell(verdict: Verdict, label: str, parser: str) -> str | None:
    """The cell of the confusion table for an answer; None for an unreadable answer that is not counted.

    lmms-eval leaves unreadable answers out of recall's denominator, VLMEvalKit counts them as misses.
    """
    if verdict == "neither":
        return "FN" if parser == "vlmevalkit" and label == "yes" else None
    if label == "yes":
        return "TP" if verdict == "yes" else "FN"
    return "FP" if verdict == "yes" else "TN"


def _matched(questions: Sequence[Question], answers: Answers[T], what: str) -> list[T]:
    """The answers in the order of the questions, matched by id; `what` names them in errors."""
    ids = Counter(q.question_id for q in questions)
    if len(ids) != len(questions):
        twice = ids.most_common(1)[0][0]
        raise InputError(f"question ids must differ, got {twice} more than once; score one file at a time")
    by_id: dict[str, T] = {}
    for question_id, answer in answers.items() if isinstance(answers, Mapping) else answers:
        key = question_key(question_id, what)
        if key in by_id:
            raise InputError(f"{what} must have one entry per question, got two for question {key}; remove one")
        by_id[key] = answer
    missing = [q.question_id for q in questions if q.question_id not in by_id]
    extra = [key for key in by_id if key not in ids]
    if missing or extra:
        wrong = [f"{len(missing)} missing, such as {missing[0]}"] if missing else []
        wrong += [f"{len(extra)} for no question, such as {extra[0]}"] if extra else []
        raise InputError(
            f"{what} must cover the {len(questions)} questions, got {' and '.join(wrong)}; check the files"
        )
    return [by_id[q.question_id] for q in questions]


def score(
    questions: Sequence[Question],
    answers: Answers[str],
    *,
    parser: str = "official",
    forms: Forms = "final",
    logits: Answers[float] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    split: str | None = None,
) -> Score:
    """Score answers to one file of questions.

    Args:
        questions: from `read_questions` or `build_questions`.
        answers: question id -> the model's answer, or pairs of the two.
        parser: parser of the answers, a name of `PARSERS`.
        forms: "final" removes reasoning, boxes, JSON and emphasis before the parser, see `final_answers`; "raw" does
            not, which the signature states.
        logits: question id -> the model's preference for yes over no, on any scale; adds the value `auc`.
        seed: seed of the bootstrap over images.
        resamples: number of bootstrap samples; 0 leaves the intervals out.
        split: name for the signature; by default recognised from the content ("coco-random", "custom").

    Returns:
        Values: acc, precision, recall, f1 and yes_ratio as fractions, and auc if there are logits. Counts: TP, FP, TN,
        FN, questions, neither (answers without the words yes and no), unparsed (answers that the parser could not
        read). details["per_question"]: [question id, image, label, verdict] of each question, for `mcnemar`.

    Raises:
        SettingsError: unknown parser or forms.
        InputError: no questions, ids that do not match, an answer that is not a string, a logit that is not finite.

    >>> asked = build_questions({1: ["dog", "cat"], 2: ["car", "bus"]}, "popular", per_image=1)
    >>> result = score(asked, {1: "Yes", 2: "No", 3: "Yes", 4: "Yes, there is."}, resamples=0)
    >>> result.counts["TP"], result.counts["FP"], result["acc"], result["yes_ratio"]
    (2, 1, 0.75, 0.75)
    """
    questions = list(questions)
    if not questions:
        raise InputError("POPE needs at least one question, got none; is the file empty?")
    matched = _matched(questions, answers, "answers")
    images = {image: i for i, image in enumerate(dict.fromkeys(image_key(q.image) for q in questions))}
    table = np.zeros((len(images), len(_COUNTS)), dtype=int)
    column = {name: i for i, name in enumerate(_COUNTS)}
    verdicts: list[Verdict] = []
    for question, answer in zip(questions, matched, strict=True):
        verdict = parse(answer, parser, question.label, forms=forms)
        verdicts.append(verdict)
        row = table[images[image_key(question.image)]]
        row[column["questions"]] += 1
        row[column["neither"]] += says_neither(answer, forms=forms)
        row[column["unparsed"]] += verdict == "neither"
        cell = _cell(verdict, question.label, parser)
        if cell is not None:
            row[column[cell]] += 1
    totals = dict(zip(_COUNTS, table.sum(axis=0), strict=True))
    undefined = {"precision": totals["TP"] + totals["FP"], "recall": totals["TP"] + totals["FN"], "f1": totals["TP"]}
    empty = [name for name, below in undefined.items() if not below]
    result = from_counts(
        "pope",
        values,
        list(images),
        {name: table[:, i].tolist() for i, name in enumerate(_COUNTS)},
        {"parser": parser, **({"forms": forms} if forms == "raw" else {}), "split": split or file_version(questions)},
        seed=seed,
        resamples=resamples,
        warnings=[warn_undefined(empty, "there is no right yes, or no yes at all")] if empty else [],
        details={
            "per_question": [[q.question_id, q.image, q.label, v] for q, v in zip(questions, verdicts, strict=True)]
        },
    )
    return result if logits is None else _with_auc(result, questions, images, logits, seed, resamples)


def _with_auc(
    result: Score,
    questions: list[Question],
    images: Mapping[str, int],
    logits: Answers[float],
    seed: int,
    resamples: int,
) -> Score:
    """Add the area under the ROC curve and its bootstrap interval over images."""
    preferences = _matched(questions, logits, "logits")
    truth = [q.label == "yes" for q in questions]
    point = stats.auc(truth, preferences)
    intervals = dict(result.intervals)
    if resamples:
        place = np.array([images[image_key(q.image)] for q in questions])
        rng = np.random.default_rng([seed, 2])
        drawn = []
        for _ in range(resamples):
            weights = np.bincount(rng.integers(0, len(images), len(images)), minlength=len(images))[place]
            if len({t for t, w in zip(truth, weights, strict=True) if w}) == 2:
                drawn.append(stats.auc(truth, preferences, weights))
        low, high = np.percentile(drawn, [2.5, 97.5])
        intervals["auc"] = (float(low), float(high))
    return replace(result, values={**result.values, "auc": point}, intervals=intervals)


class McNemar(TypedDict):
    """Numbers of questions that only the first or only the second run answers rightly, and the two-sided p-value."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: Score, second: Score) -> McNemar:
    """Exact McNemar test between two runs on the same questions.

    Raises:
        InputError: the runs hold different questions.
    """
    right = []
    for run in (first, second):
        rows = run.details.get("per_question", [])
        right.append({(str(i), image): verdict == label for i, image, label, verdict in rows})
    if not right[0] or right[0].keys() != right[1].keys():
        raise InputError(
            f"McNemar's test needs the same questions in both runs, got {len(right[0])} and {len(right[1])}; "
            "score both on one file"
        )
    only_first = sum(right[0][key] and not right[1][key] for key in right[0])
    only_second = sum(right[1][key] and not right[0][key] for key in right[0])
    return {"only_first": only_first, "only_second": only_second, "p": stats.mcnemar(only_first, only_second)}
