"""Compare the scores of benchmark runs: a table of paired differences, with p-values adjusted for many comparisons.

    halluguard eval compare PLAIN.json ONE.json TWO.json ... [--format markdown|latex|csv] [--out FILE]

All other files are compared with the first. Differences are paired over images, with 95 % intervals. P-values come from
a randomisation test, adjusted by Holm's method over all values and files of the table (Holm 1979, "A simple
sequentially rejective multiple test procedure"). Files must be of one metric, with the same settings and images.
"""

from __future__ import annotations

import argparse
import csv
import io as text_io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from halluguard import io
from halluguard.errors import InputError
from halluguard.evaluation.running import Parser
from halluguard.metrics.score import Score, compare
from halluguard.printing import show

Format = Literal["markdown", "latex", "csv"]

SHOWN = {
    "chair": ("CHAIRs", "CHAIRi", "recall", "precision", "f1"),
    "pope": ("acc", "precision", "recall", "f1", "yes_ratio"),
}
"""Metric -> its values in the table; for other metrics, the table has all values."""


@dataclass(frozen=True)
class Row:
    """One value of one run beside the first run's.

    Args:
        run: name of the file.
        value: name of the value.
        first, here: the value of the first run and of this run, as fractions.
        difference, low, high: `here` minus `first`, with its 95 % interval; 0 for the first run itself.
        p: p-value, adjusted by Holm's method; 1 for the first run itself.
    """

    run: str
    value: str
    first: float
    here: float
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    p: float = 1.0


def compared(scores: dict[str, Score], *, seed: int = 0, resamples: int = 1000) -> list[Row]:
    """Rows of the table; those of the first run come first.

    Args:
        scores: name -> score; the others are compared with the first.
        seed: seed of the resampling.
        resamples: number of resamples; the smallest p-value is 1 / (resamples + 1).

    Raises:
        InputError: there are fewer than two scores, or their metrics, settings or images differ.
    """
    if len(scores) < 2:
        raise InputError(f"a comparison needs two scores or more, got {len(scores)}; name their files")
    (base_name, base), *others = scores.items()
    names = [name for name in SHOWN.get(base.metric, tuple(base.values)) if name in base.values]
    rows = []
    for run, score in others:
        changes = compare(base, score, seed=seed, resamples=resamples)
        for name in names:
            if name in changes:
                low, high = changes[name]["interval"]
                difference, p = changes[name]["difference"], changes[name]["p"]
                rows.append(Row(run, name, base[name], score[name], difference, low, high, p))
    adjusted = holm([row.p for row in rows])
    first = [Row(base_name, name, base[name], base[name]) for name in names]
    return first + [Row(**{**vars(row), "p": p}) for row, p in zip(rows, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method, in the order given.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def table(rows: Sequence[Row], form: Format) -> str:
    """The rows as a table: a line per run, a column per value; bold if the adjusted p is below 0.05.

    Shares are in percent; a value that is above 1 in some run, such as MME's total, is shown unchanged.
    """
    if form == "csv":
        buffer = text_io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["run", "value", "first", "here", "difference", "low", "high", "p_holm"])
        writer.writerows([list(vars(row).values()) for row in rows])
        return buffer.getvalue()
    names = list(dict.fromkeys(row.value for row in rows))
    runs = list(dict.fromkeys(row.run for row in rows))
    cells = {(row.run, row.value): row for row in rows}
    scales = {name: 100 if all(abs(row.here) <= 1 for row in rows if row.value == name) else 1 for name in names}
    latex = form == "latex"
    lines = []
    for i, run in enumerate(runs):
        shown = [_cell(cells[run, name], scales[name], latex, is_first=i == 0) for name in names]
        lines.append([_escaped(run) if latex else run.replace("|", "\\|"), *shown])
    if not latex:
        head = f"| run | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}\n"
        return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    head = (
        f"\\begin{{tabular}}{{l{'r' * len(names)}}}\n\\hline\nrun & {' & '.join(map(_escaped, names))} \\\\\n\\hline\n"
    )
    return head + "".join(f"{' & '.join(line)} \\\\\n" for line in lines) + "\\hline\n\\end{tabular}\n"


def _cell(row: Row, scale: int, latex: bool, is_first: bool) -> str:
    value = f"{scale * row.here:.1f}"
    if is_first:
        return value
    change = f"{scale * row.difference:+.1f} [{scale * row.low:+.1f}, {scale * row.high:+.1f}]"
    if row.p < 0.05:
        value = f"\\textbf{{{value}}}" if latex else f"**{value}**"
    return f"{value} ({change})"


def _escaped(text: str) -> str:
    special = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def options_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", type=Path, help="JSON files of scores; each is compared with the first")
    parser.add_argument("--format", choices=get_args(Format), default="markdown", help="form of the table [markdown]")
    parser.add_argument("--out", type=Path, help="file for the table; default standard output")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling [0]")
    parser.add_argument("--resamples", type=int, default=1000, help="number of resamples [1000]")
    return parser


def run(given: argparse.Namespace) -> None:
    names = [path.stem for path in given.scores]
    labels = names if len(set(names)) == len(names) else [str(path) for path in given.scores]
    if len(set(labels)) < len(labels):
        raise InputError("the files of a comparison must differ, got one twice; name each once")
    if given.out is not None and any(given.out.exists() and given.out.samefile(path) for path in given.scores):
        raise InputError(f"--out must not be one of the scores, got {given.out}; name another file")
    scores = {label: Score.load(path) for label, path in zip(labels, given.scores, strict=True)}
    rows = compared(scores, seed=given.seed, resamples=given.resamples)
    text = table(rows, given.format)
    if given.out is None:
        show(text, end="")
        if given.format == "markdown":
            show("\nIn brackets: paired difference from the first run, 95 % interval.")
            show("Bold: p below 0.05, adjusted by Holm's method.")
            show(next(iter(scores.values())).signature)
    else:
        io.write_text(given.out, text)
