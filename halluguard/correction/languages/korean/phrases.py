"""Noun phrases of a Korean text, with their names, numbers, clauses and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from halluguard.correction.languages.korean.tokens import Token, tokens
from halluguard.correction.languages.korean.words import (
    COUNTERS,
    DEPICTIONS,
    MEASURED,
    NUMBERS,
    PARTS,
    PLACES,
    name_of,
)
from halluguard.vocabulary import category

_NOUNS = ("NNG", "NNP", "SL", "XPN", "XSN", "NP", "XR")
_STEMS = ("NNG", "NNP", "VV", "VA", "MAG", "XR")
_PREDICATES = ("VV", "VA", "VCN", "VCP", "XSV", "XSA")
_CLAUSE_ENDS = frozenset("고 며 으며 지만 는데 은데 ᆫ데 나 으나 자 면서 으면서".split())
_LISTING = frozenset("와 과 하고 이나 나 랑 이랑 및".split())
_PARTICLES = ("JKS", "JKC", "JKO", "JX", "JC", "JKB", "JKG")
_ABOUT, _AT_LEAST, _AT_MOST = (
    frozenset("약 대략 정도 쯤 가량".split()),
    frozenset("적어도 최소 이상".split()),
    frozenset("최대 많아야 이하 미만".split()),
)


@dataclass(slots=True)
class Phrase:
    """A noun phrase.

    Args:
        first, last: its first and last token, numbers after it left out.
        start, end: the characters of the thing's name.
        name: the English name of the thing, "" where it names nothing that is read.
        is_place: whether the phrase says where something is ("의자 옆에").
        particle: its particles as (form, tag), in reading order.
        count, bound: the number that it states, and how it is meant.
        number: characters of numeral and counter.
        listed: whether another member of its list follows.
        clause, sentence: index of its clause and its sentence.
        after: the first token after the phrase, its number and its particles.
        other: whether it names other things than those before ("다른 동물").
    """

    first: int
    last: int
    start: int
    end: int
    name: str
    is_place: bool = False
    particle: list[tuple[str, str]] = field(default_factory=list)
    count: int | None = None
    bound: str = "exact"
    number: tuple[int, int] | None = None
    listed: bool = False
    clause: int = 0
    sentence: int = 0
    after: int = 0
    other: bool = False

    @property
    def particles(self) -> set[str]:
        """The forms of its particles."""
        return {form for form, _ in self.particle}


@dataclass(frozen=True, slots=True)
class Reading:
    """A text with its noun phrases.

    Args:
        text: the text.
        tokens: its morphemes.
        sentences, clauses: first and one-past-last token of each.
        clause_of: index of the clause of each token.
        phrases: in reading order.
    """

    text: str
    tokens: Sequence[Token]
    sentences: Sequence[tuple[int, int]]
    clauses: Sequence[tuple[int, int]]
    clause_of: Sequence[int]
    phrases: Sequence[Phrase]


def read(text: str) -> Reading:
    """The noun phrases of a text."""
    found = _mended(tokens(text))
    sentences = list(_sentences(text, found))
    clauses = [clause for sentence in sentences for clause in _clauses(found, *sentence)]
    clause_of = [n for n, (first, end) in enumerate(clauses) for _ in range(first, end)]
    phrases: list[Phrase] = []
    for number, (first, end) in enumerate(sentences):
        stems = frozenset(t.form for t in found[first:end] if t.tag in _STEMS)
        for phrase in _phrases(text, found, first, end, stems):
            phrase.sentence, phrase.clause = number, clause_of[phrase.last]
            phrases.append(phrase)
    return Reading(text, found, sentences, clauses, clause_of, phrases)


def _mended(found: Sequence[Token]) -> list[Token]:
    """The tokens without two misreadings: "새" before a number is birds, "개" that opens a block is a dog."""
    mended = list(found)
    for i, token in enumerate(found):
        counts = i + 2 < len(found) and _value(found, i + 1) is not None and found[i + 2].tag == "NNB"
        opens = token.form == "개" and token.tag == "NNB" and all(t.tag in ("SO", "SP", "SW", "SB") for t in found[:i])
        if (token.form == "새" and token.tag == "MM" and counts) or opens:
            mended[i] = token._replace(tag="NNG")
    return mended


def _sentences(text: str, found: Sequence[Token]) -> Iterator[tuple[int, int]]:
    first = 0
    for i, token in enumerate(found):
        last = i + 1 == len(found)
        broken = not last and "\n" in text[token.end : found[i + 1].start]
        ends = token.tag == "SF" or (
            token.tag == "EF" and not last and found[i + 1].tag not in ("SF", "SP", "JX", "SS")
        )
        if last or broken or (ends and not (not last and found[i + 1].tag == "SF")):
            yield first, i + 1
            first = i + 1


def _clauses(found: Sequence[Token], first: int, end: int) -> Iterator[tuple[int, int]]:
    start = first
    for i in range(first, end - 1):
        goes_on = found[i + 1].tag == "VX" or found[i + 1].form in ("있", "계시", "싶")
        if found[i].tag == "EC" and found[i].form in _CLAUSE_ENDS and not goes_on:
            stop = i + 2 if found[i + 1].tag == "SP" else i + 1
            yield start, stop
            start = stop
    yield start, end


def _phrases(text: str, found: Sequence[Token], first: int, end: int, stems: frozenset[str]) -> Iterator[Phrase]:
    i = first
    while i < end:
        if found[i].tag not in _NOUNS:
            i += 1
            continue
        last = i
        while last + 1 < end and found[last + 1].tag in _NOUNS:
            last += 1
        phrase = _phrase(text, found, i, last, stems)
        _number_before(text, found, phrase, first)
        _number_after(text, found, phrase, end)
        yield phrase
        i = max(last + 1, phrase.after)


def _phrase(text: str, found: Sequence[Token], first: int, last: int, stems: frozenset[str]) -> Phrase:
    """The phrase of a run of nouns, named by its last nouns; words for places and parts are skipped."""
    head, is_place = last, False
    while head > first and (found[head].form in PLACES or found[head].form == "들"):
        is_place = is_place or found[head].form != "들"
        head -= 1
    if head > first and found[head].form in PARTS and category(_named(text, found, first, head - 1, stems)[1]):
        head -= 1
    begin, name = _named(text, found, first, head, stems)
    shows = found[head].form in DEPICTIONS and last + 1 < len(found) and found[last + 1].tag == "VCP"
    if not name and shows and head > first:
        begin, name = _named(text, found, first, head - 1, stems)
        head -= 1
    other = first > 0 and (found[first - 1].form in ("다른", "다르") or _is_other(found, first))
    return Phrase(
        first, last, found[begin].start, found[head].end, name, is_place=is_place, after=last + 1, other=other
    )


def _is_other(found: Sequence[Token], first: int) -> bool:
    return first > 1 and found[first - 2].form == "다르" and found[first - 1].tag == "ETM"


def _named(text: str, found: Sequence[Token], first: int, head: int, stems: frozenset[str]) -> tuple[int, str]:
    """First token and name of the longest run of nouns that ends at the head and names a thing, or the head and ""."""
    for begin in range(first, head + 1):
        word = text[found[begin].start : found[head].end].replace(" ", "")
        name = name_of(word, stems - {word}) or name_of(word.upper(), stems)
        if name:
            return begin, name
    return head, ""


def _number_before(text: str, found: Sequence[Token], phrase: Phrase, least: int) -> None:
    """Add the number before the noun to the phrase: "두 마리의 개", "12명의 선수", "두 사람"."""
    i = phrase.first - 1
    if i > least and found[i].tag == "JKG":
        i -= 1
        if found[i].tag not in ("NNB", "NNG") or found[i].form not in COUNTERS:
            return
        i -= 1
    number = _value(found, i) if i >= least else None
    if number is not None and (found[i].tag in ("MM", "NR") or found[i + 1].tag == "NNB"):
        phrase.count, phrase.bound = number, _bound(found, i - 1, i + 2)
        phrase.number = (found[i].start, found[phrase.first - 1].end)


def _number_after(text: str, found: Sequence[Token], phrase: Phrase, end: int) -> None:
    """Add the number after the noun, with its particles, to the phrase: "개 두 마리", "개가 세 마리", "쿠션 셋"."""
    i = _particles(found, phrase, phrase.last + 1, end)
    at = i + 1 if i < end and found[i].tag == "MAG" and found[i].form in _ABOUT | _AT_LEAST | _AT_MOST else i
    number = _value(found, at) if at < end else None
    if number is None or phrase.is_place:
        phrase.after = i
        return
    counted = at + 1 < end and found[at + 1].tag in ("NNB", "NNG", "XSN") and found[at + 1].form in COUNTERS
    bare = found[at].tag == "NR" and (at + 1 == end or found[at + 1].tag not in ("NNB", "NNG"))
    if not counted and not bare:
        phrase.after = i
        return
    stop = at + 2 if counted else at + 1
    phrase.count, phrase.bound = number, _bound(found, at - 1, stop)
    phrase.number = (found[at].start, found[stop - 1].end)
    vessel = MEASURED.get(found[at + 1].form, "") if counted else ""
    if counted and found[at + 1].form == "송이" and phrase.name in ("banana", "grape"):
        phrase.count = None  # a bunch
    if vessel and phrase.name not in ("cup", "bottle", "wine glass", "bowl", "plate"):
        phrase.name = vessel
    if stop < end and found[stop].form in _ABOUT | _AT_LEAST | _AT_MOST:
        stop += 1
    phrase.after = _particles(found, phrase, stop, end)


def _particles(found: Sequence[Token], phrase: Phrase, i: int, end: int) -> int:
    """Add the particles and list comma from token i on to the phrase; return the first token after them."""
    while i < end and found[i].tag in _PARTICLES:
        phrase.particle.append((found[i].form, found[i].tag))
        i += 1
    comma = i < end and found[i].tag == "SP" and found[i].form in (",", "、", "·", "/")
    marks = {form for form, tag in phrase.particle if tag in ("JC", "JKB", "JX")}
    phrase.listed = bool(marks & _LISTING) or (comma and not any(tag == "JKB" for _, tag in phrase.particle))
    return i + 1 if comma and phrase.listed else i


def _value(found: Sequence[Token], i: int) -> int | None:
    token = found[i]
    if token.tag == "SN":
        return int(token.form) if token.form.isdecimal() and len(token.form) < 5 else None
    return NUMBERS.get(token.form) if token.tag in ("MM", "NR") else None


def _bound(found: Sequence[Token], before: int, after: int) -> str:
    beside = {found[i].form for i in (before, after) if 0 <= i < len(found)}
    if beside & _ABOUT:
        return "about"
    return "at_least" if beside & _AT_LEAST else "at_most" if beside & _AT_MOST else "exact"
