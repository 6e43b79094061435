"""Score DASH-B: yes/no questions on images that make models see an object that is not there.

    halluguard eval dash-b --answers FILE --json OUT

FILE: the answers that YanNeu/DASH-B writes (img_id, object_name, gt, response), as a JSON array, JSON lines or a table.
The baselines that always say yes or always say no are printed beside the score.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice

from halluguard.evaluation.running import answers_options, answers_settings, show_scores
from halluguard.metrics import dash_b

COLUMNS = ("acc", "TNR", "TPR", "harmonic_mean")


def options_parser() -> argparse.ArgumentParser:
    parser = answers_options(__doc__, "published answers to score")
    parser.add_argument("--parser", choices=["official", "modern"], default="official", help="rule that reads answers")
    return parser


def run(given: argparse.Namespace) -> None:
    rows = list(islice(dash_b.read_file(given.answers, given.answer_key), given.limit))
    how = answers_settings(given)
    result = dash_b.score(rows, parser=given.parser, **how)
    always = {}
    for word in ("yes", "no"):
        constant = [replace(row, answer=word) for row in rows]
        always[f"always {word}"] = dash_b.score(constant, parser=given.parser, **how)
    show_scores(given, result, COLUMNS, always)
