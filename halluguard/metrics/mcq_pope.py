"""Compute MCQ-POPE: multiple-choice questions about which of four objects is, or is not, in the image.

    accuracy = right answers / questions      macro_f1 = mean over the letters A to D of 2 TP / (2 TP + FP + FN)
    present, absent = accuracy of the questions that ask for the object that is, or is not, in the image

"Intervene-All-Paths: Unified Mitigation of LVLM Hallucinations across Alignment Formats" (NeurIPS 2025, arXiv
2511.17254) makes 3,000 questions out of each of POPE's files: each object of an image is offered with three objects of
the other label, in random order. Its repository, SooLab/AllPath, had no questions, answers or scorer in November 2025,
so nothing could be checked against published counts. The reader expects rows with question_id, label (A to D) and the
answer, and uses image, kind ("present" or "absent") and options if they are there. `build_questions` makes such
questions from a file of POPE by the paper's rule; their order and wording are ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from halluguard.errors import InputError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.pope_questions import Question
from halluguard.metrics.reading import answer_field, answer_keys, field, read_rows, text_field
from halluguard.metrics.score import ImageCounts, JsonObject, Score, from_counts
from halluguard.metrics.stats import Totals, ratio

LETTERS = "ABCD"
KINDS = ("present", "absent")
_COUNTS = (
    *("questions", "right", "unread"),
    *(f"{kind}_{what}" for kind in KINDS for what in ("questions", "right")),
    *(f"{what}_{letter}" for letter in LETTERS for what in ("hit", "said", "label")),
)
_STATED = re.compile(r"\banswer\b\W{0,3}(?:is\b|:)?\W{0,6}([A-D])\b(?! [a-z])", re.IGNORECASE)
_LEADING = re.compile(r"\W*([A-Da-d])(?=[.):,]|\s*$)")
_ALONE = re.compile(r"\b(?:[B-D]|A(?! (?!or\b|and\b)[a-z]))\b")
_QUESTIONS = {
    "present": "Which of these objects is in the image?",
    "absent": "Which of these objects is not in the image?",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Args:
        question_id: id of the question.
        image: id of the image, which the bootstrap resamples; the question's id where the file has no images.
        label: right letter, A to D.
        answer: the model's answer.
        kind: "present" or "absent", which is the object asked for; "" if the file does not state it.
        options: the four objects in the order of the letters; empty where the file has none.
    """

    question_id: str
    image: str
    label: str
    answer: str
    kind: str = ""
    options: tuple[str, ...] = ()


def read(answer: str, options: Sequence[str] = (), *, forms: Forms = "final") -> str | None:
    """The letter that an answer states, or that of the only option it names; None if there is none or several.

    >>> read("B"), read("(c) a dog"), read("The answer is D."), read("A dog, so B"), read("A or B")
    ('B', 'C', 'D', 'B', None)
    >>> read("It is the dog.", ["cat", "dog", "bus", "cup"])
    'B'
    """
    text = final_answer(answer) if forms == "final" else answer
    stated, leading = _STATED.findall(text), _LEADING.match(text)
    if stated:
        return str(stated[-1]).upper()
    if leading:
        return leading[1].upper()
    letters = {*_ALONE.findall(text)}
    if not letters:
        words = f" {' '.join(re.findall(r'[a-z]+', text.lower()))} "
        letters = {LETTERS[i] for i, name in enumerate(options) if f" {name.lower()} " in words}
    return letters.pop() if len(letters) == 1 else None


def values(totals: Totals) -> dict[str, np.ndarray]:
    """MCQ-POPE's values from totals, as fractions."""
    f1 = [ratio(2 * totals[f"hit_{x}"], totals[f"said_{x}"] + totals[f"label_{x}"]) for x in LETTERS]
    return {
        "accuracy": ratio(totals["right"], totals["questions"]),
        "macro_f1": np.mean(f1, axis=0),
        **{kind: ratio(totals[f"{kind}_right"], totals[f"{kind}_questions"]) for kind in KINDS},
    }


def score(
    rows: Iterable[Row], *, forms: Forms = "final", split: str = "given", seed: int = 0, resamples: int = 1000
) -> Score:
    """Score answers.

    Args:
        rows: answers.
        forms: "final" reads the answer without reasoning, boxes and JSON; "raw" reads it unchanged.
        split: name of the questions in the signature.
        seed: seed of the bootstrap over images.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no rows, an unknown label or kind, or a question comes twice.
    """
    check_forms(forms)
    counts = ImageCounts(_COUNTS)
    seen = set()
    for row in rows:
        if len(row.label) != 1 or row.label not in LETTERS or row.kind not in ("", *KINDS):
            raise InputError(
                f"question {row.question_id} must have a label from A to D and a kind from {KINDS}, got {row.label!r} "
                f"and {row.kind!r}; correct the file"
            )
        if row.question_id in seen:
            raise InputError(
                f"every question may occur once, got {row.question_id} twice; score one file of questions at a time"
            )
        seen.add(row.question_id)
        letter = read(row.answer, row.options, forms=forms)
        counted = {"questions": 1, "right": letter == row.label, "unread": letter is None, f"label_{row.label}": 1}
        if letter is not None:
            counted |= {f"said_{letter}": 1, f"hit_{letter}": letter == row.label}
        if row.kind:
            counted |= {f"{row.kind}_questions": 1, f"{row.kind}_right": letter == row.label}
        counts.add(row.image, counted)
    columns = counts.columns("MCQ-POPE")
    unread = sum(columns["unread"])
    warnings = [f"answers with no letter from A to D or with several, counted as wrong: {unread}"] if unread else []
    settings = {"forms": forms, "split": split}
    return from_counts(
        "mcq_pope", values, counts.image_ids, columns, settings, seed=seed, resamples=resamples, warnings=warnings
    )


def build_questions(questions: Sequence[Question], seed: int = 0) -> list[JsonObject]:
    """Make multiple-choice questions from POPE's: one per object, with three objects of the other label.

    Args:
        questions: POPE's questions, three of each label per image.
        seed: seed of the order of the options.

    Returns:
        Rows with question_id, image, text, options, kind and label, which `read_file` reads with an answer added.

    Raises:
        InputError: an image does not have exactly three objects of each label.
    """
    rng = random.Random(seed)
    images: dict[str, list[Question]] = {}
    for question in questions:
        images.setdefault(question.image, []).append(question)
    rows: list[JsonObject] = []
    for image, of_image in images.items():
        named = {label: [q.object for q in of_image if q.label == label and q.object] for label in ("yes", "no")}
        if any(len(names) != 3 for names in named.values()):
            raise InputError(
                f"image {image} must have three questions of each label in POPE's form, got "
                f"{len(named['yes'])} and {len(named['no'])}; use one of POPE's own files"
            )
        for question in of_image:
            kind, others = ("present", named["no"]) if question.label == "yes" else ("absent", named["yes"])
            options = rng.sample([str(question.object), *others], 4)
            lines = [f"{letter}. {name}" for letter, name in zip(LETTERS, options, strict=True)]
            rows.append(
                {
                    "question_id": question.question_id,
                    "image": image,
                    "text": "\n".join([_QUESTIONS[kind], *lines, "Answer with the letter."]),
                    "options": options,
                    "kind": kind,
                    "label": LETTERS[options.index(str(question.object))],
                }
            )
    return rows


def read_file(path: str | Path, answer_key: str | None = None) -> list[Row]:
    """Read the answers in a file with question_id, label and answer per row, and optionally image, kind and options.

    Options are a list, or the columns A to D. In rows with a prediction, answer is the label.

    Raises:
        InputError: the file cannot be read, or a field is missing; names the line.
    """
    rows = []
    for number, row in read_rows(path):
        truth = ("answer",) if "prediction" in row else ()
        question = str(field(path, number, row, "question_id", "index", "id"))
        options = row.get("options") or [row[letter] for letter in LETTERS if letter in row]
        if not isinstance(options, list) or not all(isinstance(name, str) for name in options) or len(options) > 4:
            raise InputError(
                f"{path}, line {number}: options must be a list of four names, got {str(options)[:60]!r}; correct it"
            )
        rows.append(
            Row(
                question,
                str(row.get("image") or question),
                text_field(path, number, row, "label", "gt", *truth).strip().upper(),
                answer_field(path, number, row, answer_keys(answer_key)),
                str(row.get("kind") or ""),
                tuple(options),
            )
        )
    return rows
