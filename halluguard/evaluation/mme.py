"""Score MME's hallucination subset: existence, count, position, color.

    halluguard eval mme --answers FILE [FILE ...] --json OUT
    halluguard eval mme --model sandbox --json OUT
    halluguard eval mme --model NAME --images FOLDER --questions FILE --json OUT

Answers: the eval tool's existence.txt, count.txt, ... (image, question, label and answer between tabs), or JSON lines
with task, image, question, label and answer, a sample log of lmms-eval, or a table of VLMEvalKit (.xlsx with the extra
xlsx, .tsv). Scoring needs no torch. Questions: the same JSON lines without answers.
The sandbox has questions about existence only. Tasks other than --tasks are left out, with a message.
A model's answers are kept beside OUT; run the command again to resume.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from halluguard.errors import InputError
from halluguard.evaluation import running
from halluguard.metrics import mme
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope import ask as question_for
from halluguard.metrics.reading import field, read_rows, text_field
from halluguard.metrics.score import JsonObject
from halluguard.printing import show


def options_parser() -> argparse.ArgumentParser:
    parser, source = running.options(__doc__, None)
    source.add_argument("--answers", type=Path, nargs="+", help="published answers to score, without a model")
    parser.add_argument("--questions", type=Path, help="questions for the model; not needed for the sandbox")
    parser.add_argument(
        "--parser", choices=list(mme.PARSERS), default="official", help="rule that reads answers [official]"
    )
    running.add_answer_options(parser)
    parser.add_argument(
        "--tasks", nargs="+", default=list(mme.SUBSET), help="tasks to score [existence, count, position, color]"
    )
    running.add_model_options(parser, max_new_tokens=16, batch_size=16)
    return parser


def run(given: argparse.Namespace) -> None:
    rows = (
        answered(given)
        if given.model
        else [row for path in given.answers for row in mme.read_rows_of(path, answer_key=given.answer_key)]
    )
    left_out = Counter(row.task for row in rows if row.task not in given.tasks)
    for task, count in left_out.items():
        show(f"left out: {count} questions of {task}, which is not in --tasks")
    rows = [row for row in rows if row.task in given.tasks]
    if given.limit:
        images = list(dict.fromkeys((row.task, row.image) for row in rows))[: given.limit]
        rows = [row for row in rows if (row.task, row.image) in set(images)]
    always = [mme.Row(row.task, row.image, row.question, row.label, "No") for row in rows]
    how = {"parser": given.parser, "forms": given.forms, "seed": given.seed, "resamples": given.resamples}
    scores = {
        str(given.model or given.answers[0].stem): mme.score(rows, **how),
        "baseline: always no": mme.score(always, **how),
    }
    result = next(iter(scores.values()))
    show("\n".join(result.lines()))
    columns = [name for name in result.values if name.endswith(("acc", "acc+"))]
    show(running.heading("answers", ["total", *columns]))
    for label, score in scores.items():
        row = score.markdown_row(label, columns)
        show(row.replace(f"| {label} |", f"| {label} | {score['total']:.1f} |", 1))
    result.save(given.json)


def _question(path: Path, number: int, row: JsonObject) -> mme.Row:
    """A row of the question file, without an answer."""
    task, image, question, label = (
        text_field(path, number, row, name) for name in ("task", "image", "question", "label")
    )
    return mme.Row(task, image, question, label, "")


def answered(given: argparse.Namespace) -> list[mme.Row]:
    """The questions with the model's answers."""
    if given.questions:
        path = given.questions
        questions = [_question(path, number, row) for number, row in read_rows(path)]
    elif given.model == "sandbox":
        questions = sandbox_questions()
    else:
        raise InputError("MME needs questions; name their file with --questions")
    if given.limit:
        images = set(list(dict.fromkeys((row.task, row.image) for row in questions))[: given.limit])
        questions = [row for row in questions if (row.task, row.image) in images]
    files = running.load_images(given, [row.image for row in questions])
    guard, settings = running.load(given)
    path = given.json.with_suffix(".answers.jsonl")

    def ask(batch: list[int]) -> list[JsonObject]:
        rows = [questions[i] for i in batch]
        images, texts = [files[image_key(row.image)] for row in rows], [row.question for row in rows]
        replies = guard.batch(images, texts, max_new_tokens=given.max_new_tokens)
        return [{"number": i, "answer": answer.text} for i, answer in zip(batch, replies, strict=True)]

    running.resume(path, "number", range(len(questions)), ask, given.batch_size, settings)
    answers = {field(path, n, row, "number"): text_field(path, n, row, "answer") for n, row in read_rows(path)}
    return [mme.Row(row.task, row.image, row.question, row.label, answers[i]) for i, row in enumerate(questions)]


def sandbox_questions() -> list[mme.Row]:
    """Two questions about existence per scene: an object in it, and the most frequent object that is not in it."""
    from halluguard.sandbox import scenes

    samples = scenes()
    frequent = [name for name, _ in Counter(name for sample in samples for name in sample.names).most_common()]
    rows = []
    for sample in samples:
        absent = next(name for name in frequent if name not in sample.names)
        for name, label in ((sample.names[0], "yes"), (absent, "no")):
            rows.append(mme.Row("existence", str(sample.image_id), question_for(name), label, ""))
    return rows
