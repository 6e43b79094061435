"""Compute HallusionBench: questions about original and altered figures, with a judge model (arXiv 2310.14566).

    aAcc = right questions / questions           fAcc = figures with every question right / figures
    qAcc = questions right on all their figures / questions asked of several figures

The judge calls each answer correct, incorrect or unclear. A question without a figure (category VS, figure 0) is also
right when the answer is unclear, because it cannot be answered. Such questions do not count for any figure.

`easy` and `hard` are computed per question pair, as in the official utils.py, although its table says "per question".
Copies of that file differ in which questions are easy: those on original figures (`easy="figure"`, figure_id 0), or
those whose `visual_input` is 0 or 1 (`easy="visual_input"`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.metrics.final_answers import without_thoughts
from halluguard.metrics.score import JsonObject, Score, from_counts
from halluguard.metrics.stats import Totals, ratio

Judge = Callable[[str], str]

_FIELDS = ("category", "subcategory", "set_id", "figure_id", "question_id", "visual_input", "question")
_COUNTS = (
    *("questions", "right", "figures", "figures_right", "pairs", "pairs_right"),
    *("easy", "easy_right", "hard", "hard_right", "unclear"),
)

PROMPT = (
    "You are a teacher who checks answers. Read the question, the reference answer and the given answer.\n"
    "Reply with one word: correct if the given answer does not contradict the reference, incorrect if it does, unclear "
    "if the given answer does not decide.\n\nQuestion: {question}\nReference answer: {reference}\n"
    "Given answer: {answer}\nReply:"
)
"""Our own wording of the prompt, with the same three replies. To compare with papers, pass the official wording."""


def read_verdict(reply: str) -> Literal["correct", "incorrect", "unclear"]:
    """The verdict in a judge's reply without its reasoning. "incorrect" is searched first, then "correct".

    >>> read_verdict("<think>Is it incorrect?</think>Correct."), read_verdict("<think>It is correct")
    ('correct', 'unclear')
    """
    text = without_thoughts(reply).lower()
    return "incorrect" if "incorrect" in text else "correct" if "correct" in text else "unclear"


def values(totals: Totals) -> dict[str, np.ndarray]:
    """HallusionBench's values from totals, as fractions."""
    return {
        "aAcc": ratio(totals["right"], totals["questions"]),
        "fAcc": ratio(totals["figures_right"], totals["figures"]),
        "qAcc": ratio(totals["pairs_right"], totals["pairs"]),
        "easy": ratio(totals["easy_right"], totals["easy"]),
        "hard": ratio(totals["hard_right"], totals["hard"]),
    }


def _judged(row: JsonObject, judge: Judge, prompt: str) -> str:
    answer = without_thoughts(str(row["model_prediction"]))
    reply = judge(prompt.format(question=row["question"], reference=row["gt_answer_details"], answer=answer))
    if not isinstance(reply, str):
        raise ExpertError(f"a judge must reply with text, got {type(reply).__name__}; correct the judge")
    return read_verdict(reply)


def score(
    rows: Iterable[JsonObject],
    judge: Judge,
    *,
    judge_name: str,
    prompt: str = PROMPT,
    easy: Literal["figure", "visual_input"] = "figure",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score answers.

    Args:
        rows: rows with the benchmark's fields (category "VD" or "VS", subcategory, set_id, figure_id, question_id,
            visual_input, question, gt_answer_details) and the model's answer as `model_prediction`.
        judge: prompt -> reply, called once per row. An exception that it raises is not caught.
        judge_name: name of the judge, for the signature; another judge gives another score.
        prompt: template with {question}, {reference} and {answer}.
        easy: definition of easy questions; see the module.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no rows, a field is missing, or a question comes twice.
    """
    if easy not in ("figure", "visual_input"):
        raise SettingsError(f"easy must be 'figure' or 'visual_input', got {easy!r}; choose one")
    judged: list[tuple[dict[str, str], str, bool]] = []
    seen = set()
    for number, row in enumerate(rows, start=1):
        missing = [name for name in (*_FIELDS, "gt_answer_details", "model_prediction") if name not in row]
        if missing:
            raise InputError(f"row {number} must have {missing}, got {sorted(row)}; use the benchmark's own file")
        key = {name: str(row[name]) for name in _FIELDS}
        identity = tuple(key[name] for name in _FIELDS[:5])
        if identity in seen:
            raise InputError(f"every question may occur once, row {number} repeats {'_'.join(identity)}; remove one")
        seen.add(identity)
        verdict = _judged(row, judge, prompt)
        no_figure = key["category"] == "VS" and key["figure_id"] == "0"
        judged.append((key, verdict, verdict == "correct" or (no_figure and verdict == "unclear")))
    if not judged:
        raise InputError("HallusionBench needs at least one row, got none; is the file empty?")
    sets, columns = _counted(judged, easy)
    return from_counts(
        "hallusionbench",
        values,
        sets,
        columns,
        {"judge": judge_name, "easy": easy},
        seed=seed,
        resamples=resamples,
        details={"verdicts": [["_".join(key[n] for n in _FIELDS[:5]), verdict] for key, verdict, _ in judged]},
    )


def _counted(judged: list[tuple[dict[str, str], str, bool]], easy: str) -> tuple[list[str], dict[str, list[int]]]:
    """Counts per set of figures. The bootstrap resamples sets, so that figures and pairs stay together."""
    groups: dict[str, dict[tuple[str, str], list[bool]]] = {}
    plain: dict[str, list[tuple[bool, bool]]] = {}
    for key, verdict, right in judged:
        set_name = "_".join((key["category"], key["subcategory"], key["set_id"]))
        group = groups.setdefault(set_name, {})
        plain.setdefault(set_name, []).append((right, verdict == "unclear"))
        if not (key["category"] == "VS" and key["figure_id"] == "0"):
            group.setdefault(("figures", key["figure_id"]), []).append(right)
        group.setdefault(("pairs", key["question_id"]), []).append(right)
        is_easy = key["figure_id"] == "0" if easy == "figure" else key["visual_input"] in ("0", "1")
        group.setdefault(("easy" if is_easy else "hard", key["question_id"]), []).append(right)
    columns: dict[str, list[int]] = {name: [] for name in _COUNTS}
    for set_name, group in groups.items():
        row = dict.fromkeys(_COUNTS, 0)
        row["questions"] = len(plain[set_name])
        row["right"] = sum(right for right, _ in plain[set_name])
        row["unclear"] = sum(unclear for _, unclear in plain[set_name])
        for (name, _), outcomes in group.items():
            row[name] += 1
            row[f"{name}_right"] += all(outcomes)
        for name in _COUNTS:
            columns[name].append(row[name])
    return list(groups), columns
