"""Read lists by their commas where the small parser loses them: "a toilet with its lid closed, a sink, and a bathtub".

    The desk holds [a laptop], [a mug], [a mouse] and [a lamp], all neatly arranged.
    Inside the bowl: [noodles], [sliced carrots], [florets] and [a pair of chopsticks] on the rim.

A list is a run of noun phrases between commas, of which the last begins with "and" or "or". Its first member is the
last noun phrase before the run that has the same kind of determiner as the next one. Lists that the parser already
holds together are left alone, and so are subjects, which other repairs put right.
"""

from __future__ import annotations

from itertools import pairwise

from halluguard.correction.text.lexicon import FINITE_TAGS, NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

_BEFORE_NOUN = ("DT", "PDT", "PRP$", "CD", "JJ", "JJR", "JJS", "VBN", "VBG", "HYPH", "RB", "POS", *NOUN_TAGS)
_OPENING, _CLOSING = ("(", "["), (")", "]")
_JOINTS = ("and", "or")
_FIRST_TAGS = ("DT", "PDT", "CD", "JJ", "PRP$", "VBN", *NOUN_TAGS)
_HOLDING = ("with", "without", "including", "like")
_DEFINITE = ("the", "this", "that", "these", "those")


def mend_comma_lists(parse: Parse) -> None:
    """Hang the members of torn lists on their first members, in place."""
    for first, end in parse.sentences:
        stop = end - 1 if parse.words[end - 1] in (".", "!", "?", ":") else end
        bounds = [first - 1, *_commas(parse, first, stop), stop]
        parts = [(a + 1, b) for a, b in pairwise(bounds) if a + 1 < b]
        n = 0
        while n < len(parts):
            last = _last_part(parse, parts, n)
            if last is not None:
                _hang_list(parse, parts[n - 1] if n else None, parts[n : last + 1])
            n = n + 1 if last is None else last + 1


def _commas(parse: Parse, first: int, stop: int) -> list[int]:
    """Commas and colons outside brackets."""
    depth, found = 0, []
    for i in range(first, stop):
        depth += (parse.words[i] in _OPENING) - (parse.words[i] in _CLOSING)
        if depth == 0 and parse.words[i] in (",", ":"):
            found.append(i)
    return found


def _last_part(parse: Parse, parts: list[tuple[int, int]], n: int) -> int | None:
    """The part that ends a list whose second member is, or stands in, part n: the first one that holds "and"."""
    for k in range(n, len(parts)):
        first, end = parts[k]
        opens = parse.words[first] in _JOINTS
        if _head(parse, first + opens, end) is None:
            return None
        if opens:
            return k if k > n and not _acts(parse, first + 1, end) else None
        if any(parse.tags[i] in FINITE_TAGS for i in range(first, end)):
            return None
        if _inner_joint(parse, first, end) is not None:
            return k if n > 0 or k > n else None
    return None


def _head(parse: Parse, first: int, end: int) -> int | None:
    """The head of the noun phrase that begins at a token; None if none begins there."""
    if first >= end or parse.tags[first] not in _FIRST_TAGS:
        return None
    i = first
    while i < end and parse.tags[i] in _BEFORE_NOUN:
        i += 1
    nouns = [j for j in range(first, i) if parse.tags[j] in NOUN_TAGS]
    return nouns[-1] if nouns and not any(parse.tags[j] == "VBG" for j in range(first, nouns[-1])) else None


def _inner_joint(parse: Parse, first: int, end: int) -> int | None:
    """The "and" directly after the noun phrase that opens a part, before another noun phrase."""
    head = _head(parse, first, end)
    if head is None or head + 2 >= end or parse.words[head + 1] not in _JOINTS:
        return None
    return head + 1 if _head(parse, head + 2, end) is not None else None


def _acts(parse: Parse, first: int, end: int) -> bool:
    """Whether the noun phrase that opens a part is the subject of a verb."""
    head = _head(parse, first, end)
    return head is not None and parse.deps[head] in SUBJECTS and parse.heads[head] > head


def _hang_list(parse: Parse, before: tuple[int, int] | None, parts: list[tuple[int, int]]) -> None:
    members: list[tuple[int, int, int]] = []  # head, first token, one past the last
    for first, end in parts:
        opens = first + (parse.words[first] in _JOINTS)
        joint = _inner_joint(parse, opens, end)
        for a, b in [(opens, end)] if joint is None else [(opens, joint), (joint + 1, end)]:
            head = _head(parse, a, b)
            if head is not None:
                members.append((head, a, b))
    opening = _opening_member(parse, before, members[0][1])
    if opening is not None:
        members.insert(0, opening)
    elif before is None:
        members[0] = _inside_first(parse, members)
    heads = [head for head, _, _ in members]
    top = heads[0]
    if len(heads) < 3 or set(heads) <= set(parse.conjuncts(top)):
        return
    if any(parse.deps[head] in SUBJECTS and parse.tags[parse.heads[head]] in FINITE_TAGS for head in heads[:1]):
        return
    _raise_above(parse, top, range(members[1][1], members[-1][2]))
    _, first, end = members[0]
    for i in range(top + 1, end):
        if parse.heads[i] not in range(first, end):
            parse.hang(i, top)
    for (head, first, end), (previous, _, _) in zip(members[1:], members, strict=False):
        _hang_member(parse, head, first, end, previous, top)


def _opening_member(parse: Parse, before: tuple[int, int] | None, second: int) -> tuple[int, int, int] | None:
    """The last noun phrase of the part before a list that has the kind of determiner of the second member."""
    if before is None or parse.words[before[1]] == ":":
        return None
    first, end = before
    placed = parse.tags[first] in ("IN", "RB") and parse.words[first] not in _HOLDING
    placed = placed and not any(parse.tags[i] in VERB_TAGS for i in range(first, end))
    if placed:
        return None  # "On a table, a cat, a dog and a bird"
    bracket = next((i for i in range(first, end) if parse.words[i] in _OPENING), end)
    phrases = [
        (head, i, end)
        for i in range(bracket - 1, first - 1, -1)
        if _begins(parse, i, first) and (head := _head(parse, i, end)) is not None and parse.words[i - 1] != "of"
    ]
    wanted = _determiner(parse, second)
    counted = ("article", "number") if wanted in ("article", "number") else (wanted,)
    alike = [phrase for phrase in phrases if _determiner(parse, phrase[1]) == wanted]
    return next(iter(alike or [phrase for phrase in phrases if _determiner(parse, phrase[1]) in counted]), None)


def _begins(parse: Parse, i: int, first: int) -> bool:
    """Whether a noun phrase begins at token i of a part."""
    return parse.tags[i] in _FIRST_TAGS and (i == first or parse.tags[i - 1] not in _BEFORE_NOUN)


def _inside_first(parse: Parse, members: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The noun phrase of the first part that the list goes on with: "a beach without [people], cars or boats"."""
    (_, first, end), (_, second, _) = members[:2]
    if _determiner(parse, first) == _determiner(parse, second):
        return members[0]
    return _opening_member(parse, (first, end), second) or members[0]


def _determiner(parse: Parse, first: int) -> str:
    """The kind of determiner: "definite", "article", "number" or "bare"; "no" goes with bare members."""
    if parse.words[first] == "no":
        return "bare"
    if parse.words[first] in _DEFINITE:
        return "definite"
    if parse.words[first] in ("a", "an", "another"):
        return "article"
    return "number" if parse.tags[first] in ("DT", "PDT", "CD") else "bare"


def _raise_above(parse: Parse, top: int, others: range) -> None:
    """Put the first member in the place of a word of the other members that the parser set above it."""
    above = [i for i in parse.chain(top) if i in others]
    if above:
        place = above[-1]
        parse.hang(top, top if parse.heads[place] == place else parse.heads[place])
        parse.deps[top] = parse.deps[place]


def _hang_member(parse: Parse, head: int, first: int, end: int, previous: int, top: int) -> None:
    """Make a noun phrase a member of the list, with all tokens of its part that hung on something outside."""
    inside = set(range(first, end))
    for i in sorted(inside - {head}):
        if parse.heads[i] not in inside or parse.heads[i] == i:
            parse.hang(i, head)
    for i in range(previous + 1, first):
        if parse.words[i] in _JOINTS or parse.words[i] == ",":
            parse.hang(i, previous)
            parse.deps[i] = "cc" if parse.words[i] in _JOINTS else "punct"
    parse.hang(head, top)
    parse.deps[head] = "conj"
