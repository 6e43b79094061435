"""Score HaloQuest: questions with a false premise, about details that are hard to see, or about missing details.

    halluguard eval haloquest --answers FILE --json OUT

FILE: google/haloquest's haloquest-eval.csv with a column of answers (prediction, response, ...), or the same rows as
JSON lines. Only the part that needs no judge is scored; `halluguard.metrics.haloquest.score` takes a judge of yours.
The baseline that always denies is printed beside the score.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice

from halluguard.evaluation.running import answers_options, answers_settings, show_scores
from halluguard.metrics import haloquest

COLUMNS = ("exact", *(f"exact.{kind}" for kind in haloquest.TYPES.values()), "denied")


def options_parser() -> argparse.ArgumentParser:
    return answers_options(__doc__, "haloquest-eval.csv with a column of answers")


def run(given: argparse.Namespace) -> None:
    rows = list(islice(haloquest.read_file(given.answers, given.answer_key), given.limit))
    how = answers_settings(given)
    result = haloquest.score(rows, **how)
    always = haloquest.score([replace(row, answer="There is no such thing in the image.") for row in rows], **how)
    show_scores(given, result, COLUMNS, {"always denies": always})
