"""Find cuts by the marks and joints of a sentence, where its parse offers none.

    One man kneels[, his hands clasped in prayer].       from a comma to the end
    A sheep grazes here[, and a bird sings].             from a comma before a clause to the end
    A cat sleeps [with its paws under its chin].         from a preposition or participle to the end
    The sofa[, a gift from her mother,] is red.          between two commas
    from [one bulb] to another                           both ends of a way go together

Such cuts are tried after the smaller ones that follow the parse, and read again like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from halluguard.correction.text.lexicon import FINITE_TAGS, NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

_STOPS = (".", "!", "?", ":")
_OPENERS = ("acl", "advcl", "prep", "ccomp", "relcl", "agent")
_CLOSE_ADVERBS = frozenset("directly right just immediately partly partially slightly mainly mostly primarily".split())
_GLOSSES = frozenset("possibly perhaps likely probably presumably including namely".split())
_HELD = frozenset("down up out open closed shut together apart forward forwards back backwards outstretched".split())
"""Words for how a part of a body is held, after "with its head"."""
_SHARING = ("each", "both", "all")
"""Words that a phrase completes after a comma: "animals, each with a tag"."""
_HOLDING = ("on", "in", "inside", "at", "atop", "upon")
_WIDER_PLACES = (*_HOLDING, "near", "beside", "outside", "under", "beneath")
"""Prepositions of a place that what lies on or in a thing shares with it."""
_WAYS = ("to", "into", "through", "towards", "toward")


def segments(parse: Parse, token: int, needed: Callable[[int], bool]) -> Iterator[set[int]]:
    """Sets of tokens whose removal takes `token` away, smallest first; what is before or around them is a clause.

    Args:
        needed: whether the word before cannot stand without the phrase of this preposition.
    """
    first, stop = _without_stop(parse, token)
    between = _between_commas(parse, token, first, stop)
    if between is not None:
        yield between
    inner = _place_within(parse, token)
    if inner is not None:
        yield inner
    for start in range(token, first + 1, -1):
        if _opens_tail(parse, start) and _is_clause(parse, first, start) and not needed(start):
            comma = parse.words[start - 1] == "," and parse.words[start] != ","
            yield set(range(start - comma, stop))


def _place_within(parse: Parse, token: int) -> set[int] | None:
    """A place up to the wider place that holds it: "sits [on a bench] in a park", "lies [on a plate] on a table"."""
    outer = parse.heads[token]
    if parse.deps[token] != "pobj" or parse.words[outer] not in _HOLDING or len(parse.conjuncts(token)) > 1:
        return None
    inner = [j for j in parse.children[token] if parse.deps[j] == "prep" and parse.words[j] in _WIDER_PLACES]
    if len(inner) != 1 or inner[0] < token or parse.words[inner[0] - 1] == ",":
        return None
    inside = set(parse.subtree(inner[0]))
    cut = set(range(outer, inner[0]))
    phrase = set(parse.subtree(outer))
    whole = max(inside) == max(phrase) and cut | inside == phrase
    return cut if whole and any(parse.deps[j] == "pobj" for j in parse.children[inner[0]]) else None


def _without_stop(parse: Parse, token: int) -> tuple[int, int]:
    """First token of the sentence of a token, and one past its last, the full stop left out."""
    first, end = parse.sentences[parse.sentence[token]]
    return first, end - 1 if parse.words[end - 1] in _STOPS else end


def with_gloss(parse: Parse, cut: set[int]) -> set[int]:
    """A cut, with what only explains its end: "orange fruit, possibly melons", "fruit (two melons)"."""
    last = max(cut)
    end = parse.sentences[parse.sentence[last]][1]
    _, stop = _without_stop(parse, last)
    if last + 1 < end and parse.words[last + 1] == "(" and parse.tags[min(cut)] != "IN":
        close = next((i for i in range(last + 1, end) if parse.words[i] == ")"), None)
        return cut if close is None else cut | set(range(last + 1, close + 1))
    if last + 2 >= end or parse.words[last + 1] != ",":
        return cut
    opens = parse.words[last + 2] in _GLOSSES or tuple(parse.words[last + 2 : last + 4]) == ("such", "as")
    if not opens:
        return cut
    rest = range(last + 2, stop)
    if any(parse.tags[i] in FINITE_TAGS for i in rest):
        comma = next((i for i in rest if parse.words[i] == ","), None)
        if comma is None:
            return cut
        return cut | set(range(last + 1, comma))
    return cut | set(range(last + 1, stop))


def with_partners(parse: Parse, phrase: int, cut: set[int]) -> set[int]:
    """A cut phrase, with the adverb that belongs to it and the other end of a way: "directly near", "from ... to"."""
    first, last = min(cut), max(cut)
    start, end = parse.sentences[parse.sentence[phrase]]
    if parse.words[phrase] == "with" and last + 2 < end and parse.words[last + 1] in _HELD:
        return cut | {last + 1} if parse.words[last + 2] in (",", ".", ";") else cut
    if first - 1 > start and parse.words[first - 1] in _CLOSE_ADVERBS and parse.words[first] not in (",", "and"):
        cut = cut | {first - 1}
    if parse.words[first - 1] in _SHARING and first - 2 > start and parse.words[first - 2] == ",":
        return cut | {first - 1, first - 2}
    if parse.words[phrase] == "from" and last + 1 < end and parse.words[last + 1] in _WAYS:
        cut = cut | set(parse.subtree(last + 1))
    elif parse.words[phrase] in _WAYS and first - 1 > start:
        way = next((j for j in parse.chain(first - 1) if parse.words[j] == "from"), None)
        if way is not None and set(parse.subtree(way)) - cut == set(range(way, first)):
            cut = cut | set(range(way, first))
    return cut


def _between_commas(parse: Parse, token: int, first: int, stop: int) -> set[int] | None:
    """The words between two commas, with both, if nothing outside hangs on them and they are no list member."""
    left = next((i for i in range(token, first, -1) if parse.words[i] == ","), None)
    right = next((i for i in range(token, stop) if parse.words[i] == ","), None)
    if left is None or right is None or right + 1 >= stop:
        return None
    inside = set(range(left + 1, right))
    tops = [i for i in inside if parse.heads[i] not in inside]
    outside = [i for i in range(first, stop) if i not in inside and parse.words[i].isalnum()]
    participle = parse.tags[left + 1] in ("VBN", "VBG") and tops == [left + 1]
    if participle and parse.deps[right + 1] == "prep" and parse.heads[right + 1] == left + 1:
        outside.remove(right + 1)  # "moored[, adorned with flags,] against a backdrop"
    held = any(parse.heads[i] in inside for i in outside)
    listed = any(parse.deps[i] in ("conj", *SUBJECTS, "dobj", "ROOT") for i in tops)
    if held or listed or parse.words[right + 1] in ("and", "or", "but"):
        return None
    return inside | {left, right}


def _opens_tail(parse: Parse, i: int) -> bool:
    """Whether a sentence may end before a token: a comma, a preposition, a participle."""
    if parse.words[i] == ",":
        joined = i + 1 < len(parse) and parse.words[i + 1] in ("and", "or", "but")
        return i + 1 < len(parse) and (not joined or _is_clause_after(parse, i + 2))
    if parse.words[i] in ("of", "to", "as", "than", "that", "because", "if"):
        return False
    adverb = parse.tags[i - 1] == "RB" and (parse.words[i - 1] in _CLOSE_ADVERBS | _GLOSSES or parse.heads[i - 1] >= i)
    if adverb:
        return False  # "slightly behind", "possibly waiting"
    after_noun = parse.tags[i - 1] in (*NOUN_TAGS, "RB", "RP", ",")
    preposition = parse.tags[i] == "IN" and parse.deps[i] in ("prep", "mark")
    participle = parse.tags[i] in ("VBG", "VBN") and parse.deps[i] in _OPENERS
    return (preposition or participle) and (after_noun or (preposition and parse.tags[i - 1] in VERB_TAGS))


def _is_clause_after(parse: Parse, start: int) -> bool:
    """Whether a noun phrase and a finite verb follow: "and a bird perches on its back"; not "and a bird"."""
    end = parse.sentences[parse.sentence[start - 1]][1]
    verb = next((i for i in range(start, end) if parse.tags[i] in FINITE_TAGS), None)
    if verb is None:
        return False
    subjects = [j for j in parse.children[verb] if parse.deps[j] in SUBJECTS]
    between = all(parse.tags[i] not in (",", "IN", "WDT", "WP") for i in range(start, verb))
    return between and any(start <= j < verb for j in subjects)


def _is_clause(parse: Parse, first: int, end: int) -> bool:
    """Whether tokens first..end-1 hold a finite verb with its subject, none of which hangs on what follows."""
    for verb in range(first, end):
        finite = parse.tags[verb] in FINITE_TAGS or any(
            parse.tags[j] in FINITE_TAGS and j < end
            for j in parse.children[verb]
            if parse.deps[j] in ("aux", "auxpass")
        )
        subject = parse.child(verb, *SUBJECTS)
        main = parse.deps[verb] in ("ROOT", "ccomp", "conj", "parataxis", "advcl", "appos")
        if finite and main and subject is not None and subject < end:
            return True
    return False
