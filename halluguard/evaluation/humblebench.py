"""Score HumbleBench: multiple-choice questions whose right answer may be "none of the above".

    halluguard eval humblebench --answers FILE --json OUT

FILE: JSON lines, a JSON array or a table with question_id, label (A to E), type and prediction, as
maifoundations/HumbleBench writes it. The baseline that always says E, "none of the above", is printed beside the score.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice

from halluguard.evaluation.running import answers_options, answers_settings, show_scores
from halluguard.metrics import humblebench

COLUMNS = ("accuracy", *humblebench.TYPES, "none", "says_none")


def options_parser() -> argparse.ArgumentParser:
    return answers_options(__doc__, "published answers to score")


def run(given: argparse.Namespace) -> None:
    rows = list(islice(humblebench.read_file(given.answers, given.answer_key), given.limit))
    how = answers_settings(given)
    result = humblebench.score(rows, **how)
    always = humblebench.score([replace(row, answer="E") for row in rows], **how)
    show_scores(given, result, COLUMNS, {"always E": always})
