"""Correct the totals of a structure that lost items, rows or elements.

    "objects": ["dog", "kite"], "total": 2      two elements before, one after: "total": 1
    | Total | 6 |                               the sum of its column
    Objects detected (3):                       the number of items of the list below
    There are three animals:                    the same, in words

A number is corrected only if it was right before the deletions; other totals stay as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

from halluguard.correction.claims import counts
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.json_blocks import COUNT_KEYS

_KEY_WORDS = frozenset(
    "total num number count counts of n objects object items item things detected visible elements entities all "
    "overall detections quantity size length".split()
)
_SUM_ROW = re.compile(r"\W*(?:grand )?(?:total|sum|overall|all)\b", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\((\d{1,3})(?: (?:in total|total|items|objects))?\)")
_COUNTED = re.compile(
    r"\b(\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(?= (?:[\w-]+ ){0,3}?[\w-]+s\b|\*)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]+")


def corrected(document: Document, gone: Collection[Block]) -> Iterator[tuple[int, int, str, Block]]:
    """The numbers to change: first character, one past the last, the new words, and a block whose deletion causes it.

    Args:
        gone: the deleted blocks.
    """
    out = {id(block) for block in gone}
    queue = [document.root]
    while queue:
        block = queue.pop()
        if id(block) in out:
            continue
        queue += block.children
        if block.kind == "object":
            yield from _of_object(document.text, block, out)
        elif block.kind == "table":
            yield from _of_table(document.text, block, out)
        yield from _of_lists(document.text, block, out)


def _lost(blocks: Collection[Block], out: Collection[int]) -> Block | None:
    return next((block for block in blocks if id(block) in out), None)


def _of_object(text: str, block: Block, out: Collection[int]) -> Iterator[tuple[int, int, str, Block]]:
    """Totals beside an array of elements, or beside an object of counts."""
    totals = [member for member in block.children if _is_total(text, member, out)]
    for member in block.children if totals else ():
        elements = _elements(member)
        lost = _lost(elements, out)
        if lost is None:
            continue
        left = [element for element in elements if id(element) not in out]
        for total in totals:
            (value,) = total.children
            for before, after in ((len(elements), len(left)), (_sum(text, elements), _sum(text, left))):
                if int(text[value.start : value.end]) == before:
                    yield value.start, value.end, str(after), lost
                    break


def _is_total(text: str, member: Block, out: Collection[int]) -> bool:
    words = set(_WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member.label).lower()))
    number = len(member.children) == 1 and text[member.children[0].start : member.children[0].end].isdecimal()
    return number and bool(words) and words <= _KEY_WORDS and id(member) not in out


def _elements(member: Block) -> tuple[Block, ...]:
    """The elements of an array, or the members of an object that counts things by name."""
    if len(member.children) != 1:
        return ()
    (value,) = member.children
    by_name = value.kind == "object" and all(
        child.children and child.children[0].kind == "label" for child in value.children
    )
    return value.children if value.kind == "array" or by_name else ()


def _sum(text: str, elements: Collection[Block]) -> int:
    """The sum of the numbers that elements give for their things; one without a number counts once."""
    return sum(_amount(text, element) for element in elements)


def _amount(text: str, element: Block) -> int:
    if element.kind == "member":
        value = text[element.children[-1].start : element.children[-1].end].strip('"')
        return int(value) if value.isdecimal() else 0
    members = (child for child in element.children if child.kind == "member" and child.label.lower() in COUNT_KEYS)
    numbers = (text[member.start : member.end] for member in members)
    return next((int(number) for number in numbers if number.isdecimal()), 1)


def _of_table(text: str, table: Block, out: Collection[int]) -> Iterator[tuple[int, int, str, Block]]:
    rows = [row for row in table.children if row.kind == "row" and row.children]
    sums = [row for row in rows if _SUM_ROW.match(text, row.children[0].start, row.children[0].end)]
    others = [row for row in rows if row not in sums]
    lost = _lost(others, out)
    for row in sums if lost is not None else ():
        for column, cell in enumerate(row.children):
            cells = [(other, other.children[column]) for other in others if column < len(other.children)]
            values = [(_number(text, value), id(other) not in out) for other, value in cells]
            before = sum(value for value, _ in values)
            if before and _number(text, cell) == before:
                digits = re.search(r"\d+", text[cell.start : cell.end])
                start = cell.start + (digits.start() if digits else 0)
                after = sum(value for value, stays in values if stays)
                yield start, start + len(str(before)), str(after), lost  # type: ignore[misc]


def _number(text: str, cell: Block) -> int:
    words = text[cell.start : cell.end].strip(" *_`~")
    return int(words) if words.isdecimal() and len(words) < 6 else 0


def _of_lists(text: str, block: Block, out: Collection[int]) -> Iterator[tuple[int, int, str, Block]]:
    """The number of items in the line above a list."""
    for n, (announcing, listed) in enumerate(pairwise(block.children)):
        items = [item for item in listed.children if item.kind == "item"] if listed.kind == "list" else []
        lost, left = _lost(items, out), sum(id(item) not in out for item in items)
        if lost is not None and n + 2 < len(block.children):
            yield from _of_pairs(text, block.children[n + 2], len(items), left, lost)
        if lost is None or not left or id(announcing) in out or announcing.kind == "list":
            continue
        line = text[announcing.start : announcing.end].rstrip()
        start = announcing.start + line.rfind("\n") + 1
        yield from _of_pairs(text, announcing, len(items), left, lost)
        found = _IN_BRACKETS.search(text, start, announcing.start + len(line))
        if found is None and line.rstrip("*_ ").endswith(":") and left > 1:
            found = _COUNTED.search(text, start, announcing.start + len(line))
        if found is not None and counts.number([found[1].lower()]) == len(items):
            after = str(left) if found[1].isdecimal() else counts.spelled(left)
            yield *found.span(1), after.capitalize() if found[1][0].isupper() else after, lost


def _of_pairs(text: str, block: Block, before: int, after: int, lost: Block) -> Iterator[tuple[int, int, str, Block]]:
    """The number of items in a line "count: 3" beside the list."""
    for pair in block.children:
        words = set(_WORD.findall(pair.label.lower()))
        if pair.kind == "pair" and words and words <= _KEY_WORDS and len(pair.children) == 2:
            value = pair.children[1]
            if text[value.start : value.end] == str(before):
                yield value.start, value.end, str(after), lost
