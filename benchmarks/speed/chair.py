"""Captions per CPU second of CHAIR, startup excluded.

    python benchmarks/speed/chair.py --captions FILE --objects OBJECTS --protocol pattern

The official script scores 200 to 250 long captions per CPU second.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from halluguard.metrics.chair import ChairScorer
from halluguard.metrics.ground_truth import read_objects
from halluguard.metrics.reading import read_captions


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captions", type=Path, required=True, help="file of captions")
    parser.add_argument("--objects", type=Path, required=True, help="JSON file, image id -> object names")
    parser.add_argument(
        "--protocol",
        choices=["pattern", "wordnet", "fixed"],
        default="pattern",
        help="rules that read object words [pattern]",
    )
    given = parser.parse_args()
    captions = list(read_captions(given.captions))
    scorer = ChairScorer(read_objects(given.objects), given.protocol)
    scorer.caption(*captions[0])  # loads the tables
    for name, resamples in (("first pass", 0), ("second pass, words known", 0), ("with 1000 resamples", 1000)):
        started = time.process_time()
        scorer.score(captions, resamples=resamples)
        spent = time.process_time() - started
        print(f"{name:<26} {len(captions) / spent:8.0f} captions per CPU second")


if __name__ == "__main__":
    main()
