"""Written words: what the answer says can be read in the image ("a sign that reads STOP", "Text: SALE", "number 23").

They are claims of their own, of kind "text": an object detector cannot judge them, and the things that they name are
not claimed to be there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim

_READING = words("reading")
_SHOWING = frozenset("reads read reading says say saying spells spelling labeled labelled marked titled states".split())
"""Words after which capitals are a quotation without quotation marks."""
_REACH = 6
"""Tokens before the words in which something must say that they are written."""


def read(answer: ParsedAnswer, existence: Sequence[Claim] = ()) -> list[Claim]:
    """One claim per piece of text that is said to be written; `subject` is the thing that bears it, if one is near."""
    parse = answer.parse
    claims: dict[int, Claim] = {}
    for first, last in _quotations(answer):
        before = _before(parse, first)
        if any(parse.words[j] in _READING for j in before):
            bearer = next((answer.heads[j] for j in reversed(before) if j in answer.heads), None)
            claims[first] = _claim(answer, first, last, bearer)
    for first, last, bearer in [*_capitals(answer), *_numbers(answer)]:
        if not parse.quoted.intersection(range(first, last + 1)):
            claims.setdefault(first, _claim(answer, first, last, bearer))
    written = [_of_span(parse.text, leaf.start, leaf.end) for leaf in parse.leaves if leaf.kind == "written"]
    return sorted([*claims.values(), *written], key=lambda claim: claim.start)


def _before(parse: Parse, token: int) -> range:
    """The tokens before a token in its sentence; one of them must say that words are written."""
    return range(max(parse.sentences[parse.sentence[token]][0], token - _REACH), token)


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


def _capitals(answer: ParsedAnswer) -> Iterator[tuple[int, int, int | None]]:
    """(first, last, bearer) of words in capitals after a verb of reading: "a sign that reads NO PARKING".

    A person who reads is not the bearer: "a man reads USA Today".
    """
    parse = answer.parse
    for verb, word in enumerate(parse.words):
        if word not in _SHOWING:
            continue
        first = verb + 1
        while first < len(parse) and parse.words[first] in (":", ","):
            first += 1
        last = first
        while last < len(parse) and _in_capitals(parse, last) and parse.sentence[last] == parse.sentence[verb]:
            last += 1
        if last == first:
            continue
        before = _before(parse, verb)
        bearer = next((answer.heads[j] for j in reversed(before) if j in answer.heads), None)
        if bearer is None or answer.mentions[bearer].category != "person":
            yield first, last - 1, bearer


def _in_capitals(parse: Parse, token: int) -> bool:
    word = parse.span(token, token)
    return parse.block[token] not in parse.folded and any(ch.isalnum() for ch in word) and word == word.upper()


def _numbers(answer: ParsedAnswer) -> Iterator[tuple[int, int, int | None]]:
    """(token, token, bearer) of numbers that are read, not counted: "the number 23 on his jersey"."""
    parse = answer.parse
    for at, word in enumerate(parse.words):
        named = (
            at > 0
            and parse.words[at - 1] in ("number", "numbers", "#")
            and parse.sentence[at - 1] == parse.sentence[at]
        )
        if named and any(ch.isdigit() for ch in word):
            end = parse.sentences[parse.sentence[at]][1]
            near = [*reversed(_before(parse, at - 1)), *range(at + 1, min(end, at + _REACH))]
            things = [answer.heads[j] for j in near if j in answer.heads]
            worn = [thing for thing in things if answer.mentions[thing].category != "person"]
            yield at, at, next(iter([*worn, *things]), None)


def _claim(answer: ParsedAnswer, first: int, last: int, bearer: int | None) -> Claim:
    parse = answer.parse
    claim = _of_span(parse.text, parse.starts[first], parse.ends[last], parse.sentence[first])
    return claim if bearer is None else replace(claim, subject=bearer, other_name=answer.mentions[bearer].name)


def _of_span(text: str, start: int, end: int, sentence: int = 0) -> Claim:
    return Claim(
        kind="text",
        phrase=text[start:end],
        name="text",
        start=start,
        end=end,
        sentence=sentence,
        source_rule="written words",
    )
