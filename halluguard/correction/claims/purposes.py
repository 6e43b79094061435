"""Things that others are only meant for: they need not be there.

The stands are designed for spectators.     spectators
The path is accessible to people in wheelchairs.
This tool is used to cut bread.
The sign warns drivers of deer.
The box can hold six bottles.
The table offers room for six guests.
"""

from __future__ import annotations

from halluguard.correction.claims.clauses import SUBJECTS
from halluguard.correction.text.lexicon import NOUN_TAGS, words
from halluguard.correction.text.parse import Parse, once
from halluguard.vocabulary import category, parents, singular

_MEANT = words("meant")
_SERVING = words("serving")
_HELPING = words("helping")
_HOLDING = words("holding capacity")
_GIVING = frozenset("give gives giving offer offers offering provide provides providing".split())
_ROOM = frozenset("room space seating capacity seats enough place accommodation".split())
_PEOPLE = frozenset("users viewers others those anyone everyone".split())
_OBJECTS = ("dobj", "obj")
_TIED = ("the", "this", "these", "his", "her", "their", "its")
_INSIDE = ("in", "of", "with", "as", "like", "to", "into", "through", "from", "for", "at", "against", "by", "between")
_ALIKE = ("resemble", "look", "mimic", "feature", "include", "be", "give", "create", "appear")
_FINITE = ("VBZ", "VBP", "VBD", "MD")


def meant_for(parse: Parse, i: int) -> bool:
    """Whether the noun is only what something is meant for, or stands below such a noun or verb."""
    if _served(parse, i) or _held(parse, i):
        return True
    if any(parse.words[j] in _TIED for j in parse.children[i]):
        return False
    return _is_below_purpose(parse, i, person=_is_person(parse, i))


def _is_below_purpose(parse: Parse, i: int, *, person: bool) -> bool:
    """Whether the noun stands below one that something is meant for, or below the verb of a purpose."""
    known, passed, below = _known(parse), list[int](), False
    for k in parse.chain(i):
        if (k, person) in known:
            below = known[k, person]
            break
        passed.append(k)
        decided = _decides(parse, k, person=person)
        if decided is not None:
            below = decided
            break
    known.update(((k, person), below) for k in passed)
    return below


@once
def _known(parse: Parse) -> dict[tuple[int, bool], bool]:
    """What was found out of the chain above a noun that begins with a token; long lists share their chains."""
    return {}


def _decides(parse: Parse, k: int, *, person: bool) -> bool | None:
    """Whether a token above a noun says that the noun is meant for something; None if those above it must say."""
    if parse.tags[k] in _FINITE or (parse.tags[k] == "IN" and parse.words[k] not in _INSIDE):
        return False
    if parse.tags[k] in NOUN_TAGS and parse.words[k] not in _PEOPLE and (_serves(parse, k) or _held(parse, k)):
        return True
    if parse.tags[k] in ("VB", "VBG") and _is_purpose(parse, k):
        return _helps(parse, k) or not person
    return False if parse.deps[k] in ("relcl", "acl", "conj", "appos") and parse.tags[k] not in NOUN_TAGS else None


def _serves(parse: Parse, i: int) -> bool:
    """Whether something serves the noun, in words that leave no doubt, so that what stands below it is no claim."""
    above = parse.words[parse.heads[parse.heads[i]]]
    return _served(parse, i) and (is_anybody(parse, i) or above in _MEANT or above in _ROOM)


def _served(parse: Parse, i: int) -> bool:
    """Whether something serves the noun: "designed for players", "views for spectators", "helps drivers"."""
    head = parse.heads[i]
    above = parse.heads[head]
    if _kept_away(parse, i):
        return True
    if parse.deps[i] == "dative" and parse.words[head] in _GIVING and is_anybody(parse, i):
        return True  # "gives visitors a place to rest"
    if parse.deps[i] in (*_OBJECTS, "dative", *SUBJECTS):
        helped = above if parse.deps[i] in SUBJECTS else head
        nonfinite = parse.deps[i] not in SUBJECTS or parse.deps[head] in ("ccomp", "xcomp")
        return nonfinite and helped != i and parse.words[helped] in _HELPING and is_anybody(parse, i)
    if parse.deps[i] != "pobj":
        return False
    word = parse.words[head]
    if word == "for":
        if any(parse.words[j] in _TIED for j in parse.children[i]):
            return parse.tags[above] in ("JJ", "VBN")
        if parse.tags[above] in ("JJ", "VBN") or is_anybody(parse, i):
            return True
        return parse.words[above] in _ROOM or any(
            parse.deps[j] in _OBJECTS and parse.words[j] in _ROOM for j in parse.children[above]
        )
    return word == "to" and parse.words[above] in _SERVING and is_anybody(parse, i)


def _kept_away(parse: Parse, i: int) -> bool:
    """Whether something keeps the thing away: "The fence keeps deer away"."""
    verb = parse.heads[i]
    away = any(parse.words[j] in ("away", "out", "off") and j > i for j in parse.children[verb])
    return parse.deps[i] in _OBJECTS and parse.words[verb] in ("keep", "keeps") and away and not _is_person(parse, i)


def _held(parse: Parse, i: int) -> bool:
    """Whether the noun is what something has room for: "can hold six bottles"."""
    verb = parse.heads[i]
    able = any(parse.words[j] in ("can", "could") for j in parse.children[verb])
    return parse.deps[i] in _OBJECTS and parse.words[verb] in _HOLDING and able


def _is_purpose(parse: Parse, verb: int) -> bool:
    """Whether the verb is what something is meant for: "used to cut", "ideal for reading", "helps drivers find"."""
    head = parse.heads[verb]
    if parse.words[verb] in _ALIKE:
        return False
    if parse.deps[verb] == "pcomp":
        return parse.words[head] == "for" and parse.words[parse.heads[head]] in _MEANT
    if parse.deps[verb] not in ("xcomp", "ccomp", "advcl"):
        return False
    if parse.words[head] in _MEANT:
        return any(parse.tags[j] == "TO" for j in parse.children[verb])
    return _helps(parse, verb)


def _helps(parse: Parse, verb: int) -> bool:
    """Whether the verb is what people in general are helped to do: "helps drivers find a space"."""
    head = parse.heads[verb]
    who = [j for j in parse.children[verb] if parse.deps[j] in SUBJECTS]
    who += [j for j in parse.children[head] if parse.deps[j] in _OBJECTS]
    return parse.words[head] in _HELPING and any(is_anybody(parse, j) for j in who)


def _is_person(parse: Parse, i: int) -> bool:
    """Whether the noun names people: where a train is built to carry people, they may be seen."""
    name = singular(parse.words[i])
    return category(name) == "person" or "person" in parents(name)


def is_anybody(parse: Parse, i: int) -> bool:
    """Whether a noun means people in general: "for spectators"; not "for the two players"."""
    bare = not any(parse.deps[j] in ("det", "amod", "nummod", "poss") for j in parse.children[i])
    return bare and parse.tags[i] == "NNS" and (_is_person(parse, i) or parse.words[i] in _PEOPLE)
