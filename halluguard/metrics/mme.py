"""Compute MME's hallucination subset: existence, count, position, color (arXiv 2306.13394; subset of VCD).

    acc  = right answers / questions      acc+ = images with both answers right / images
    score of a task = 100 acc + 100 acc+ (at most 200)      total = sum over the tasks (at most 800 for the four)

Each image has two questions; the right answer is yes to one and no to the other. Unlike in the official eval tool, the
two are matched by image, not by their position in the file, and an image without exactly two questions is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from halluguard import io
from halluguard.errors import InputError, SettingsError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.pope_parsers import modern, vlmevalkit
from halluguard.metrics.pope_questions import yes_or_no
from halluguard.metrics.reading import answer_field, answer_keys, read_lines, read_rows, text_field
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, ratio

SUBSET = ("existence", "count", "position", "color")
"""The four of MME's fourteen tasks that measure hallucination."""

Parser = Literal["official", "lmms-eval", "vlmevalkit", "modern"]
PARSERS: tuple[Parser, ...] = get_args(Parser)
_COUNTS = ("right", "both", "questions", "images", "other")


@dataclass(frozen=True, slots=True)
class Row:
    """One question with its answer.

    Args:
        task: name of the task: "existence", "count", ...
        image: name of the image, shared by its two questions.
        question: text of the question.
        label: the right answer, "yes" or "no".
        answer: the model's answer.
    """

    task: str
    image: str
    question: str
    label: str
    answer: str


def parse(answer: str, parser: Parser = "official", *, forms: Forms = "final") -> str:
    """Read an answer: "yes", "no" or "other".

    "official" searches the first four characters of the lower-cased answer, including leading blanks, so that "none" is
    "no", and a yes after three line breaks is "other". "lmms-eval" first strips blanks and periods, and accepts a
    single y or n. "vlmevalkit" searches the whole answer for the two words. "modern" is ours, see `pope_parsers`. With
    the forms "final", reasoning, boxes, JSON and emphasis are removed first, see `final_answers`; with "raw" they are
    not.

    >>> parse("Nope"), parse("The answer is no."), parse("y", "lmms-eval")
    ('no', 'other', 'yes')
    >>> parse("The answer is no.", "modern"), parse("<think>No cat.</think>Yes")
    ('no', 'yes')
    """
    check_forms(forms)
    if parser not in PARSERS:
        raise SettingsError(f"parser must be one of {PARSERS}, got {parser!r}; choose one")
    answer = final_answer(answer) if forms == "final" else answer
    text = answer.lower()
    if parser in ("vlmevalkit", "modern"):
        verdict = (vlmevalkit if parser == "vlmevalkit" else modern)(answer, "")
        return "other" if verdict == "neither" else verdict
    if parser == "lmms-eval":
        text = text.strip().replace(".", "")
        if len(text) == 1:
            return {"y": "yes", "n": "no"}.get(text, "other")
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else "other"


def values(totals: Totals) -> dict[str, np.ndarray]:
    """For each task: acc and acc+ (fractions) and score (0 to 200); and the total over the tasks."""
    tasks = [name.split(".")[0] for name in totals if name.endswith(".images")]
    by_task: dict[str, np.ndarray] = {}
    for task in tasks:
        acc = ratio(totals[f"{task}.right"], totals[f"{task}.questions"])
        plus = ratio(totals[f"{task}.both"], totals[f"{task}.images"])
        by_task |= {f"{task}.acc": acc, f"{task}.acc+": plus, f"{task}.score": 100 * acc + 100 * plus}
    by_task["total"] = np.sum([by_task[f"{task}.score"] for task in tasks], axis=0)
    return by_task


def score(
    rows: Iterable[Row],
    *,
    parser: Parser = "official",
    forms: Forms = "final",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score answers, two per image.

    Args:
        rows: the questions with their answers.
        parser: parser of the answers, see `parse`.
        forms: "final" or "raw", see `parse`; the signature names "raw".
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no rows, or an image without exactly two questions, one labelled yes and one no.
    """
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        pairs.setdefault((row.task, row.image), []).append(row)
    if not pairs:
        raise InputError("MME needs at least one image with two questions, got no rows; is the file empty?")
    tasks = list(dict.fromkeys(task for task, _ in pairs))
    names = [f"{task}.{count}" for task in tasks for count in _COUNTS]
    columns: dict[str, list[int]] = {name: [] for name in names}
    for (task, image), pair in pairs.items():
        if len(pair) != 2 or {row.label for row in pair} != {"yes", "no"}:
            labels = [row.label for row in pair]
            raise InputError(
                f"image {image} of {task} must have two questions, labelled yes and no, got {labels}; correct the file"
            )
        readings = [parse(row.answer, parser, forms=forms) for row in pair]
        right = sum(reading == row.label for reading, row in zip(readings, pair, strict=True))
        counted = dict(zip(_COUNTS, (right, right == 2, 2, 1, readings.count("other")), strict=True))
        for name in names:
            column_task, count = name.rsplit(".", 1)
            columns[name].append(int(counted[count]) if column_task == task else 0)
    return from_counts(
        "mme",
        values,
        [f"{task}/{image}" for task, image in pairs],
        columns,
        {"parser": parser, **({"forms": forms} if forms == "raw" else {}), "split": "+".join(tasks)},
        seed=seed,
        resamples=resamples,
    )


def read_rows_of(path: str | Path, task: str | None = None, answer_key: str | None = None) -> list[Row]:
    """Read a file of answers.

    A file whose name ends in .txt has the eval tool's form: image, question, label and answer, separated by tabs; the
    name of the file is the task. Any other file has rows (`reading.read_rows`) with task (or category), image,
    question, label (or gt) and answer (or another of `reading.ANSWER_KEYS`). In rows with a prediction, answer is the
    label.

    Args:
        path: the file.
        task: name of the task, instead of the one in the file.
        answer_key: name of the field with the answer.

    Raises:
        InputError: the file cannot be read, is empty, or a line lacks a field; names the line.
    """
    if Path(path).suffix == ".txt":
        return _official_rows(Path(path), task or Path(path).stem)
    rows = []
    for number, row in read_rows(path):
        row_task = task or text_field(path, number, row, "task", "category")
        image = text_field(path, number, row, "image", "image_path", "question_id")
        question = text_field(path, number, row, "question")
        truth = ("answer",) if "prediction" in row else ()
        label = yes_or_no(text_field(path, number, row, "label", "gt", *truth), f"{path}, line {number}")
        rows.append(Row(row_task, image, question, label, answer_field(path, number, row, answer_keys(answer_key))))
    return rows


def _official_rows(path: Path, task: str) -> list[Row]:
    rows = []
    with io.reading(path), io.open_text(path, newline="\n") as file:
        lines = [(number, line.rstrip("\n")) for number, line in read_lines(path, file)]
    for number, line in lines:
        if line.strip():
            cells = line.split("\t")
            if len(cells) != 4:
                expected = "expected image, question, label and answer, separated by tabs"
                raise InputError(f"{path}, line {number}: {expected}, got {len(cells)} cells; correct the line")
            image, question, label, answer = cells
            rows.append(Row(task, image, question, yes_or_no(label, f"{path}, line {number}"), answer))
    if not rows:
        raise InputError(f"{path} must hold at least one line, got an empty file; check the file")
    return rows
