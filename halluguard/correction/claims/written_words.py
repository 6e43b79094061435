"""Written words: what the answer says can be read in the image ("a sign that reads STOP", "Text: SALE").

They are claims of their own, of kind "text": an object detector cannot judge them, and the things that they name are
not claimed to be there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.lexicon import words
from halluguard.records import Claim

_READING = words("reading")
_REACH = 6
"""Tokens before the words in which something must say that they are written."""


def read(answer: ParsedAnswer, existence: Sequence[Claim] = ()) -> list[Claim]:
    """One claim per piece of text that is said to be written; `subject` is the thing that bears it, if one is near."""
    parse = answer.parse
    claims = []
    for first, last in _quotations(answer):
        start = parse.sentences[parse.sentence[first]][0]
        before = range(max(start, first - _REACH), first)
        if any(parse.words[j] in _READING for j in before):
            bearer = next((answer.heads[j] for j in reversed(before) if j in answer.heads), None)
            claims.append(_claim(parse.text, parse.starts[first], parse.ends[last], parse.sentence[first], bearer))
    for leaf in parse.leaves:
        if leaf.kind == "written":
            claims.append(_claim(parse.text, leaf.start, leaf.end, 0, None))
    return sorted(claims, key=lambda claim: claim.start)


def _quotations(answer: ParsedAnswer) -> list[tuple[int, int]]:
    """First and last token of each run of quoted words."""
    parse, runs = answer.parse, list[tuple[int, int]]()
    quoted = sorted(parse.quoted)
    starts = [parse.starts[i] for i in quoted]
    for mark in parse.document.markup if quoted and parse.document is not None else ():
        first, end = bisect_left(starts, mark.inner[0]), bisect_left(starts, mark.inner[1])
        if mark.kind == "quotation" and first < end:
            runs.append((quoted[first], quoted[end - 1]))
    return runs


def _claim(text: str, start: int, end: int, sentence: int, bearer: int | None) -> Claim:
    return Claim(
        kind="text",
        phrase=text[start:end],
        name="text",
        start=start,
        end=end,
        sentence=sentence,
        source_rule="written words",
        subject=bearer,
    )
