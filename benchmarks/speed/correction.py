"""Captions per CPU second of reading claims and of rewriting, memory, and detector passes per caption.

    python benchmarks/speed/correction.py --captions FILE --objects OBJECTS

Extraction is parse and rules together, after one batch to load the tables; "rules" is what is left when the parse is
args. Memory is the growth of the process while the file is read again and again. Passes are calls to the expert per
caption, here and in the way of one pass per named object.

    python benchmarks/speed/correction.py --answers FILE

compares extraction and correction with a bare spaCy pipeline on texts of any kind (JSON lines with a field text); of
each text one named thing is declared absent. The pipeline is measured whole, and with its tagger and parser alone,
which are all that extraction uses.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import spacy

from halluguard.correction import correct_many
from halluguard.correction.claims import extract_many, from_parse
from halluguard.correction.rewriting import rewrite
from halluguard.correction.text import parse_many, pipeline, read_document
from halluguard.correction.verification import verify_many
from halluguard.detectors.precomputed import KnownObjects
from halluguard.io import iter_json_lines
from halluguard.metrics.ground_truth import read_objects
from halluguard.metrics.reading import read_captions


class Counted(KnownObjects):
    """Counts the images and phrases it is asked for."""

    calls = images = 0

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> Any:
        self.calls += 1
        self.images += len(images)
        return super().detect(images, phrases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="file of captions")
    parser.add_argument("--objects", type=Path, help="JSON file, image id -> object names")
    parser.add_argument("--answers", type=Path, help="file of longer answers")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of times that the file is read for the memory line"
    )
    args = parser.parse_args()
    if args.answers:
        against_bare_spacy([row["text"] for _, row in iter_json_lines(args.answers)])
        return
    rows = list(read_captions(args.captions))
    texts, keys = [text for _, text in rows], [str(key) for key, _ in rows]
    list(extract_many(texts[:64]))

    claims: list[Any] = []
    seconds = spent(lambda: claims.extend(extract_many(texts)))
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(f"extraction           {len(texts) / seconds:8.0f} captions per CPU second ({words:.0f} words each)")
    parses = list(parse_many(texts))
    print(f"  rules alone        {len(texts) / spent(lambda: [from_parse(p) for p in parses]):8.0f}")
    expert = Counted(read_objects(args.objects))
    verdicts: list[Any] = []
    seconds = spent(lambda: verdicts.extend(verify_many(claims, keys, expert)))
    print(f"verdicts             {len(texts) / seconds:8.0f} (known objects)")
    work = list(zip(texts, claims, verdicts, parses, strict=True))
    seconds = spent(lambda: [rewrite(t, c, v, parse=p) for t, c, v, p in work])
    print(f"rewriting            {len(texts) / seconds:8.0f}")

    named = sum(len({c.name for c in of_text if c.kind == "existence"}) for of_text in claims)
    print(f"passes per caption   {expert.images / len(texts):8.2f} ({expert.calls} calls of the expert)")
    print(f"  one per object     {named / len(texts):8.2f}")

    before = peak()
    for _ in range(args.rounds):
        for _ in extract_many(texts):
            pass
    grown = peak() - before
    print(f"memory               {grown:8.1f} MiB more at the peak after {args.rounds * len(texts)} further captions")


def against_bare_spacy(texts: Sequence[str]) -> None:
    """Print texts per CPU second of spaCy with all its components and with two, of extraction and of correction."""
    name = pipeline().meta["lang"] + "_" + pipeline().meta["name"]
    bare, lean = spacy.load(name), spacy.load(name, exclude=["ner", "lemmatizer", "attribute_ruler"])
    for language in (bare, lean):
        list(language.pipe(texts[:8]))
    found_in = list(zip(texts, extract_many(texts, errors="yield"), strict=True))
    texts = [text for text, found in found_in if isinstance(found, list)]  # others are in languages that are not read
    claims = [found for _, found in found_in if isinstance(found, list)]
    named = [sorted({c.name for c in found if c.kind == "existence"}) for found in claims]
    known = sorted(set(chain.from_iterable(named)))
    expert = KnownObjects({str(n): names[1:] for n, names in enumerate(named)}, vocabulary=known)
    read_document.cache_clear()
    seconds = {
        "bare spaCy": spent(lambda: list(bare.pipe(texts, batch_size=64))),
        "tagger and parser": spent(lambda: list(lean.pipe(texts, batch_size=64))),
        "extraction": spent(lambda: list(extract_many(texts, errors="yield"))),
        "correction": spent(lambda: list(correct_many(texts, map(str, range(len(texts))), expert))),
    }
    for name, taken in seconds.items():
        share = seconds["bare spaCy"] / taken
        print(f"{name:17} {len(texts) / taken:8.1f} texts per CPU second, {share:.2f} of bare spaCy")


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak() -> float:
    """Peak resident memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
