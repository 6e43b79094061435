"""Print the tables of `benchmarks/decoding.py` and plot the curve of `Imagination`; no model is loaded.

    python benchmarks/decoding_report.py DIR [--plot docs/imagination.svg] [--json OUT]

Intervals are 95 %, over images. Like is compared with like: greedy with greedy, sampling with sampling.

Matched recall: the baseline's captions are cut, all to one share of their words, until their recall is the method's;
the paired difference of CHAIRi is then the method's own. Where the method's recall is the higher one, nothing is cut.
Under greedy search the baseline is plain greedy: the plausibility mask alone and any temperature are the same there.
With five beams it is plain decoding with five beams. Under sampling it is plain sampling as sharp as the method, on its
mask; for methods inside the model, the mask alone, or plain sampling where they neither cut nor sharpen.

Matched yes-ratio: plain margins with the threshold moved until yes is said as often as by the method. It has plain's
AUC. A method helps on POPE where its AUC is the higher one.
"""

from __future__ import annotations

import argparse
import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from halluguard import sandbox
from halluguard.metrics import baselines, stats
from halluguard.metrics.chair import ChairScorer
from halluguard.metrics.score import Score, compare
from halluguard.sandbox import measure


class Difference(NamedTuple):
    """Change of a metric, with its 95 % interval."""

    value: float
    interval: tuple[float, float]


class Runs:
    """The runs of a folder, scored on demand."""

    def __init__(self, folder: Path, resamples: int = 1000) -> None:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        if not runs:
            raise SystemExit(f"error: no runs in {folder}; make them with benchmarks/decoding.py")
        self.settings = runs[0]["settings"]
        if any(run["settings"] != self.settings for run in runs):
            raise SystemExit(f"error: the runs in {folder} were made with different settings; keep one kind")
        self.raw = {(run["mode"], run["run"]): run for run in runs}
        self.seed, self.resamples = self.settings["seed"], resamples
        self.scored: dict[tuple[str, str], Score] = {}

    @cached_property
    def samples(self) -> list[Any]:
        return list(sandbox.fresh_scenes(self.settings["scenes"], self.settings["start"]))

    @cached_property
    def scorer(self) -> ChairScorer:
        return ChairScorer(measure.truth(self.samples), "fixed", ground_truth="sandbox")

    @cached_property
    def exam(self) -> measure.Exam:
        exam = measure.Exam.of(self.samples, seed=self.seed)
        splits = self.settings["splits"]
        return measure.Exam(exam.samples, {split: exam.questions[split] for split in splits})

    def captions(self, key: tuple[str, str]) -> list[tuple[int, str]]:
        return [(image, text) for image, text in self.raw[key]["captions"]]

    def chair(self, key: tuple[str, str]) -> Score:
        if key not in self.scored:
            self.scored[key] = self._score(self.captions(key), self.resamples)
        return self.scored[key]

    def _score(self, captions: Any, resamples: int) -> Score:
        return self.scorer.score(captions, seed=self.seed, resamples=resamples)

    def length(self, key: tuple[str, str]) -> float:
        return sum(len(text.split()) for _, text in self.captions(key)) / len(self.raw[key]["captions"])

    def at_recall(self, baseline: tuple[str, str], key: tuple[str, str]) -> Difference:
        """CHAIRi of `key` minus that of the baseline cut to the same recall, with its interval."""
        recall, captions = self.chair(key)["recall"], self.captions(baseline)
        low, high = 0.05, 1.0
        if recall < self.chair(baseline)["recall"]:
            for _ in range(9):
                share = (low + high) / 2
                enough = self._score(baselines.shorten(captions, share=share), 0)["recall"] >= recall
                low, high = (low, share) if enough else (share, high)
        cut = self._score(baselines.shorten(captions, share=high), 0)
        return self.difference(cut, self.chair(key), "CHAIRi")

    def difference(self, first: Score, second: Score, metric: str) -> Difference:
        """A metric of `second` minus that of `first`, paired over images."""
        change = compare(first, second, seed=self.seed, resamples=self.resamples)[metric]
        return Difference(change["difference"], change["interval"])

    def margins(self, key: tuple[str, str]) -> dict[tuple[int, str], float]:
        return {(image, text): margin for image, text, margin in self.raw[key]["margins"]}

    def pope(self, key: tuple[str, str], split: str = "adversarial") -> Score:
        margins = self.margins(key)
        return self.exam.score(split, self.exam.answers(margins), margins, seed=self.seed)

    def leaning(self, key: tuple[str, str], split: str = "adversarial") -> Score:
        """Plain margins, their threshold moved to the yes-ratio of `key`."""
        of = {q.question_id: (int(q.image), q.text) for q in self.exam.questions[split]}
        plain, ratio = self.margins(("greedy", "plain")), self.pope(key, split)["yes_ratio"]
        answers = baselines.lean_yes({question: plain[pair] for question, pair in of.items()}, ratio)
        by_pair = {of[question]: answer for question, answer in answers.items()}
        return self.exam.score(split, by_pair, seed=self.seed)

    def auc_change(self, first: tuple[str, str], second: tuple[str, str], split: str) -> Difference:
        """AUC of `second` minus that of `first`, with its interval over images."""
        questions = self.exam.questions[split]
        truth = [q.label == "yes" for q in questions]
        margins = [[self.margins(key)[int(q.image), q.text] for q in questions] for key in (first, second)]
        images = np.unique([str(q.image) for q in questions], return_inverse=True)[1]
        rng, drawn = np.random.default_rng(self.seed), []
        for _ in range(min(self.resamples, 500)):
            times = np.bincount(rng.integers(0, images.max() + 1, images.max() + 1), minlength=images.max() + 1)
            a, b = (stats.auc(truth, values, times[images].tolist()) for values in margins)
            drawn.append(b - a)
        a, b = (stats.auc(truth, values) for values in margins)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Difference(b - a, (float(low), float(high)))

    def names(self, mode: str, prefix: str = "") -> list[str]:
        return sorted(name for m, name in self.raw if m == mode and name.startswith(prefix))

    def methods(self, mode: str) -> list[str]:
        other = ("imagination", "distilled", "as sharp as")
        return [name for name in self.names(mode) if not name.startswith(other) and name not in BASELINES]


BASELINES = ("plain", "PlausibilityOnly")
UNCUT = ("AllPath", "PTI", "VAF", "VGA", "VTI", "VisualEntropy", "best of 4", "step back")
"""Rows that neither cut nor sharpen what is sampled from, and have no negative branches."""


def change(difference: Difference) -> str:
    low, high = (100 * value for value in difference.interval)
    return f"{100 * difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def verdict(difference: Difference, lower_is_better: bool = True) -> str:
    low, high = difference.interval
    better, worse = (high < 0, low > 0) if lower_is_better else (low > 0, high < 0)
    return "better" if better else "worse" if worse else "no difference"


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def chair_table(runs: Runs, mode: str) -> tuple[str, dict[str, str]]:
    """The table of captions, and the verdict on each method."""
    rows, verdicts = [], {}
    order = [n for n in BASELINES if (mode, n) in runs.raw] + runs.methods(mode)
    for name in order:
        as_sharp = (mode, f"as sharp as {name}")
        names = [name, as_sharp[1]] if as_sharp in runs.raw else [name]
        for shown in names:
            key = (mode, shown)
            score = runs.chair(key)
            row = [
                shown,
                *(score.percent(column) for column in ("CHAIRi", "CHAIRs", "recall")),
                f"{runs.length(key):.1f}",
            ]
            if shown == name and name not in BASELINES:
                masked = mode == "sampling" and name not in UNCUT
                baseline = (mode, "PlausibilityOnly" if masked else "plain")
                difference = runs.at_recall(as_sharp if as_sharp in runs.raw else baseline, key)
                verdicts[name] = verdict(difference)
                row += [change(difference), verdicts[name]]
            else:
                row += ["", "baseline"]
            rows.append(row)
    columns = ["", "CHAIRi", "CHAIRs", "recall", "words", "CHAIRi - baseline at equal recall", "captions"]
    return table(columns, rows), verdicts


def pope_table(runs: Runs, split: str = "adversarial") -> tuple[str, dict[str, str]]:
    rows, verdicts = [], {}
    asked = [name for name in runs.methods("greedy") if runs.raw["greedy", name]["margins"]]
    for name in ["plain", *asked]:
        key = ("greedy", name)
        score = runs.pope(key, split)
        row = [name, *(score.percent(column) for column in ("acc", "f1", "yes_ratio", "auc"))]
        if name == "plain":
            row += ["", "", "baseline"]
        else:
            lean = runs.difference(runs.leaning(key, split), score, "acc")
            ranked = runs.auc_change(("greedy", "plain"), key, split)
            verdicts[name] = verdict(ranked, lower_is_better=False)
            row += [change(lean), change(ranked), verdicts[name]]
        rows.append(row)
    columns = ["", "accuracy", "F1", "yes-ratio", "AUC", "accuracy - leaning alike", "AUC - plain", "questions"]
    return table(columns, rows), verdicts


def imagination_table(runs: Runs, kind: str = "imagination") -> str:
    rows = []
    for name in sorted(runs.names("greedy", kind), key=lambda n: float(n.split()[1])):
        key = ("greedy", name)
        captions, questions = runs.chair(key), runs.pope(key)
        difference = change(runs.at_recall(("greedy", "plain"), key))
        columns = [
            *(captions.percent(c) for c in ("CHAIRi", "CHAIRs", "recall")),
            f"{runs.length(key):.1f}",
            difference,
        ]
        rows.append([name.split()[1], *columns, *(questions.percent(c) for c in ("yes_ratio", "auc"))])
    columns = ["imagination", "CHAIRi", "CHAIRs", "recall", "words", "CHAIRi - plain at equal recall"]
    return table([*columns, "POPE yes-ratio", "POPE AUC"], rows)


def against_two_branches(runs: Runs) -> str:
    """The controller against the two branches, setting by setting, the higher recall cut to the other's."""
    lines = ["| imagination | CHAIRi, controller - two branches at equal recall | recall |", "|---|---|---|"]
    for name in sorted(runs.names("greedy", "distilled"), key=lambda n: float(n.split()[1])):
        one, two = ("greedy", name), ("greedy", f"imagination {name.split()[1]}")
        if two not in runs.raw:
            continue
        recall = runs.difference(runs.chair(two), runs.chair(one), "recall")
        if runs.chair(one)["recall"] <= runs.chair(two)["recall"]:
            text = change(runs.at_recall(two, one))
        else:
            difference = runs.at_recall(one, two)
            low, high = difference.interval
            text = change(Difference(-difference.value, (-high, -low)))
        lines.append(f"| {name.split()[1]} | {text} | {change(recall)} |")
    return "\n".join(lines)


def plot(runs: Runs, path: Path) -> None:
    """CHAIRi and recall over the settings, and one against the other with plain captions cut short."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "halluguard"
    from matplotlib import pyplot

    names = sorted(runs.names("greedy", "imagination"), key=lambda n: float(n.split()[1]))
    settings = [float(n.split()[1]) for n in names]
    scores = [runs.chair(("greedy", n)) for n in names]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for column, colour in (("CHAIRi", "tab:red"), ("recall", "tab:blue")):
        middle = [100 * s[column] for s in scores]
        low, high = ([100 * s.intervals[column][i] for s in scores] for i in (0, 1))
        left.plot(settings, middle, "o-", color=colour, label=column)
        left.fill_between(settings, low, high, color=colour, alpha=0.15)
    left.set(xlabel="imagination (0: plain)", ylabel="percent", ylim=(0, 100))
    left.legend(frameon=False)
    right.plot([100 * s["recall"] for s in scores], [100 * s["CHAIRi"] for s in scores], "o-", label="imagination")
    small = sorted(runs.names("greedy", "distilled"), key=lambda n: float(n.split()[1]))
    if small:
        points = [runs.chair(("greedy", n)) for n in small]
        right.plot([100 * s["recall"] for s in points], [100 * s["CHAIRi"] for s in points], "s-", ms=4, alpha=0.7,
                   label="distilled into a controller")  # fmt: skip
    for setting, score in zip(settings, scores, strict=True):
        if setting in (-1, 0, 1):
            right.annotate(f"{setting:+g}" if setting else "0", (100 * score["recall"], 100 * score["CHAIRi"]), (4, 4),
                           textcoords="offset points")  # fmt: skip
    cut = [runs._score(baselines.shorten(runs.captions(("greedy", "plain")), share=s / 10), 0) for s in range(4, 11)]
    right.plot([100 * s["recall"] for s in cut], [100 * s["CHAIRi"] for s in cut], "x--", color="grey",
               label="plain captions cut short")  # fmt: skip
    right.set(xlabel="recall, percent", ylabel="CHAIRi, percent")
    right.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the runs of decoding.py")
    parser.add_argument("--plot", type=Path, help="file for the curve of `Imagination` (svg or png); needs matplotlib")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap samples [1000]")
    given = parser.parse_args()
    runs = Runs(given.folder, given.resamples)
    if runs.names("greedy", "imagination"):
        print(f"\n### Imagination, greedy\n\n{imagination_table(runs)}")
    if runs.names("greedy", "distilled"):
        print(f"\n### Imagination with a distilled controller, greedy\n\n{imagination_table(runs, 'distilled')}")
        print(f"\n{against_two_branches(runs)}")
    if given.plot:
        plot(runs, given.plot)
    verdicts_of: dict[str, dict[str, str]] = {}
    for mode in ("greedy", "sampling", "beams"):
        if (mode, "plain") in runs.raw:
            text, verdicts_of[f"captions, {mode}"] = chair_table(runs, mode)
            print(f"\n### Captions, {mode}\n\n{text}")
    for split in runs.settings["splits"]:
        text, verdicts_of[f"POPE {split}"] = pope_table(runs, split)
        print(f"\n### POPE, {split}\n\n{text}")
    print("\n### Which methods beat their baseline\n")
    for where, verdicts in verdicts_of.items():
        for word in ("better", "no difference", "worse"):
            print(f"- {where}, {word}: {', '.join(n for n, v in verdicts.items() if v == word) or 'none'}")
    seconds = sum(run["cpu_seconds"] for run in runs.raw.values())
    print(f"\n{len(runs.raw)} runs, {runs.settings}, {seconds / 60:.0f} minutes of one core.")


if __name__ == "__main__":
    main()
