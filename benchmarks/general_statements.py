"""General statements that must carry no claim, and statements of the image that must keep theirs, by kind.

    python benchmarks/general_statements.py --gold tests/correction/gold/general.tsv

Each row of the file is a sentence with the things it names. Of a general statement, an instruction or a story, none of
them may be read as claimed: no mention, or one that the text does not say is there. Of a statement of the image all of
them must be read as claimed.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from halluguard.correction.claims import extract_many
from halluguard.records import Claim

OF_THE_IMAGE = "of the image"
_NOT_CLAIMED = ("irrealis", "question", "depicted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="tab-separated: kind, sentence, names, set")
    parser.add_argument("--show", action="store_true", help="print the sentences that are read wrongly")
    args = parser.parse_args()
    total, right = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    rows = read(args.gold)
    for row, claims in zip(rows, extract_many(row["sentence"] for row in rows), strict=True):
        assert isinstance(claims, list)
        key = row["set"], row["kind"]
        wrong = misread(row["kind"], row["names"].split(), claims)
        total[key] += 1
        right[key] += not wrong
        if args.show and wrong:
            print(f"{row['kind']}: {row['sentence']} {wrong}")
    for key, count in total.items():
        print(f"{key[0]:12} {key[1]:24} {right[key]:4} of {count}")
    for name in dict.fromkeys(key[0] for key in total):
        for image in (False, True):
            keys = [key for key in total if key[0] == name and (key[1] == OF_THE_IMAGE) == image]
            said = "of the image, claimed" if image else "general, not claimed"
            print(f"{name:12} {said:24} {sum(right[k] for k in keys):4} of {sum(total[k] for k in keys)}")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def misread(kind: str, names: Iterable[str], claims: Iterable[Claim]) -> list[str]:
    """The names that are claimed where they must not be, or not claimed where they must be."""
    claimed = {
        claim.name
        for claim in claims
        if claim.kind == "existence" and claim.polarity == "asserted" and claim.modality not in _NOT_CLAIMED
    }
    found = claimed | {name.split()[-1] for name in claimed}
    return [name for name in names if (name.replace("_", " ") in found) != (kind == OF_THE_IMAGE)]


if __name__ == "__main__":
    main()
