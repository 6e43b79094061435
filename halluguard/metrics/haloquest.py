"""Compute HaloQuest: questions with a false premise, about details that are hard to see, or about missing details.

    exact    = answers that equal one of the reference answers / questions, overall and for each type
    denied   = answers to questions with a false premise that deny something / such questions
    accuracy = answers that equal a reference, or that a judge calls correct / questions; only with a judge

Wang et al. 2024, ECCV, arXiv 2407.15680; google/haloquest, data CC BY 4.0. Expects the rows of haloquest-eval.csv (608
questions: 304 false premises, 183 visual challenge, 121 insufficient context), with the answer added. References are in
one cell, separated by semicolons. The official score asks Gemini whether an answer means the same as the references, so
it depends on that model. Here `exact` needs no judge and is a lower bound of that score; a judge of the caller can
decide on the other answers. An answer to a false premise that denies nothing can hardly be right, so `denied` checks
for words such as no, not and cannot. No answers are published, so no count could be checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.hallusionbench import PROMPT, Judge, read_verdict
from halluguard.metrics.reading import answer_field, answer_keys, read_rows, text_field
from halluguard.metrics.score import ImageCounts, Score, from_counts
from halluguard.metrics.stats import Totals, ratio

TYPES = {
    "false premises": "false_premise",
    "visual challenge": "visual_challenge",
    "insufficient context": "insufficient_context",
}
"""Type in the file -> its name in values."""
_COUNTS = ("questions", "exact", *(f"{kind}_{what}" for kind in TYPES.values() for what in ("questions", "exact")))
_JUDGED = ("right", *(f"{kind}_right" for kind in TYPES.values()))
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_DENIAL = re.compile(
    r"\b(?:no|not|none|never|neither|nor|nothing|nobody|nowhere|without|cannot|unable|unclear)\b|n['’]t\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Args:
        question_id: id of the question.
        image: name of the image, which the bootstrap resamples.
        kind: type of the question as in the file, a key of `TYPES`.
        question: text of the question.
        references: answers that people marked as right.
        answer: the model's answer.
    """

    question_id: str
    image: str
    kind: str
    question: str
    references: tuple[str, ...]
    answer: str


def equals_reference(answer: str, references: Iterable[str]) -> bool:
    """Whether an answer equals a reference, apart from case, punctuation and articles.

    >>> equals_reference("There is no dog in the image", ["No dog", "There is no dog in the image."])
    True
    """
    return bool(_bare(answer)) and _bare(answer) in {_bare(reference) for reference in references}


def _bare(text: str) -> str:
    words = re.sub(r"[^\w\s]", " ", text.casefold().replace("’", "").replace("'", ""))
    return " ".join(_ARTICLE.sub(" ", words).split())


def denies(answer: str) -> bool:
    """Whether an answer has a word that denies something.

    >>> denies("The man isn't wearing a hat."), denies("It is red.")
    (True, False)
    """
    return _DENIAL.search(answer) is not None


def values(totals: Totals) -> dict[str, np.ndarray]:
    """HaloQuest's values from totals, as fractions; the judge's value only if a judge was asked."""
    shares: dict[str, np.ndarray] = {}
    for name, count in (("accuracy", "right"), ("exact", "exact")):
        if count in totals:
            shares[name] = ratio(totals[count], totals["questions"])
            for kind in TYPES.values():
                shares[f"{name}.{kind}"] = ratio(totals[f"{kind}_{count}"], totals[f"{kind}_questions"])
    shares["denied"] = ratio(totals["denied"], totals["false_premise_questions"])
    return shares


def score(
    rows: Iterable[Row],
    judge: Judge | None = None,
    *,
    judge_name: str = "none",
    prompt: str = PROMPT,
    forms: Forms = "final",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score answers.

    Args:
        rows: answers.
        judge: prompt -> reply with correct, incorrect or unclear; called once for each answer that equals no reference
            and is not empty. An exception that it raises is not caught.
        judge_name: name of the judge, for the signature; another judge gives another score.
        prompt: template with {question}, {reference} and {answer}.
        forms: "final" reads the answer without reasoning, boxes and JSON; "raw" reads it unchanged.
        seed: seed of the bootstrap over images.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        SettingsError: a judge is given without its name.
        InputError: no rows, an unknown type, or a question comes twice.
        ExpertError: the judge's reply is not text.
    """
    check_forms(forms)
    if judge is not None and judge_name == "none":
        raise SettingsError("a judge needs a name for the signature, got none; pass judge_name")
    names = (*_COUNTS, "denied", "unread", *(_JUDGED if judge else ()))
    counts = ImageCounts(names)
    seen = set()
    for row in rows:
        if row.kind not in TYPES:
            raise InputError(
                f"the type of question {row.question_id} must be one of {[*TYPES]}, got {row.kind!r}; correct the file"
            )
        if row.question_id in seen:
            raise InputError(f"every question may occur once, got {row.question_id} twice; correct the file")
        seen.add(row.question_id)
        answer = final_answer(row.answer) if forms == "final" else row.answer
        exact = equals_reference(answer, row.references)
        kind = TYPES[row.kind]
        counted = {"questions": 1, "exact": exact, f"{kind}_questions": 1, f"{kind}_exact": exact}
        counted["denied"] = kind == "false_premise" and denies(answer)
        counted["unread"] = not answer.strip()
        if judge:
            right = exact or (bool(answer.strip()) and _judged(row, answer, judge, prompt))
            counted |= {"right": right, f"{kind}_right": right}
        counts.add(row.image, counted)
    columns = counts.columns("HaloQuest")
    return from_counts(
        "haloquest",
        values,
        counts.image_ids,
        columns,
        {"judge": judge_name, "forms": forms},
        seed=seed,
        resamples=resamples,
        warnings=_warnings(columns, judge is not None),
    )


def _judged(row: Row, answer: str, judge: Judge, prompt: str) -> bool:
    reply = judge(prompt.format(question=row.question, reference="; ".join(row.references), answer=answer))
    if not isinstance(reply, str):
        raise ExpertError(f"a judge must reply with text, got {type(reply).__name__}; correct the judge")
    return read_verdict(reply) == "correct"


def _warnings(columns: dict[str, list[int]], judged: bool) -> list[str]:
    unread, questions, exact = (sum(columns[name]) for name in ("unread", "questions", "exact"))
    warnings = [f"answers without a word outside their reasoning, counted as wrong: {unread}"] if unread else []
    if not judged:
        warnings.append(
            f"no judge: {questions - exact - unread} answers equal no reference and may still be right; exact is a "
            "lower bound of the accuracy"
        )
    return warnings


def read_file(path: str | Path, answer_key: str | None = None) -> list[Row]:
    """Read the answers in a file with the columns of haloquest-eval.csv and an answer column (prediction, ...).

    Raises:
        InputError: the file cannot be read, or a field is missing; names the line.
    """
    rows = []
    for number, row in read_rows(path):
        image, kind, question, references = (
            text_field(path, number, row, name)
            for name in ("image_name", "hallucination type", "question", "groundtruth responses")
        )
        rows.append(
            Row(
                str(row.get("") or row.get("question_id") or number),
                image,
                kind.strip().lower(),
                question,
                tuple(text.strip() for text in references.split(";") if text.strip()),
                answer_field(path, number, row, answer_keys(answer_key)),
            )
        )
    return rows
