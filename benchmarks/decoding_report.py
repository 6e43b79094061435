"""Tables and the knob's curve from the runs of `benchmarks/decoding.py`; no model is loaded.

    python benchmarks/decoding_report.py DIR [--plot docs/knob.svg] [--json OUT]

Intervals are 95 %, over images. Like is compared with like: greedy with greedy, sampling with sampling.

Matched recall: the control's captions are cut, all to one share of their words, until their recall is the method's;
the paired difference of CHAIRi is then the method's own. Where the method's recall is the higher one, nothing is cut.
Under greedy search the control is plain greedy: the plausibility mask alone and any temperature are the same there.
With five beams it is plain decoding with five beams.
Under sampling it is plain sampling as sharp as the method, on its support; for methods inside the model, the mask
alone, or plain sampling where they neither cut nor sharpen.

Matched yes-ratio: plain margins with the threshold moved until yes is said as often as by the method. It has plain's
AUC. A method helps on POPE where its AUC is the higher one.
"""

from __future__ import annotations

import argparse
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from halluguard import sandbox
from halluguard.metrics import baselines, stats
from halluguard.metrics.chair import ChairScorer
from halluguard.metrics.score import Score, compare
from halluguard.sandbox import measure


class Runs:
    """What was measured, scored when asked for."""

    def __init__(self, folder: Path, resamples: int = 1000) -> None:
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        if not found:
            raise SystemExit(f"error: no runs in {folder}; make them with benchmarks/decoding.py")
        self.settings = found[0]["settings"]
        if any(run["settings"] != self.settings for run in found):
            raise SystemExit(f"error: the runs in {folder} were made with different settings; keep one kind")
        self.raw = {(run["mode"], run["run"]): run for run in found}
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
        asked = self.settings["splits"]
        return measure.Exam(exam.samples, {split: exam.questions[split] for split in asked})

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

    def at_recall(self, control: tuple[str, str], key: tuple[str, str]) -> dict[str, Any]:
        """CHAIRi of `key` minus that of the control cut to the same recall, with its interval."""
        recall, captions = self.chair(key)["recall"], self.captions(control)
        low, high = 0.05, 1.0
        if recall < self.chair(control)["recall"]:
            for _ in range(9):
                share = (low + high) / 2
                enough = self._score(baselines.shorten(captions, share=share), 0)["recall"] >= recall
                low, high = (low, share) if enough else (share, high)
        cut = self._score(baselines.shorten(captions, share=high), 0)
        return compare(cut, self.chair(key), seed=self.seed, resamples=self.resamples)["CHAIRi"]

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

    def auc_change(self, first: tuple[str, str], second: tuple[str, str], split: str) -> dict[str, Any]:
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
        return {"difference": b - a, "interval": (float(low), float(high))}

    def names(self, mode: str, prefix: str = "") -> list[str]:
        return sorted(name for m, name in self.raw if m == mode and name.startswith(prefix))

    def methods(self, mode: str) -> list[str]:
        return [
            n for n in self.names(mode) if not n.startswith(("knob", "distilled", "as sharp as")) and n not in CONTROLS
        ]


CONTROLS = ("plain", "PlausibilityOnly")
UNCUT = ("VTI",)
"""Methods inside the model that neither cut nor sharpen what is sampled from."""


def cell(score: Score, name: str) -> str:
    low, high = score.intervals[name]
    return f"{100 * score[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def change(found: dict[str, Any]) -> str:
    low, high = (100 * value for value in found["interval"])
    return f"{100 * found['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def verdict(found: dict[str, Any], lower_is_better: bool = True) -> str:
    low, high = found["interval"]
    better, worse = (high < 0, low > 0) if lower_is_better else (low > 0, high < 0)
    return "better" if better else "worse" if worse else "no difference"


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def chair_table(runs: Runs, mode: str) -> tuple[str, dict[str, str]]:
    """The table of captions, and the verdict on each method."""
    rows, verdicts = [], {}
    order = [n for n in CONTROLS if (mode, n) in runs.raw] + runs.methods(mode)
    for name in order:
        controlled = (mode, f"as sharp as {name}")
        names = [name, controlled[1]] if controlled in runs.raw else [name]
        for shown in names:
            key = (mode, shown)
            score = runs.chair(key)
            row = [
                shown,
                *(cell(score, column) for column in ("CHAIRi", "CHAIRs", "recall")),
                f"{runs.length(key):.1f}",
            ]
            if shown == name and name not in CONTROLS:
                masked = mode == "sampling" and name not in UNCUT
                control = (mode, "PlausibilityOnly" if masked else "plain")
                found = runs.at_recall(controlled if controlled in runs.raw else control, key)
                verdicts[name] = verdict(found)
                row += [change(found), verdicts[name]]
            else:
                row += ["", "control"]
            rows.append(row)
    columns = ["", "CHAIRi", "CHAIRs", "recall", "words", "CHAIRi - control at equal recall", "captions"]
    return table(columns, rows), verdicts


def pope_table(runs: Runs, split: str = "adversarial") -> tuple[str, dict[str, str]]:
    rows, verdicts = [], {}
    for name in ["plain", *runs.methods("greedy")]:
        key = ("greedy", name)
        score = runs.pope(key, split)
        row = [name, *(cell(score, column) for column in ("acc", "f1", "yes_ratio", "auc"))]
        if name == "plain":
            row += ["", "", "control"]
        else:
            lean = compare(runs.leaning(key, split), score, seed=runs.seed, resamples=runs.resamples)
            ranked = runs.auc_change(("greedy", "plain"), key, split)
            verdicts[name] = verdict(ranked, lower_is_better=False)
            row += [change(lean["acc"]), change(ranked), verdicts[name]]
        rows.append(row)
    columns = ["", "accuracy", "F1", "yes-ratio", "AUC", "accuracy - leaning alike", "AUC - plain", "questions"]
    return table(columns, rows), verdicts


def knob_table(runs: Runs, kind: str = "knob") -> str:
    rows = []
    for name in sorted(runs.names("greedy", kind), key=lambda n: float(n.split()[1])):
        key = ("greedy", name)
        score, asked = runs.chair(key), runs.pope(key)
        found = runs.at_recall(("greedy", "plain"), key)
        columns = [*(cell(score, c) for c in ("CHAIRi", "CHAIRs", "recall")), f"{runs.length(key):.1f}", change(found)]
        rows.append([name.split()[1], *columns, *(cell(asked, c) for c in ("yes_ratio", "auc"))])
    columns = ["imagination", "CHAIRi", "CHAIRs", "recall", "words", "CHAIRi - plain at equal recall"]
    return table([*columns, "POPE yes-ratio", "POPE AUC"], rows)


def against_two_rows(runs: Runs) -> str:
    """The controller against the two rows, setting by setting, the higher recall cut to the other's."""
    lines = ["| imagination | CHAIRi, controller - two rows at equal recall | recall |", "|---|---|---|"]
    for name in sorted(runs.names("greedy", "distilled"), key=lambda n: float(n.split()[1])):
        one, two = ("greedy", name), ("greedy", f"knob {name.split()[1]}")
        if two not in runs.raw:
            continue
        recall = compare(runs.chair(two), runs.chair(one), seed=runs.seed, resamples=runs.resamples)["recall"]
        if runs.chair(one)["recall"] <= runs.chair(two)["recall"]:
            text = change(runs.at_recall(two, one))
        else:
            found = runs.at_recall(one, two)
            low, high = found["interval"]
            text = change({"difference": -found["difference"], "interval": (-high, -low)})
        lines.append(f"| {name.split()[1]} | {text} | {change(recall)} |")
    return "\n".join(lines)


def plot(runs: Runs, path: Path) -> None:
    """CHAIRi and recall over the settings, and one against the other with plain captions cut short."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "halluguard"
    from matplotlib import pyplot

    names = sorted(runs.names("greedy", "knob"), key=lambda n: float(n.split()[1]))
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
    right.plot([100 * s["recall"] for s in scores], [100 * s["CHAIRi"] for s in scores], "o-", label="the knob")
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plot", type=Path, help="write the knob's curve here (svg or png); needs matplotlib")
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    runs = Runs(given.folder, given.resamples)
    if runs.names("greedy", "knob"):
        print(f"\n### The knob, greedy\n\n{knob_table(runs)}")
    if runs.names("greedy", "distilled"):
        print(f"\n### The knob with a distilled controller, greedy\n\n{knob_table(runs, 'distilled')}")
        print(f"\n{against_two_rows(runs)}")
    if given.plot:
        plot(runs, given.plot)
    said: dict[str, dict[str, str]] = {}
    for mode in ("greedy", "sampling", "beams"):
        if (mode, "plain") in runs.raw:
            text, said[f"captions, {mode}"] = chair_table(runs, mode)
            print(f"\n### Captions, {mode}\n\n{text}")
    for split in runs.settings["splits"]:
        text, said[f"POPE {split}"] = pope_table(runs, split)
        print(f"\n### POPE, {split}\n\n{text}")
    print("\n### Which methods beat their control\n")
    for where, verdicts in said.items():
        for word in ("better", "no difference", "worse"):
            print(f"- {where}, {word}: {', '.join(n for n, v in verdicts.items() if v == word) or 'none'}")
    seconds = sum(run["cpu_seconds"] for run in runs.raw.values())
    print(f"\n{len(runs.raw)} runs, {runs.settings}, {seconds / 60:.0f} minutes of one core.")


if __name__ == "__main__":
    main()
