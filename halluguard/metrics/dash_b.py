"""Compute DASH-B: yes/no questions about objects that are not there, on images that make models see them.

    TPR = yes answers / questions with the object       TNR = no answers / questions without it
    harmonic_mean = 2 TPR TNR / (TPR + TNR)             acc = right answers / questions

Augustin, Neuhaus and Hein 2025, ICCV, arXiv 2503.23573. 2,682 images of 70 objects. Reads the answer files that
YanNeu/DASH-B writes: rows with img_id, object_name, gt and response. The official rule finds "yes" anywhere in the
answer, else "no" anywhere; an answer with neither is wrong, and counted as unread. The published results file of
PaliGemma-3B (acc .5638, TNR .2640, TPR .8635) is reproduced from its counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.pope_parsers import modern
from halluguard.metrics.reading import answer_field, answer_keys, read_rows, text_field
from halluguard.metrics.score import ImageCounts, Score, from_counts
from halluguard.metrics.stats import Totals, ratio

Parser = Literal["official", "modern"]
QUESTION = "Can you see a {object} in this image? Please answer only with yes or no."
"""The benchmark's question."""
_COUNTS = ("with_object", "found", "without_object", "denied", "unread")


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Args:
        image: id of the image.
        object: name of the object in the question.
        label: "yes" or "no".
        answer: the model's answer.
    """

    image: str
    object: str
    label: str
    answer: str


def read(answer: str, parser: Parser = "official", *, forms: Forms = "final") -> str | None:
    """Read an answer: "yes", "no", or None if it has neither.

    >>> read("Yes, I can."), read("I can not tell."), read("Maybe.")
    ('yes', 'no', None)
    """
    text = final_answer(answer) if forms == "final" else answer
    if parser == "modern":
        verdict = modern(text)
        return verdict if verdict in ("yes", "no") else None
    lower = text.lower()
    return "yes" if "yes" in lower else "no" if "no" in lower else None


def values(totals: Totals) -> dict[str, np.ndarray]:
    """DASH-B's values from totals, as fractions."""
    tpr, tnr = (
        ratio(totals["found"], totals["with_object"]),
        ratio(totals["denied"], totals["without_object"]),
    )
    return {
        "acc": ratio(totals["found"] + totals["denied"], totals["with_object"] + totals["without_object"]),
        "TNR": tnr,
        "TPR": tpr,
        "harmonic_mean": ratio(2 * tpr * tnr, tpr + tnr),
    }


def score(
    rows: Iterable[Row], *, parser: Parser = "official", forms: Forms = "final", seed: int = 0, resamples: int = 1000
) -> Score:
    """Score answers.

    Args:
        rows: answers.
        parser: "official", or "modern", which reads whole words and leaves hedged answers unread.
        forms: "final" reads the answer without reasoning, boxes and JSON; "raw" reads it unchanged.
        seed: seed of the bootstrap over images.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no rows, a label is neither yes nor no, or a question comes twice.
    """
    if parser not in get_args(Parser):
        raise SettingsError(f"parser must be one of {get_args(Parser)}, got {parser!r}; choose one")
    check_forms(forms)
    counts = ImageCounts(_COUNTS)
    seen = set()
    for row in rows:
        if row.label not in ("yes", "no"):
            raise InputError(f"the label of {row.image} must be yes or no, got {row.label!r}; correct the file")
        if (row.image, row.object, row.label) in seen:
            raise InputError(
                f"every question may occur once, got two about {row.object!r} in image {row.image}; remove one"
            )
        seen.add((row.image, row.object, row.label))
        verdict = read(row.answer, parser, forms=forms)
        there = row.label == "yes"
        own = (there, there and verdict == "yes", not there, not there and verdict == "no", verdict is None)
        counts.add(row.image, dict(zip(_COUNTS, own, strict=True)))
    columns = counts.columns("DASH-B")
    unread = sum(columns["unread"])
    warnings = [f"answers with neither yes nor no, counted as wrong: {unread}"] if unread else []
    return from_counts(
        "dash_b",
        values,
        counts.image_ids,
        columns,
        {"parser": parser, "forms": forms},
        seed=seed,
        resamples=resamples,
        warnings=warnings,
    )


def read_file(path: str | Path, answer_key: str | None = None) -> list[Row]:
    """Read the answers in a file with img_id, object_name, gt and response (or answer) per row.

    Raises:
        InputError: the file cannot be read, or a field is missing; names the line.
    """
    rows = []
    for number, row in read_rows(path):
        image, name, label = (text_field(path, number, row, key) for key in ("img_id", "object_name", "gt"))
        rows.append(Row(image, name, label.lower(), answer_field(path, number, row, answer_keys(answer_key))))
    return rows
