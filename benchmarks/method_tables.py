"""Write the tables of docs/papers.md from the decoding methods themselves.

    python benchmarks/method_tables.py            # rewrite the page
    python benchmarks/method_tables.py --check    # exit with 1 if the page is not up to date

Reference, presets with their sources, and cost are attributes of a method's class; the text around the tables is
written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from halluguard.decoding import METHODS, DecodingMethod

PAGE = Path(__file__).parents[1] / "docs" / "papers.md"


def costs(methods: dict[str, type[DecodingMethod]] = METHODS) -> str:
    """The table of costs: methods first, baselines after them."""
    lines = ["| method | branches | readings per token | more encodings | requires |", "|---|---|---|---|---|"]
    for name, cls in sorted(methods.items(), key=lambda item: item[1].is_baseline):
        cost = cls.cost
        lines.append(f"| {name} | {cost.branches} | {cost.readings} | {cost.encodings} | {cost.requires} |")
    return "\n".join(lines)


def presets(methods: dict[str, type[DecodingMethod]] = METHODS) -> str:
    """A section per method: its reference and its presets."""
    sections = []
    for name, cls in methods.items():
        if cls.is_baseline:
            continue
        lines = [f"### {name}\n\n{cls.reference}."]
        rows = [(preset, value) for preset, value in cls.PRESETS.items() if preset != "off"]
        if rows:
            lines.append("\n| preset | settings | source |\n|---|---|---|")
            lines += [f"| {preset} | {settings(value.settings)} | {value.source} |" for preset, value in rows]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def settings(values: Any) -> str:
    """Settings in words: "alpha 1, beta 0.1"."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


TABLES = {"costs": costs, "presets": presets}


def page(text: str) -> str:
    """The page with its tables made again."""
    for name, table in TABLES.items():
        block = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end of {name} -->)", flags=re.DOTALL)
        text = block.sub(lambda match, table=table: f"{match[1]}\n{table()}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not up to date")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    if options.check:
        sys.exit(page(text) != text)
    PAGE.write_text(page(text), encoding="utf-8")


if __name__ == "__main__":
    main()
