"""Score answers to POPE's questions under corrected labels too, and measure the change due to the labels alone.

POPE takes its labels from COCO's annotations. RePOPE (Neuhaus and Hein, 2025, "RePOPE: Impact of Annotation Errors on
the POPE Benchmark", arXiv 2504.15707) checked every image again: 9.3 % of the labels "yes" and 1.7 % of the labels "no"
were wrong, and ambiguous questions were left out. Wrong labels can shift a score by more than the difference between
two models, so both scores should be reported.

The corrected files name the same questions: JSON lines with question_id, image, text, label, as POPE's own. They are
not shipped; take them from github.com/YanNeu/RePOPE.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from halluguard.errors import InputError
from halluguard.metrics.final_answers import Forms
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope import Answers, score, values
from halluguard.metrics.pope_questions import Question, file_version, question_key
from halluguard.metrics.score import Score
from halluguard.metrics.stats import Change, paired

_TOLERATED = 0.05
"""Largest share of corrected questions that may be missing from the questions: older files are a little shorter."""
VALUES = ("acc", "precision", "recall", "f1", "yes_ratio")


@dataclass(frozen=True)
class Relabelled:
    """A question set under corrected labels.

    Args:
        questions: kept questions, with the ids of the original file and the corrected labels.
        to_no: ids of questions whose label was yes and is no.
        to_yes: ids of questions whose label was no and is yes.
        dropped: ids of questions that the corrected set leaves out as ambiguous.
    """

    questions: list[Question]
    to_no: tuple[str, ...]
    to_yes: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class TwoScores:
    """The same answers under the original and the corrected labels.

    Args:
        original: score on all questions.
        corrected: score on the kept questions under their corrected labels.
        changes: value name -> corrected minus original, with its 95 % interval over images: the change due to the
            labels alone. Its `p` has no meaning here, because the answers are the same.
        labels: the corrected questions.
    """

    original: Score
    corrected: Score
    changes: Mapping[str, Change]
    labels: Relabelled

    def lines(self) -> list[str]:
        """One line per value: original, corrected, and the change with its interval, in percent."""
        rows = []
        for name in VALUES:
            change = self.changes[name]
            low, high = change["interval"]
            rows.append(
                f"{name:<12} {100 * self.original[name]:6.1f} -> {100 * self.corrected[name]:5.1f}   labels alone "
                f"{100 * change['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            )
        labels = self.labels
        counts = (
            f"{len(labels.to_no)} yes became no, {len(labels.to_yes)} no became yes, {len(labels.dropped)} left out"
        )
        return [*rows, f"labels       {counts}; {len(labels.questions)} questions kept", self.corrected.signature]


def relabel(questions: Sequence[Question], corrected: Sequence[Question]) -> Relabelled:
    """Give questions the labels of a corrected set, matched by image and object, never by order.

    Args:
        questions: the questions that were answered.
        corrected: the corrected set, from `read_questions`; it may be the file of any of the three kinds.

    Raises:
        InputError: the set labels one question in two ways, or has too few of the questions, as the file of another
            kind has.
    """
    labels: dict[tuple[object, str], Question] = {}
    for question in corrected:
        known = labels.setdefault(_key(question), question)
        if known.label != question.label:
            raise InputError(
                f"corrected labels must be clear, got yes and no for {question.text!r} about {question.image}; use one "
                "published file"
            )
    kept: list[Question] = []
    to_no: list[str] = []
    to_yes: list[str] = []
    dropped: list[str] = []
    for question in questions:
        official = labels.get(_key(question))
        if official is None:
            dropped.append(question.question_id)
            continue
        if official.label != question.label:
            (to_yes if official.label == "yes" else to_no).append(question.question_id)
        kept.append(replace(question, label=official.label))
    images = {image_key(question.image) for question in questions}
    about = [question for question in corrected if image_key(question.image) in images]
    if not about or len(about) - len(kept) > _TOLERATED * len(about):
        raise InputError(
            f"the corrected labels are of another set of questions: {len(about) - len(kept)} of the {len(about)} about "
            f"these images are not among the {len(questions)} asked ({file_version(questions)}); name the file of the "
            "same kind"
        )
    return Relabelled(kept, tuple(to_no), tuple(to_yes), tuple(dropped))


def _key(question: Question) -> tuple[object, str]:
    return image_key(question.image), (question.object or " ".join(question.text.split())).lower()


def score_both(
    questions: Sequence[Question],
    corrected: Sequence[Question],
    answers: Answers[str],
    *,
    parser: str = "official",
    forms: Forms = "final",
    seed: int = 0,
    resamples: int = 1000,
) -> TwoScores:
    """Score answers under the original and the corrected labels.

    Args:
        questions: the questions that were answered.
        corrected: the same questions with corrected labels; some may be left out.
        answers: question id -> the model's answer, or pairs of the two, for all `questions`.
        parser, forms, seed, resamples: as for `pope.score`; at least one resample.

    Raises:
        InputError: as for `relabel` and `pope.score`.

    >>> from halluguard.metrics.pope import build_questions
    >>> asked = build_questions({1: ["dog", "cat"], 2: ["car", "bus"]}, "popular", per_image=1)
    >>> right = [replace(asked[0], label="no"), *asked[1:3]]
    >>> both = score_both(asked, right, {1: "Yes", 2: "No", 3: "Yes", 4: "No"}, resamples=10)
    >>> both.original["acc"], round(both.corrected["acc"], 2), both.labels.to_no, both.labels.dropped
    (1.0, 0.67, ('1',), ('4',))
    """
    labels = relabel(questions, corrected)
    pairs = answers.items() if isinstance(answers, Mapping) else answers
    by_id = {question_key(key, "answers"): answer for key, answer in pairs}
    original = score(questions, by_id, parser=parser, forms=forms, seed=seed, resamples=resamples)
    kept = {question.question_id: by_id[question.question_id] for question in labels.questions}
    name = f"{file_version(questions)}-corrected-{file_version(corrected)}"
    new = score(labels.questions, kept, split=name, parser=parser, forms=forms, seed=seed, resamples=resamples)
    return TwoScores(original, new, _changes(original, new, seed, resamples), labels)


def _changes(original: Score, corrected: Score, seed: int, resamples: int) -> dict[str, Change]:
    """Differences paired over the images of the original score; an image without a kept question has zero counts."""
    images = sorted(original.per_image["image_id"], key=str)
    before, after = (_columns(result, images) for result in (original, corrected))
    return paired(before, after, values, seed=seed, resamples=resamples)


def _columns(result: Score, images: Sequence[int | str]) -> dict[str, list[float]]:
    row = {image: i for i, image in enumerate(result.per_image["image_id"])}
    counts = {name: column for name, column in result.per_image.items() if name != "image_id"}
    return {name: [column[row[i]] if i in row else 0 for i in images] for name, column in counts.items()}


def flips(runs: Mapping[str, TwoScores], value: str = "f1") -> list[tuple[str, str]]:
    """Pairs of runs whose order is reversed under the corrected labels: (better before, better after).

    Args:
        runs: name -> scores on the same questions.
        value: the value to rank by.
    """
    turned = []
    for a, b in itertools.combinations(runs, 2):
        before = runs[a].original[value] - runs[b].original[value]
        after = runs[a].corrected[value] - runs[b].corrected[value]
        if before * after < 0:
            turned.append((a, b) if before > 0 else (b, a))
    return turned
