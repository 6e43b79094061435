"""Compare the objects that an audit flags with those that the official CHAIR code flags, on published captions.

    python benchmarks/audit_chair.py captions.jsonl --objects objects.json.gz --official chair.json

The captions file has one {"image_id": 226988, "caption": "The image features a woman sitting ..."} per line. The
official list has, per caption, the hallucinated mentions as [surface word, COCO category]. The audit flags existence
claims that are asserted, contradicted, and fall under a COCO category. Mentions count how often a category is flagged
in a caption, objects whether it is.

Official code: https://github.com/LisaAnne/Hallucination (utils/chair.py). Both sides use the same ground truth, so
the difference is how words are read. CHAIR looks words up. The audit reads sentences: it passes over objects that are
denied, asked about, depicted ("a cow statue") or part of a name ("train station"), and knows words that are not in
CHAIR's list.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from halluguard.auditing import audit
from halluguard.auditing.run_folder import read_parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("captions", type=Path, help="captions, as JSON Lines or a JSON array")
    parser.add_argument("--objects", type=Path, required=True, help="JSON, plain or gzipped: image id -> object names")
    parser.add_argument("--official", type=Path, required=True, help="JSON of the official code's list per caption")
    parser.add_argument("--show", type=int, default=0, help="number of disagreements to print")
    args = parser.parse_args()

    official = json.loads(args.official.read_text(encoding="utf-8"))["files"][args.captions.name]["per_caption"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        summary = audit(args.captions, Path(folder), detector=f"objects:{args.objects}")
        rows = list(read_parts(Path(folder)))
    seconds = time.perf_counter() - started
    ours = [flagged(row) for row in rows]
    theirs = [Counter(node for _, node in hallucinated) for _, _, hallucinated in official]
    result = {
        "captions": summary["rows"],
        "skipped": summary["skipped"],
        "seconds": round(seconds, 1),
        "mentions": agreement(ours, theirs),
        "objects": agreement([Counter(set(c)) for c in ours], [Counter(set(c)) for c in theirs]),
    }
    print(json.dumps(result, indent=2))
    different = [case for case in zip(rows, ours, theirs, strict=True) if set(case[1]) != set(case[2])]
    for row, mine, yours in different[: args.show]:
        print(f"\nonly here {sorted(mine - yours)}, only there {sorted(yours - mine)}\n{row['caption']}")


def flagged(row: dict[str, Any]) -> Counter[str]:
    """Number of times that each COCO category is flagged in one caption."""
    counts: Counter[str] = Counter()
    for verdict in row["verdicts"]:
        claim = row["claims"][verdict["claim"]]
        asserted = claim.get("polarity", "asserted") == "asserted"
        if claim["kind"] == "existence" and verdict["decision"] == "contradicted" and asserted and "category" in claim:
            counts[claim["category"]] += 1
    return counts


def agreement(ours: list[Counter[str]], theirs: list[Counter[str]]) -> dict[str, Any]:
    """Precision and recall of the audit's flags, with the official ones as the truth."""
    both = sum((a & b).total() for a, b in zip(ours, theirs, strict=True))
    mine, yours = sum(c.total() for c in ours), sum(c.total() for c in theirs)
    return {
        "flagged": mine,
        "official": yours,
        "both": both,
        "precision": round(both / mine, 4) if mine else None,
        "recall": round(both / yours, 4) if yours else None,
    }


if __name__ == "__main__":
    main()
