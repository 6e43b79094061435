"""Compute HumbleBench: multiple-choice questions whose right answer may be "none of the above".

    accuracy = right answers / questions, and for each type: object, attribute, relation
    none      = share of the questions with the right answer E, "none of the above", that are answered with E alone
    says_none = share of all answers that are E; 1 for the baseline that always says E

Tong et al. 2025, "Measuring epistemic humility in multimodal large language models"; code maifoundations/HumbleBench,
MIT. Reads rows with question_id, label (A to E), type and prediction. The official rule: an answer is right if it
contains the letter of the label as a word, and no other letter from A to E. So the article in "A dog" counts as the
letter A. `forms="final"` first removes reasoning, boxes and JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halluguard.errors import InputError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.reading import answer_field, answer_keys, read_rows, text_field
from halluguard.metrics.score import ImageCounts, Score, from_counts
from halluguard.metrics.stats import Totals, ratio

LETTERS = "ABCDE"
TYPES = ("object", "attribute", "relation")
_COUNTS = (
    *("questions", "right", "none_questions", "none_right", "none_answers", "unread"),
    *(f"{kind}_{what}" for kind in TYPES for what in ("questions", "right")),
)
_WORD = re.compile(r"\b\w+\b")


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Args:
        question_id: id of the question.
        image: id of the image, which the bootstrap resamples; the question's id where the file has no images.
        kind: "object", "attribute" or "relation".
        label: right letter, A to E.
        answer: the model's answer.
    """

    question_id: str
    image: str
    kind: str
    label: str
    answer: str


def read(answer: str, *, forms: Forms = "final") -> str | None:
    """The only letter from A to E that is a word of an answer; None if there is none or several.

    >>> read("B"), read("The answer is (e)."), read("A or B")
    ('B', 'E', None)
    """
    text = final_answer(answer) if forms == "final" else answer
    letters = {word.upper() for word in _WORD.findall(text)} & set(LETTERS)
    return letters.pop() if len(letters) == 1 else None


def values(totals: Totals) -> dict[str, np.ndarray]:
    """HumbleBench's values from totals, as fractions."""
    by_kind = {kind: ratio(totals[f"{kind}_right"], totals[f"{kind}_questions"]) for kind in TYPES}
    return {
        "accuracy": ratio(totals["right"], totals["questions"]),
        **by_kind,
        "none": ratio(totals["none_right"], totals["none_questions"]),
        "says_none": ratio(totals["none_answers"], totals["questions"]),
    }


def score(rows: Iterable[Row], *, forms: Forms = "final", seed: int = 0, resamples: int = 1000) -> Score:
    """Score answers.

    Args:
        rows: answers.
        forms: "final" reads the answer without reasoning, boxes and JSON; "raw" reads it unchanged, as the official
            code does.
        seed: seed of the bootstrap over images.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no rows, an unknown label or type, or a question comes twice.
    """
    check_forms(forms)
    counts = ImageCounts(_COUNTS)
    seen = set()
    for row in rows:
        if row.label not in LETTERS or len(row.label) != 1:
            raise InputError(
                f"the label of question {row.question_id} must be A to E, got {row.label!r}; correct the file"
            )
        if row.kind not in TYPES:
            raise InputError(
                f"the type of question {row.question_id} must be one of {TYPES}, got {row.kind!r}; correct the file"
            )
        if row.question_id in seen:
            raise InputError(f"every question may occur once, got {row.question_id} twice; correct the file")
        seen.add(row.question_id)
        letter = read(row.answer, forms=forms)
        right = letter == row.label
        counted = {"questions": 1, "right": right, f"{row.kind}_questions": 1, f"{row.kind}_right": right}
        counted |= {"none_questions": row.label == "E", "none_right": right and row.label == "E"}
        counted |= {"none_answers": letter == "E", "unread": letter is None}
        counts.add(row.image, counted)
    columns = counts.columns("HumbleBench")
    unread = sum(columns["unread"])
    warnings = [f"answers with no letter from A to E or with several, counted as wrong: {unread}"] if unread else []
    return from_counts(
        "humblebench",
        values,
        counts.image_ids,
        columns,
        {"forms": forms},
        seed=seed,
        resamples=resamples,
        warnings=warnings,
    )


def read_file(path: str | Path, answer_key: str | None = None) -> list[Row]:
    """Read the answers in a file with question_id, label, type and prediction per row, and optionally image.

    Raises:
        InputError: the file cannot be read, or a field is missing; names the line.
    """
    rows = []
    for number, row in read_rows(path):
        label, kind = (text_field(path, number, row, key) for key in ("label", "type"))
        question = str(row.get("question_id", number))
        image = row.get("image")
        rows.append(
            Row(
                question,
                image if isinstance(image, str) and image else question,
                kind.lower(),
                label.strip().upper(),
                answer_field(path, number, row, answer_keys(answer_key)),
            )
        )
    return rows
