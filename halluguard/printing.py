"""Make text from outside (file names, manifests, replies of servers) safe to print on a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

REASONS = 3
"""Most reasons of skipped or failed rows that are printed, the commonest first."""
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
"""The parts that differ between two reasons of one kind: names and numbers."""


def printable(text: object) -> str:
    r"""The text on one line, with control, zero-width and direction characters written as escapes.

    Terminals obey escape sequences: a file name could clear the screen, set the window's title or hide a line.

    >>> print(printable("dog\x1b[2J\n.png"))
    dog\x1b[2J\n.png
    """
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), str(text))


def show(*lines: object, end: str = "\n", file: TextIO | None = None) -> None:
    r"""Print lines that may hold text from outside, each safe for a terminal.

    Args:
        *lines: texts of one or several lines.
        end: text printed after the last line.
        file: file to print to; default standard output.

    >>> show("score of dog\x1b[2J.jsonl\n| acc |", "| 90.0 |")
    score of dog\x1b[2J.jsonl
    | acc |
    | 90.0 |
    """
    text = "\n".join(map(str, lines))
    print("\n".join(map(printable, text.split("\n"))), end=end, file=file)


def commonest(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Kinds of reasons, commonest first: for each, its first reason and the number of its reasons.

    Two reasons are of one kind if they differ only in quoted names or numbers.

    >>> commonest(["no image for 'a.png'", "empty caption", "no image for 'b.png'"])
    [("no image for 'a.png'", 2), ('empty caption', 1)]
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = _PARTICULAR.sub("", reason)
        first.setdefault(kind, reason)
        counts[kind] += 1
    return [(first[kind], number) for kind, number in counts.most_common()]


def reason_lines(reasons: Iterable[str]) -> list[str]:
    """A line for each of the commonest reasons, safe to print.

    >>> print(*reason_lines(["no image for 'a.png'", "no image for 'b.png'", "empty"]), sep="\\n")
      2 times, such as: no image for 'a.png'
      once: empty
    """
    lines = [
        f"  once: {reason}" if number == 1 else f"  {number:,} times, such as: {reason}"
        for reason, number in commonest(reasons)
    ]
    return [printable(line) for line in lines[:REASONS]]
