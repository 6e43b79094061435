"""Run the demo: a small trained model hallucinates, each layer mitigates it alone, then all three together.

Offline, on the shipped sandbox models and test scenes, on a CPU. Prints the tables, writes the page `demo.html` and
the numbers `demo.json`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from transformers.utils import logging

from halluguard import io, sandbox
from halluguard._version import __version__
from halluguard.correction import correct_many
from halluguard.decoding import Imagination
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.errors import SettingsError
from halluguard.guard import Guard
from halluguard.metrics.score import Score, compare
from halluguard.printing import printable
from halluguard.records import DEFAULT_PROMPT, Answer
from halluguard.rendering import page
from halluguard.sandbox import Sample, measure
from halluguard.sandbox.measure import Exam

IMAGINATION = -0.5
"""Imagination setting of the demo: half-way to the most grounded, chosen in advance, not tuned on these scenes."""


class Tabulated(TypedDict):
    """A table for the console and the page."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str


CAPTION_COLUMNS = {"CHAIR_i": "CHAIRi", "CHAIR_s": "CHAIRs", "recall": "recall"}
POPE_COLUMNS = {"accuracy": "acc", "F1": "f1", "yes-ratio": "yes_ratio", "AUC of drafts": "auc"}


@dataclass(frozen=True)
class Setup:
    """The layers that are on, with a description."""

    name: str
    description: str = "the model as it is"
    before: bool = False
    during: bool = False
    after: bool = False
    completed: bool = False

    @property
    def layers(self) -> tuple[bool, bool, bool, bool]:
        """Whether the layers before, during and after are on, and whether captions are completed."""
        return self.before, self.during, self.after, self.completed


SETUPS = (
    Setup("plain"),
    Setup("before", "with the adapter fine-tuned on negative images and negative instructions", before=True),
    Setup("during", f"decoded with imagination {IMAGINATION:g}: contrast with the image-free branch", during=True),
    Setup("after", "captions checked by the trained detector and rewritten by rules", after=True),
    Setup("all three", "adapter, decoding and rewriting", before=True, during=True, after=True),
    Setup(
        "after, completed",
        "captions rewritten as in 'after', then completed with objects that the detector finds",
        after=True,
        completed=True,
    ),
    Setup(
        "all three, completed",
        "adapter, decoding and rewriting, then completed with objects that the detector finds",
        before=True,
        during=True,
        after=True,
        completed=True,
    ),
)


@dataclass(frozen=True)
class Result:
    """One setup measured.

    Args:
        setup: the setup.
        drafts: the captions as they were generated.
        answers: the captions after correction.
        captions: the score of the captions.
        pope: split -> score of the yes/no answers.
    """

    setup: Setup
    drafts: list[str]
    answers: list[Answer]
    captions: Score
    pope: dict[str, Score]


def run(out: Path, scenes: int | None = None, seed: int = 0) -> list[Result]:
    """Measure every setup on the shipped scenes, print the tables, write the page and the numbers into `out`.

    Raises:
        SettingsError: `scenes` is too small for POPE's questions.
        OutputError: `out` is no folder and cannot be made one.
    """
    console, started = Console(), time.perf_counter()
    logging.set_verbosity_error()  # keeps progress bars and messages of transformers out of the demo's output
    logging.disable_progress_bar()
    if scenes is not None and scenes < 10:
        raise SettingsError(f"expected at least 10 scenes, got {scenes}; fewer give no usable intervals")
    with io.writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    samples = sandbox.scenes(scenes)
    exam = Exam.of(samples, seed=seed)
    console.print(f"halluguard {__version__}: {len(samples)} test scenes, no network. Loading the sandbox models ...")
    plain, tuned = _guards()
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Result] = []
    with Progress(*columns, console=console) as progress:
        for setup in SETUPS:
            guard = tuned if setup.before else plain
            if setup.completed:
                same = next(r for r in results if replace(setup, completed=False).layers == r.setup.layers)
                results.append(measure_completed(setup, guard, samples, same, seed))
                continue
            task = progress.add_task(setup.name, total=len(samples) + len(exam.distinct))
            results.append(measure_setup(setup, guard, samples, exam, seed, partial(progress.advance, task)))
    tables = [caption_table(results), *(pope_table(results, split) for split in exam.questions)]
    for table in tables:
        _print(console, table)
    notes = reading(results, samples, exam)
    for note in notes:
        console.print(f"- {note}", highlight=False)
    write(out, results, tables, notes, samples, seed)
    opened = printable(f"Open {out / 'demo.html'} (numbers: {out / 'demo.json'})")
    console.print(f"\n{time.perf_counter() - started:.0f} s. {opened}", markup=False)
    return results


def _guards() -> tuple[Guard, Guard]:
    """The plain model and the fine-tuned one, each with the trained detector."""
    detector = ZeroShotDetector.from_pretrained(sandbox.DETECTOR)
    settings: dict[str, Any] = {"detector": detector, "device": "cpu", "local_files_only": True}
    plain = Guard.from_pretrained(sandbox.MLLM, **settings)
    return plain, Guard.from_pretrained(sandbox.MLLM, adapter=sandbox.ADAPTER, **settings)


def measure_setup(
    setup: Setup,
    guard: Guard,
    samples: Sequence[Sample],
    exam: Exam,
    seed: int,
    progress: measure.Progress = lambda done: None,
) -> Result:
    """Generate and score the captions and yes/no answers of one setup."""
    decoding = Imagination(IMAGINATION) if setup.during else None
    drafts = measure.captions(guard, samples, decoding=decoding, progress=progress)
    margins = exam.margins(guard, decoding=decoding, progress=progress)
    replies = exam.answers(margins)
    images = [sample.image for sample in samples]
    answers = [Answer(draft, draft, DEFAULT_PROMPT, image=image) for draft, image in zip(drafts, images, strict=True)]
    if setup.after:
        assert guard.detector is not None
        answers = list(correct_many(drafts, images, guard.detector, [DEFAULT_PROMPT] * len(drafts)))
        asked_images = [exam.samples[image].image for image, _ in replies]
        checked = correct_many(replies.values(), asked_images, guard.detector, [text for _, text in replies])
        replies = {pair: answer.text for pair, answer in zip(replies, checked, strict=True)}
    score = measure.chair_of([answer.text for answer in answers], samples, seed=seed)
    pope = {split: exam.score(split, replies, margins, seed=seed) for split in exam.questions}
    return Result(setup, drafts, answers, score, pope)


def measure_completed(setup: Setup, guard: Guard, samples: Sequence[Sample], corrected: Result, seed: int) -> Result:
    """Correct and score the captions of a setup, completed with the sandbox's categories.

    Args:
        corrected: the same setup without completion; answers to yes/no questions are the same in both.
    """
    assert guard.detector is not None
    drafts = corrected.drafts
    images, prompts = [sample.image for sample in samples], [DEFAULT_PROMPT] * len(drafts)
    answers = list(correct_many(drafts, images, guard.detector, prompts, complete=sandbox.CATEGORIES))
    score = measure.chair_of([answer.text for answer in answers], samples, seed=seed)
    return Result(setup, drafts, answers, score, corrected.pope)


def caption_table(results: Sequence[Result]) -> Tabulated:
    rows = [
        [
            result.setup.name,
            *(result.captions.percent(name) for name in CAPTION_COLUMNS.values()),
            _words(result.answers),
        ]
        for result in results
    ]
    return {
        "title": "Captions",
        "head": ["layers", *CAPTION_COLUMNS, "words"],
        "rows": rows,
        "note": f"{results[0].captions.signature}. Percent, with 95 % intervals over images; lower CHAIR is better.",
    }


def pope_table(results: Sequence[Result], split: str) -> Tabulated:
    rows = [
        [result.setup.name, *(result.pope[split].percent(name) for name in POPE_COLUMNS.values())]
        for result in results
        if not result.setup.completed
    ]
    return {
        "title": f"POPE, {split} negatives",
        "head": ["layers", *POPE_COLUMNS],
        "rows": rows,
        "note": results[0].pope[split].signature,
    }


def reading(results: Sequence[Result], samples: Sequence[Sample], exam: Exam) -> list[str]:
    """Sentences that interpret the numbers: each layer compared with plain, paired over the same images."""
    plain = results[0]
    notes = [f"{result.setup.name}: {result.setup.description}." for result in results]
    for result in results[1:]:
        change = compare(plain.captions, result.captions)
        chair, recall = change["CHAIRi"], change["recall"]
        low, high = (100 * v for v in chair["interval"])
        verdict = "helps" if high < 0 else "does not measurably help"
        notes.append(
            f"{result.setup.name} {verdict} on captions: CHAIR_i {100 * chair['difference']:+.1f} "
            f"[{low:+.1f}, {high:+.1f}] at recall {100 * recall['difference']:+.1f}, "
            f"{_mean_words(result.answers) - _mean_words(plain.answers):+.1f} words."
        )
    notes += [_added(result, samples) for result in results if result.setup.completed]
    notes.append(
        "Shorter captions lower CHAIR by themselves: read it with recall and words. A shifted yes-ratio moves POPE's "
        "accuracy: read it with AUC, which is computed from the model's own margin between yes and no, before "
        "correction. Correction reverses a Yes or No where the expert is sure, so POPE then measures the expert."
    )
    notes.append(
        f"{len(samples)} scenes, {len(exam.samples)} of them with questions. A small drawn world: it shows that the "
        "layers work and how, not how much they gain on a large model."
    )
    return notes


def _added(result: Result, samples: Sequence[Sample]) -> str:
    """A sentence on the objects that a completed setup added, and which of them are not in the scenes."""
    added = [
        (name, sample)
        for answer, sample in zip(result.answers, samples, strict=True)
        for edit in answer.edits
        if edit.decision == "addition"
        for name in sorted({box.label for box in edit.evidence})
    ]
    wrong = Counter(name for name, sample in added if name not in sample.names)
    names = ", ".join(f"{name} {count}" for name, count in wrong.most_common()) or "none"
    return f"{result.setup.name} added {len(added)} objects, {wrong.total()} of them wrongly ({names})."


def write(
    out: Path,
    results: Sequence[Result],
    tables: Sequence[Tabulated],
    notes: Sequence[str],
    samples: Sequence[Sample],
    seed: int,
) -> None:
    """Write `demo.html` with the tables and a dozen images, and `demo.json` with every number."""
    after = next(result for result in results if result.setup.name == "after")
    changed = [i for i, answer in enumerate(after.answers) if answer.text != answer.draft]
    kept = [i for i, answer in enumerate(after.answers) if answer.text == answer.draft]
    chosen = sorted(changed[:9] + kept[:3])
    shown = [replace(after.answers[i], image=samples[i].image) for i in chosen]
    html = page(
        shown,
        title="halluguard demo",
        lead="A small multimodal model describes drawn scenes and names things that are not there. Three layers "
        "mitigate it: before (fine-tuning), during (decoding) and after (checking against an expert).",
        tables=tables,
        notes=[*notes, "Below: the first nine plain captions that the expert corrected, and the first three it kept."],
        captions=[f"Truly there: {', '.join(samples[i].names)}." for i in chosen],
    )
    io.write_text(out / "demo.html", html)
    numbers = {
        "version": __version__,
        "seed": seed,
        "setups": [
            {
                "layers": result.setup.name,
                "words": _mean_words(result.answers),
                "captions": _numbers(result.captions),
                "pope": {split: _numbers(score) for split, score in result.pope.items()},
            }
            for result in results
        ],
    }
    io.write_text(out / "demo.json", json.dumps(numbers, indent=1) + "\n")


def _numbers(score: Score) -> dict[str, Any]:
    intervals = {name: list(pair) for name, pair in score.intervals.items()}
    return {"signature": score.signature, "values": dict(score.values), "intervals": intervals}


def _mean_words(answers: Sequence[Answer]) -> float:
    return sum(len(answer.text.split()) for answer in answers) / len(answers)


def _words(answers: Sequence[Answer]) -> str:
    return f"{_mean_words(answers):.1f}"


def _print(console: Console, table: Tabulated) -> None:
    shown = Table(title=table["title"], caption=table["note"], title_justify="left", caption_justify="left")
    for i, name in enumerate(table["head"]):
        shown.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in table["rows"]:
        shown.add_row(*row)
    console.print(shown)
