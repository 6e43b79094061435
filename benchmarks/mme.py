"""MME's hallucination subset: existence, count, position, color.

    python benchmarks/mme.py --answers FILE [FILE ...] --json OUT
    python benchmarks/mme.py --model sandbox --json OUT
    python benchmarks/mme.py --model NAME --images FOLDER --questions FILE --json OUT

Answers: the eval tool's existence.txt, count.txt, ... (image, question, label and answer between tabs), or JSON lines
with task, image, question, label and answer. Scoring needs no torch. Questions: the same JSON lines without answers.
The sandbox asks for existence alone. Tasks other than --tasks are left out, and said so.
A model's answers are kept beside OUT; run again to resume.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from running import add_model_options, heading, load, main, options, pictures, resume

from halluguard.errors import InputError
from halluguard.metrics import mme
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope import ask as question_for
from halluguard.metrics.reading import field, read_rows, text_field


def mme_options() -> argparse.ArgumentParser:
    parser, source = options(__doc__, None)
    source.add_argument("--answers", type=Path, nargs="+", help="published answers to score, without a model")
    parser.add_argument("--questions", type=Path, help="questions for the model; the sandbox makes its own")
    parser.add_argument("--parser", choices=["official", "lmms-eval", "vlmevalkit"], default="official")
    parser.add_argument("--tasks", nargs="+", default=list(mme.SUBSET), help="which to score [the four]")
    add_model_options(parser, max_new_tokens=16, batch_size=16)
    return parser


def run(given: argparse.Namespace) -> None:
    rows = answered(given) if given.model else list(chain.from_iterable(map(mme.read_rows_of, given.answers)))
    left_out = Counter(row.task for row in rows if row.task not in given.tasks)
    for task, count in left_out.items():
        print(f"left out: {count} questions of {task}, which is not in --tasks")
    rows = [row for row in rows if row.task in given.tasks]
    if given.limit:
        images = list(dict.fromkeys((row.task, row.image) for row in rows))[: given.limit]
        rows = [row for row in rows if (row.task, row.image) in set(images)]
    always = [mme.Row(row.task, row.image, row.question, row.label, "No") for row in rows]
    how = {"parser": given.parser, "seed": given.seed, "resamples": given.resamples}
    scores = {
        str(given.model or given.answers[0].stem): mme.score(rows, **how),
        "sham: always no": mme.score(always, **how),
    }
    result = next(iter(scores.values()))
    print("\n".join(result.lines()))
    columns = [name for name in result.values if name.endswith(("acc", "acc+"))]
    print(heading("answers", ["total", *columns]))
    for label, score in scores.items():
        row = score.markdown_row(label, columns)
        print(row.replace(f"| {label} |", f"| {label} | {score['total']:.1f} |", 1))
    result.save(given.json)


def _question(path: Any, number: int, row: Any) -> mme.Row:
    """A row of the questions' file, not yet answered."""
    task, image, question, label = (
        text_field(path, number, row, name) for name in ("task", "image", "question", "label")
    )
    return mme.Row(task, image, question, label, "")


def answered(given: argparse.Namespace) -> list[mme.Row]:
    """Put the questions to the model."""
    if given.questions:
        path = given.questions
        asked = [_question(path, number, row) for number, row in read_rows(path)]
    elif given.model == "sandbox":
        asked = sandbox_questions()
    else:
        raise InputError("MME needs questions; name their file with --questions")
    if given.limit:
        images = set(list(dict.fromkeys((row.task, row.image) for row in asked))[: given.limit])
        asked = [row for row in asked if (row.task, row.image) in images]
    shown = pictures(given, [row.image for row in asked])
    guard, settings = load(given)
    path = given.json.with_suffix(".answers.jsonl")

    def ask(batch: list[int]) -> list[dict[str, Any]]:
        rows = [asked[i] for i in batch]
        images, texts = [shown[image_key(row.image)] for row in rows], [row.question for row in rows]
        said = guard.batch(images, texts, max_new_tokens=given.max_new_tokens)
        return [{"number": i, "answer": answer.text} for i, answer in zip(batch, said, strict=True)]

    resume(path, "number", range(len(asked)), ask, given.batch_size, settings)
    said = {field(path, n, row, "number"): text_field(path, n, row, "answer") for n, row in read_rows(path)}
    return [mme.Row(row.task, row.image, row.question, row.label, said[i]) for i, row in enumerate(asked)]


def sandbox_questions() -> list[mme.Row]:
    """Existence: an object that is there, and one that is not, the most frequent of those absent."""
    from halluguard.sandbox import scenes

    samples = scenes()
    frequent = [name for name, _ in Counter(name for sample in samples for name in sample.names).most_common()]
    rows = []
    for sample in samples:
        absent = next(name for name in frequent if name not in sample.names)
        for name, label in ((sample.names[0], "yes"), (absent, "no")):
            rows.append(mme.Row("existence", str(sample.image_id), question_for(name), label, ""))
    return rows


if __name__ == "__main__":
    main(mme_options(), run)
