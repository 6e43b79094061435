"""Compare extracted claims with the object facts of FaithScore's human annotation: recall, precision and F1.

    python benchmarks/faithscore.py --facts faithscore.jsonl.gz --half second

People wrote down the atomic facts of answers of MLLMs (Jing et al. 2024, github:bcdnlp/FAITHSCORE; not shipped). An
object fact says "There is a car.", "There are two cows."; its object is the noun. Facts on "something" or "an object"
name none and are left out, as are answers without an object fact. Facts and claims are sets per answer: a car that is
named three times counts once.

    recall      share of the objects of facts that a claim of the answer names
    precision   share of the claimed objects that a fact names
    f1          2 found / (objects of facts + claimed objects), with found counted from both sides

A name matches the same thing, a kind of it or a wider word (`vocabulary.related`), and "body of water" matches either
noun. Images are halved by the order of their ids, so that rules can be mended on one half
and measured on the other. Intervals are over images.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from halluguard.correction.claims import extract_many
from halluguard.io import iter_json_lines
from halluguard.metrics.stats import clustered_share
from halluguard.vocabulary import normal, related, singular

_FACT = re.compile(
    r"There (?:is|are) (?:(?:a|an|the|some|one|two|three|four|five|several|many|multiple|other|another|at least|\d+) )*"
    r"(?P<thing>[^.(]+)",
    re.IGNORECASE,
)
_TAIL = re.compile(r" (?:on|in|at|with|near|visible|that|which|next|behind|and|to|around)\b.*")
_NO_THING = frozenset("something object item thing anything someone nothing".split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, required=True, help="file of annotated atomic facts")
    parser.add_argument(
        "--half", choices=("first", "second", "both"), default="both", help="half of the answers to score [both]"
    )
    parser.add_argument("--show", action="store_true", help="print what was missed and what was added")
    args = parser.parse_args()
    rows = [row for _, row in iter_json_lines(args.facts)]
    images = sorted({row["id"] for row in rows})
    halves = {"first": images[::2], "second": images[1::2], "both": images}
    rows = [row for row in rows if row["id"] in halves[args.half] and any(things(row["stage 2"]))]
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row, claims in zip(rows, extract_many(row["answer"] for row in rows), strict=True):
        assert isinstance(claims, list)
        facts = sorted(set(things(row["stage 2"])))
        names = sorted({c.name for c in claims if c.kind == "existence" and c.polarity == "asserted"})
        missed = [fact for fact in facts if not any(matches(fact, name) for name in names)]
        added = [name for name in names if not any(matches(fact, name) for fact in facts)]
        sums = (len(facts) - len(missed), len(facts), len(names) - len(added), len(names))
        counts[row["id"]] = [a + b for a, b in zip(counts[row["id"]], sums, strict=True)]
        if args.show and (missed or added):
            print(row["id"], "missed", missed, "added", added)
    report(counts, len(rows))


def report(counts: Mapping[str, Sequence[int]], answers: int) -> None:
    """Print the rates over images."""
    found, facts, right, claims = zip(*counts.values(), strict=True)
    both = [a + b for a, b in zip(found, right, strict=True)], [a + b for a, b in zip(facts, claims, strict=True)]
    print(f"{answers} answers on {len(counts)} images, {sum(facts)} objects of facts, {sum(claims)} claimed objects")
    for name, hits, trials in (("recall", found, facts), ("precision", right, claims), ("f1", *both)):
        value, low, high = clustered_share(hits, trials)
        print(f"{name:10} {value:.3f}  {low:.3f} to {high:.3f}")


def things(facts: Sequence[str]) -> Iterator[str]:
    """The noun phrases of the object facts, without articles and numbers."""
    for fact in facts:
        match = _FACT.match(fact)
        thing = _TAIL.sub("", match["thing"].strip().lower()) if match else ""
        if thing and singular(thing.split()[-1]) not in _NO_THING:
            yield thing


def matches(fact: str, name: str) -> bool:
    """Whether a claimed name is what a fact speaks of."""
    nouns = [part for part in fact.split(" of ") if part]
    for noun in [fact, *nouns]:
        last = singular(noun.split()[-1])
        if last == name.split()[-1] or related(name, normal(noun)) or related(name, last):
            return True
    return False


if __name__ == "__main__":
    main()
