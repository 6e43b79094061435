"""Measure the answers per CPU second of every scorer, as multiples of 5,000, startup excluded.

    python benchmarks/speed/scorers.py [--references FILE]

The answers are made: sentences of a few words about COCO's objects, a tenth of them with a thought. Each scorer gets
the same number of answers, without resamples. FILE holds JSON lines with references and baseline (nocaps-FOIL's). It
adds the open-vocabulary score of new captions, as a multiple of 500, which needs the extra `wordnet`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from halluguard.metrics import amber, chair, dash_b, haloquest, humblebench, mcq_pope, mme, open_vocabulary, pope
from halluguard.metrics.pope_questions import Question, ask, yes_or_no
from halluguard.metrics.vocabulary import load_vocabulary

COUNT, AIM, OPEN_AIM = 20_000, 5_000, 500
WARM = 600
"""Captions that are scored before the clock starts, so that the common words are known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--references", type=Path, help="file of nocaps-FOIL, for the open-vocabulary score")
    given = parser.parse_args()
    for name, run in scorers().items():
        print(f"{name:<24} {COUNT / seconds(run) / AIM:6.1f} x {AIM:,} answers per CPU second", flush=True)
    if given.references:
        with gzip.open(given.references, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        score_captions(rows[:WARM])
        spent = seconds(partial(score_captions, rows[WARM:]))
        print(f"{'open, new captions':<24} {(len(rows) - WARM) / spent / OPEN_AIM:6.2f} x {OPEN_AIM} captions")


def score_captions(rows: list[dict[str, list[str]]]) -> None:
    """Score captions against their references."""
    for row in rows:
        open_vocabulary.words(str(row["baseline"]), row["references"])


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def scorers() -> dict[str, Callable[[], object]]:
    """Name -> a call that scores `COUNT` answers."""
    rng = random.Random(0)
    names = load_vocabulary().categories
    chosen = [rng.choice(names) for _ in range(COUNT)]
    labels = ["yes" if i % 2 else "no" for i in range(COUNT)]
    said = [with_thought(rng, f"{rng.choice(('Yes', 'No'))}, there is a {name} in the image.") for name in chosen]
    letters = [with_thought(rng, f"The answer is {rng.choice('ABCD')}.") for _ in range(COUNT)]
    questions = [
        Question(str(i), str(i // 6), ask(name), yes_or_no(labels[i], "made")) for i, name in enumerate(chosen)
    ]
    answers = {str(i): text for i, text in enumerate(said)}
    items = [{"id": i, "type": "discriminative-hallucination", "truth": labels[i]} for i in range(COUNT)]
    captions = [(i, f"A {rng.choice(names)} is beside a {rng.choice(names)} on the table.") for i in range(COUNT)]
    scorer = chair.ChairScorer({i: [rng.choice(names)] for i in range(COUNT)}, "fixed")
    rows = range(COUNT)
    mme_rows = [mme.Row("existence", str(i // 2), "", labels[i], said[i]) for i in rows]
    dash_rows = [dash_b.Row(str(i), chosen[i], labels[i], said[i]) for i in rows]
    humble_rows = [humblebench.Row(str(i), str(i), "object", "B", letters[i]) for i in rows]
    mcq_rows = [mcq_pope.Row(str(i), str(i), "B", letters[i]) for i in rows]
    halo_rows = [haloquest.Row(str(i), str(i), "false premises", "", ("There is none.",), said[i]) for i in rows]
    calls: dict[str, Callable[[], object]] = {
        f"pope, {parser}": partial(pope.score, questions, answers, parser=parser, resamples=0)
        for parser in ("official", "modern", "vlmevalkit")
    }
    calls["mme"] = partial(mme.score, mme_rows, resamples=0)
    calls["dash-b"] = partial(dash_b.score, dash_rows, resamples=0)
    calls["humblebench"] = partial(humblebench.score, humble_rows, resamples=0)
    calls["mcq-pope"] = partial(mcq_pope.score, mcq_rows, resamples=0)
    calls["haloquest"] = partial(haloquest.score, halo_rows, resamples=0)
    calls["amber, questions"] = partial(amber.discriminative, answers, items, reading="modern", resamples=0)
    calls["chair, short captions"] = partial(scorer.score, captions, resamples=0)
    return calls


def with_thought(rng: random.Random, text: str) -> str:
    """The text, in one of ten cases behind a thought."""
    return f"<think>Is it there? No, or perhaps it is.</think>{text}" if rng.random() < 0.1 else text


if __name__ == "__main__":
    main()
