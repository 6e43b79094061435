"""A sheet of corrected answers for a person to read, with some of the objects they name declared absent.

    python benchmarks/corrected_texts.py --texts modern_answers.jsonl.gz --round 0 --each 5 --out sheet.md

    python benchmarks/corrected_texts.py --texts modern_answers.jsonl.gz --gold GOLD --out sheet.md

With `--gold`, the texts of a gold set are taken, in its order. Otherwise, of each style of answer, `--each` texts are
taken in an order that `--seed` shuffles; the next round takes the next ones, so that no round shows a text of an
earlier one until a style has none left. Then it begins again with other
objects. Of each text one or two named objects are drawn and declared absent, with all words for the same thing; the
detector knows all others to be there. Texts are named by the first ten digits of their SHA-256. The sheet shows the
draft, what was declared absent, and every edit in place: [-cut-], {+added+}, <flagged>. A summary on standard output
gives the share of texts per style that were edited, only flagged, or left alone because nothing was read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from halluguard.correction import Style, correct_many
from halluguard.correction.claims import extract_many
from halluguard.correction.text import read_document
from halluguard.correction.verification.evidence import why_not_asked
from halluguard.detectors.precomputed import KnownObjects
from halluguard.io import iter_json_lines
from halluguard.records import Answer, Claim
from halluguard.vocabulary import related

STYLES = ("paragraph", "short", "markdown", "people", "catalogue", "thinking", "structured", "screens")
_SCREEN = re.compile(
    r"\b(screenshot|meme|chart|graph|diagram|web ?page|website|app|dialog|infographic|form|receipt|logo|"
    r"text in the image|social media|instagram|poster|label|interface|slide|spreadsheet)\b",
    re.I,
)
_PEOPLE = re.compile(
    r"\b(painting|illustration|drawing|artwork|artist|sculpture|statue|portrait|character|anime|people|men|women|person|"
    r"individuals?|soldiers?|man|woman|boy|girl|child|children|he|she)\b",
    re.I,
)
_CATALOGUE = re.compile(r"^\W*(title|keywords|description)\W*:", re.I | re.M)
_MARKDOWN = re.compile(r"^\s*(#{1,6} |[-*•] |\d+[.)] |\|)|\*\*", re.M)
_SHORT = 300


@dataclass(frozen=True)
class Case:
    """One text with what is declared absent.

    Args:
        name: first ten digits of the text's SHA-256.
        absent: names drawn, with all other names in the text for the same things.
        present: the other names in the text.
    """

    name: str
    style: str
    text: str
    drawn: tuple[str, ...]
    absent: frozenset[str]
    present: frozenset[str]


def style_of(text: str) -> str:
    """The style of an answer, by its form first and by its words where the form says nothing."""
    kinds = Counter(block.kind for block in read_document(text).root.children)
    words = sum(block.end - block.start for block in read_document(text).root.children if block.kind == "thinking")
    if words > _SHORT:
        return "thinking"
    if kinds["object"] or kinds["array"] or kinds["keywords"] or "```" in text:
        return "structured"
    if _CATALOGUE.search(text):
        return "catalogue"
    if _MARKDOWN.search(text):
        return "markdown"
    if len(text) < _SHORT:
        return "short"
    if _SCREEN.search(text):
        return "screens"
    return "people" if _PEOPLE.search(text) else "paragraph"


def draw(text: str, claims: Sequence[Claim], seed: str) -> Case | None:
    """One or two of the named objects; None where the text names none."""
    name, rng = hashlib.sha256(text.encode()).hexdigest()[:10], random.Random(seed)
    existing = [claim for claim in claims if claim.kind == "existence"]
    judged = [claim for claim in existing if (claim.polarity, claim.modality) == ("asserted", "asserted")]
    asserted = sorted({claim.name for claim in judged if not why_not_asked(claim)})
    if not asserted:
        return None
    drawn = rng.sample(asserted, min(len(asserted), rng.choice((1, 1, 2))))
    named = {claim.name for claim in existing}
    absent = frozenset(name for name in named if any(_same_thing(name, other) for other in drawn))
    present = {claim.name for claim in existing if claim.polarity == "asserted"} - absent
    return Case(name, style_of(text), text, tuple(drawn), absent, frozenset(present))


def _same_thing(name: str, absent: str) -> bool:
    """Whether a name may stand for a thing that is absent: it, a kind of it, or its last word."""
    return name.split()[-1] == absent.split()[-1] or related(absent, name) in ("same", "kind")


def corrected(cases: Sequence[Case], style: Style) -> list[Answer]:
    """The corrected answers; the detector of each knows what is there, and no other names than the text's."""
    answers: list[Answer] = []
    for case in cases:
        known = KnownObjects({0: sorted(case.present)}, vocabulary=case.absent | case.present)
        answers += correct_many([case.text], [0], known, style=style)
    return answers


def in_place(answer: Answer) -> str:
    """The draft with every edit marked in it."""
    pieces, at = [], 0
    for edit in answer.edits:
        pieces.append(answer.draft[at : edit.start])
        if edit.decision == "flagged":
            pieces.append(f"<{edit.before}>")
        else:
            pieces += [f"[-{edit.before}-]" if edit.before else "", f"{{+{edit.after}+}}" if edit.after else ""]
        at = edit.end
    return "".join([*pieces, answer.draft[at:]])


def chosen(texts: Sequence[str], round_: int, each: int, seed: int) -> list[Case]:
    """The cases of one round, style by style."""
    pools: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        pools[style_of(text)].append(text)
    picked: list[tuple[str, str]] = []
    for style in STYLES:
        pool = sorted(pools[style])
        random.Random(f"{seed}/{style}").shuffle(pool)
        for n in range(round_ * each, (round_ + 1) * each):
            turn, place = divmod(n, len(pool))
            picked.append((pool[place], f"{seed}/{turn}/{hashlib.sha256(pool[place].encode()).hexdigest()}"))
    claims = extract_many((text for text, _ in picked), errors="yield")
    read = zip(picked, claims, strict=True)
    cases = (draw(text, found, draw_seed) for (text, draw_seed), found in read if isinstance(found, list))
    return [case for case in cases if case is not None]


def of_gold(texts: Sequence[str], gold: Path, seed: int) -> list[Case]:
    """The cases of a gold set, in its order, with the styles it names."""
    by_hash = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
    rows = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()]
    claims = extract_many((by_hash[row["sha256"]] for row in rows), errors="yield")
    read = ((row, found) for row, found in zip(rows, claims, strict=True) if isinstance(found, list))
    drawn = ((row, draw(by_hash[row["sha256"]], found, f"{seed}/{row['sha256']}")) for row, found in read)
    return [replace(case, style=row["style"]) for row, case in drawn if case is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="JSON lines, plain or compressed, with a field text")
    parser.add_argument("--gold", type=Path, help="gold set whose texts are used in place of a round")
    parser.add_argument("--round", type=int, default=0, help="index of the round, from 0; each round has other texts")
    parser.add_argument("--each", type=int, default=5, help="number of texts per style")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of texts and of the draws [0]")
    parser.add_argument(
        "--style", choices=("delete", "drop"), default="delete", help="style of the corrections [delete]"
    )
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    texts = list(dict.fromkeys(row["text"] for _, row in iter_json_lines(args.texts)))
    if args.gold is not None:
        cases = of_gold(texts, args.gold, args.seed)
    else:
        cases = chosen(texts, args.round, args.each, args.seed)
    shares: dict[str, Counter[str]] = defaultdict(Counter)
    with args.out.open("w", encoding="utf-8") as sheet:
        for case, answer in zip(cases, corrected(cases, args.style), strict=True):
            flagged = sum(edit.decision == "flagged" for edit in answer.edits)
            outcome = "edited" if answer.text != answer.draft else "flagged" if flagged else "unchanged"
            shares[case.style].update([outcome, *["with a flag"] * bool(flagged)])
            sheet.write(f"## {case.name} {case.style}: {', '.join(case.drawn)} ({outcome})\n\n{in_place(answer)}\n\n")
            for edit in answer.edits:
                if edit.decision == "flagged":
                    sheet.write(f"<{edit.before}>: {edit.reason}\n\n")
    for style, counts in shares.items():
        print(f"{style:12}", ", ".join(f"{kind} {many}" for kind, many in sorted(counts.items())))


if __name__ == "__main__":
    main()
