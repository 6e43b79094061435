"""Score MCQ-POPE: POPE's objects as multiple choice with four letters.

    halluguard eval mcq-pope --answers FILE --json OUT

FILE: JSON lines, a JSON array or a table with question_id, label (A to D) and the answer, and image, kind ("present" or
"absent") and options if there are any. `halluguard.metrics.mcq_pope.build_questions` makes the questions from a file of
POPE. The baseline that always says the most frequent letter is printed beside the score.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from itertools import islice

from halluguard.evaluation.running import answers_options, answers_settings, show_scores
from halluguard.metrics import mcq_pope

COLUMNS = ("accuracy", "macro_f1", *mcq_pope.KINDS)


def options_parser() -> argparse.ArgumentParser:
    return answers_options(__doc__, "answers to score")


def run(given: argparse.Namespace) -> None:
    rows = list(islice(mcq_pope.read_file(given.answers, given.answer_key), given.limit))
    how = answers_settings(given)
    result = mcq_pope.score(rows, **how)
    letter = min(Counter(row.label for row in rows).items(), key=lambda item: (-item[1], item[0]))[0]
    always = mcq_pope.score([replace(row, answer=letter) for row in rows], **how)
    show_scores(given, result, COLUMNS, {f"always {letter}": always})
