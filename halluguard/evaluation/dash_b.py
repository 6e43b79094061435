"""Score DASH-B: yes/no questions on images that make models see an object that is not there.

    halluguard eval dash-b --answers FILE --json OUT

FILE: the answers that YanNeu/DASH-B writes (img_id, object_name, gt, response), as a JSON array, JSON lines or a table.
The baselines that always say yes or always say no are printed beside the score.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

from halluguard.evaluation.running import add_forms_option, heading, scoring_options
from halluguard.metrics import dash_b
from halluguard.printing import show

COLUMNS = ("acc", "TNR", "TPR", "harmonic_mean")


def options_parser() -> argparse.ArgumentParser:
    parser = scoring_options(__doc__)
    parser.add_argument("--answers", type=Path, required=True, help="published answers to score")
    parser.add_argument("--parser", choices=["official", "modern"], default="official", help="how answers are read")
    add_forms_option(parser)
    return parser


def run(given: argparse.Namespace) -> None:
    rows = list(islice(dash_b.read_file(given.answers), given.limit))
    how = {"parser": given.parser, "forms": given.forms, "seed": given.seed, "resamples": given.resamples}
    result = dash_b.score(rows, **how)
    show("\n".join(result.lines()))
    show(heading("answers", COLUMNS))
    show(result.markdown_row(given.answers.name, COLUMNS))
    for said in ("Yes", "No"):
        always = dash_b.score([replace(row, answer=said) for row in rows], **how)
        show(always.markdown_row(f"baseline: always {said.lower()}", COLUMNS))
    result.save(given.json)
