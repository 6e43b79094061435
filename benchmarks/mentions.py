"""Precision and recall of mentions on a gold set, by style of answer; optionally the share of texts that is read.

    python benchmarks/mentions.py --texts modern_answers.jsonl.gz --gold tests/correction/gold/mentions.jsonl

The gold set holds no text: each row has the SHA-256 of one, its style, and the character spans of its mentions. A
mention is found when a claim's span overlaps it; each claim serves one mention. Claims on optional spans (general
statements, likenesses, characters, vague places) count neither for nor against.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from halluguard.correction.claims import extract_many
from halluguard.io import iter_json_lines

Span = Sequence[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="JSON lines, plain or compressed, with a field text")
    parser.add_argument("--gold", type=Path, required=True, help="file of marked spans")
    parser.add_argument("--show", action="store_true", help="print what was missed and what was added")
    args = parser.parse_args()
    texts = {hashlib.sha256(row["text"].encode()).hexdigest(): row["text"] for _, row in iter_json_lines(args.texts)}
    gold = [json.loads(line) for line in args.gold.read_text(encoding="utf-8").splitlines()]
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    claims = extract_many((texts[row["sha256"]] for row in gold), errors="yield")
    for row, of_text in zip(gold, claims, strict=True):
        text = texts[row["sha256"]]
        found = [(c.start, c.end) for c in of_text if c.kind == "existence"] if isinstance(of_text, list) else []
        hits, missed, added = compare(row["mentions"], row["optional"], found)
        for style in (row["style"], "all"):
            for n, value in enumerate((hits, len(missed), len(added))):
                counts[style][n] += value
        if args.show and (missed or added):
            print(f"{row['style']} {row['sha256'][:8]}")
            print("  missed", [_around(text, span) for span in missed])
            print("  added ", [_around(text, span) for span in added])
    print(f"{'style':12} {'mentions':>8} {'precision':>9} {'recall':>7}")
    for style, (right, too_few, too_many) in sorted(counts.items(), key=lambda item: item[0] == "all"):
        precision, recall = right / max(1, right + too_many), right / max(1, right + too_few)
        print(f"{style:12} {right + too_few:8} {precision:9.3f} {recall:7.3f}")


def compare(
    gold: Sequence[Span], optional: Sequence[Span], found: Sequence[Span]
) -> tuple[int, list[Span], list[Span]]:
    """The number of gold spans found, the gold spans missed, and the found spans that are neither gold nor optional."""
    free, missed = list(found), []
    for span in gold:
        hit = next((other for other in free if _overlap(span, other)), None)
        if hit is None:
            missed.append(span)
        else:
            free.remove(hit)
    added = [span for span in free if not any(_overlap(span, other) for other in [*optional])]
    return len(gold) - len(missed), missed, added


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _around(text: str, span: Span) -> str:
    start, end = span
    return f"{text[max(0, start - 25) : start]}<{text[start:end]}>{text[end : end + 15]}".replace("\n", "/")


if __name__ == "__main__":
    main()
