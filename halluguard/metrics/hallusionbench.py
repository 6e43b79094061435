"""HallusionBench: questions on pairs of original and altered figures, judged by a model of yours (arXiv 2310.14566).

    aAcc = right questions / questions           fAcc = figures with every question right / figures
    qAcc = questions right on all their figures / questions asked of several figures

A judge reads each answer: correct, incorrect, or unclear. A question without a figure (VS, figure 0) is also right
when the answer is unclear: not knowing is right there. Such questions belong to no figure.

`easy` and `hard` are per question pair, as in the official utils.py, although its table says per question. Its copies
differ in what is easy: original figures ("figure": figure_id 0), or questions whose `visual_input` is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.metrics.score import Score, from_counts
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
"""Ours, to the same three replies; hand `prompt` the official wording to compare with published tables."""


def read_verdict(reply: str) -> Literal["correct", "incorrect", "unclear"]:
    """The judge's reply; "incorrect" is looked for before "correct", and anything else is unclear."""
    text = reply.lower()
    return "incorrect" if "incorrect" in text else "correct" if "correct" in text else "unclear"


def values(totals: Totals) -> dict[str, np.ndarray]:
    return {
        "aAcc": ratio(totals["right"], totals["questions"]),
        "fAcc": ratio(totals["figures_right"], totals["figures"]),
        "qAcc": ratio(totals["pairs_right"], totals["pairs"]),
        "easy": ratio(totals["easy_right"], totals["easy"]),
        "hard": ratio(totals["hard_right"], totals["hard"]),
    }


def _judged(row: Mapping[str, Any], judge: Judge, prompt: str) -> str:
    reply = judge(
        prompt.format(question=row["question"], reference=row["gt_answer_details"], answer=row["model_prediction"])
    )
    if not isinstance(reply, str):
        raise ExpertError(f"a judge must reply with text, got {type(reply).__name__}; no verdict is guessed")
    return read_verdict(reply)


def score(
    rows: Iterable[Mapping[str, Any]],
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
        rows: the benchmark's fields (category "VD" or "VS", subcategory, set_id, figure_id, question_id, visual_input,
            question, gt_answer_details) and the answer as `model_prediction`.
        judge: prompt -> reply; it is called once a row, and its errors pass through.
        judge_name: for the signature; another judge gives another score.
        prompt: with {question}, {reference} and {answer}.
        easy: what counts as easy, see the module.

    Raises:
        InputError: no rows, a field is missing, or a question comes twice.
    """
    if easy not in ("figure", "visual_input"):
        raise SettingsError(f"easy must be 'figure' or 'visual_input', got {easy!r}")
    judged: list[tuple[dict[str, str], str, bool]] = []
    seen = set()
    for number, row in enumerate(rows, start=1):
        missing = [name for name in (*_FIELDS, "gt_answer_details", "model_prediction") if name not in row]
        if missing:
            raise InputError(f"row {number} must have {missing}, got {sorted(row)}; use the benchmark's own file")
        key = {name: str(row[name]) for name in _FIELDS}
        identity = tuple(key[name] for name in _FIELDS[:5])
        if identity in seen:
            raise InputError(f"every question may come once, row {number} repeats {'_'.join(identity)}")
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
    """Counts per set of figures, which are what is resampled: figures and pairs never leave their set."""
    groups: dict[str, dict[tuple[str, str], list[bool]]] = {}
    plain: dict[str, list[tuple[bool, bool]]] = {}
    for key, verdict, right in judged:
        of = "_".join((key["category"], key["subcategory"], key["set_id"]))
        group = groups.setdefault(of, {})
        plain.setdefault(of, []).append((right, verdict == "unclear"))
        if not (key["category"] == "VS" and key["figure_id"] == "0"):
            group.setdefault(("figures", key["figure_id"]), []).append(right)
        group.setdefault(("pairs", key["question_id"]), []).append(right)
        is_easy = key["figure_id"] == "0" if easy == "figure" else key["visual_input"] in ("0", "1")
        group.setdefault(("easy" if is_easy else "hard", key["question_id"]), []).append(right)
    columns: dict[str, list[int]] = {name: [] for name in _COUNTS}
    for of, group in groups.items():
        row = dict.fromkeys(_COUNTS, 0)
        row["questions"] = len(plain[of])
        row["right"] = sum(right for right, _ in plain[of])
        row["unclear"] = sum(unclear for _, unclear in plain[of])
        for (name, _), outcomes in group.items():
            row[name] += 1
            row[f"{name}_right"] += all(outcomes)
        for name in _COUNTS:
            columns[name].append(row[name])
    return list(groups), columns
