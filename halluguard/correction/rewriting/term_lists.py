"""Repair the "and" and the capital of a list of terms after deletions: "Pipes, fittings, and insulation"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from halluguard.correction.rewriting.token_editor import Span
from halluguard.correction.text.document import Block

_JOINT = re.compile(r"(and|or)\s+", re.I)
_JOINT_BETWEEN = re.compile(r",?\s+(and|or)\s+$", re.I)


def mended(text: str, terms: Sequence[Block], gone: Iterable[Block], why: frozenset[int]) -> Iterator[Span]:
    """The edits of commas, "and" and capitals between the terms that stay.

    Args:
        terms: all terms of one list, in reading order.
        gone: the deleted terms.
        why: the verdicts that cause the edits.
    """
    out = {id(block) for block in gone}
    left = [term for term in terms if id(term) not in out]
    if not left or len(left) == len(terms):
        return
    joint = _JOINT.match(text, terms[-1].start)
    if joint is None and len(terms) > 2 and len(left) == 2 and left[-1] is terms[-1] and left[-2] is terms[-2]:
        between = _JOINT_BETWEEN.search(text, terms[-2].outer[1], terms[-1].start)
        if between is not None:
            yield Span(between.start(), between.end(), f" {between[1]} ", why)
    if joint is not None and len(terms) > 1:
        yield from _last_joint(text, terms, left, joint, why)
    first, begins = terms[0], left[0].start
    sentence_like = text[first.start].isupper() and all(text[term.start].islower() for term in terms[1:])
    opens_with_joint = left[0] is terms[-1] and joint is not None
    if sentence_like and left[0] is not first and not opens_with_joint:
        yield Span(begins, begins + 1, text[begins].upper(), why)


def _last_joint(
    text: str, terms: Sequence[Block], left: Sequence[Block], joint: re.Match[str], why: frozenset[int]
) -> Iterator[Span]:
    """The "and" before the last term that stays, with a comma before it where there are three or more."""
    last, stays = left[-1], left[-1] is terms[-1]
    if len(left) == 1:
        if stays:
            yield Span(last.start, joint.end(), "", why)
        return
    if stays and len(left) > 2:
        return
    comma = "," if len(left) > 2 and text[terms[-2].outer[1] : terms[-1].start].strip() else ""
    word = last.start if not stays else joint.end()
    if left[-2] is terms[terms.index(last) - 1]:  # nothing between them is deleted
        yield Span(left[-2].outer[1], word, f"{comma} {joint[1]} ", why)
