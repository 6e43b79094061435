"""Recognise what is told and not seen: history, stories, games, reports, suppositions, and what things stand for.

The castle was built in 1385 to defend the coast against ships.   history: the castle is claimed, no ships
In the film, a boy befriends a dragon.                            a story
According to the metadata, a dog is on the beach.                 a report
A red car would stand out here.                                   supposed
The lion represents strength, the cup the heart.                  lion and cup are claimed, the heart is not
"""

from __future__ import annotations

import re

from halluguard.correction.claims.clauses import SEEING, SUBJECTS, is_kind, own_clause, untied
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse

_SOURCES = words("sources")
_REPORTING = words("reporting")
_STORIES = words("stories")
_TELLERS = words("tellers")
_TELLING = words("telling")
_NOTIONS = words("notions")
_SYMBOLIZING = words("symbolizing")
_SYMBOLS = ("symbol", "symbols", "emblem", "sign", "metaphor", "icon")
_TERMS = ("term", "word", "phrase", "expression", "name", "number", "title", "acronym")
_MEANING = ("refers", "means", "alludes", "refer", "mean", "meaning")
_SPORT = words("sport words")
_TIMES = words("times past")
_YEAR = re.compile(r"1[0-9]{3}|20[0-2][0-9]|[1-9][0-9]{2}0s")
_WHEN = ("in", "until", "since", "during", "for", "around", "before", "after", "between")
_DATING = ("goes", "dates")
_IMAGES = ("image", "picture", "photo", "photograph", "scene")
_RESULTS = ("will", "would", "can", "could", "may", "might", "should")


def tokens(parse: Parse) -> set[int]:
    """Tokens of what is told and not seen."""
    found = set[int]()
    for i in range(len(parse)):
        tag = parse.tags[i]
        if tag[:2] == "VB":
            found |= _by_verb(parse, i)
        elif parse.words[i] in _NOTIONS:
            for clause in parse.children[i]:
                if parse.deps[clause] in ("acl", "ccomp") and _opens_with_that(parse, clause):
                    found |= untied(parse, clause)
    return found


def _by_verb(parse: Parse, verb: int) -> set[int]:
    """Tokens that one clause tells."""
    subject = parse.child(verb, *SUBJECTS)
    if (
        _reported(parse, verb, subject)
        or _cited(parse, verb)
        or _of_a_story(parse, verb)
        or _defined(parse, verb, subject)
    ):
        return own_clause(parse, verb)
    if _tells(parse, verb, subject):
        return {i for i in own_clause(parse, verb) if i > verb}
    if _past(parse, verb, subject):
        return untied(parse, verb)
    if _supposed(parse, verb, subject):
        definite = subject is not None and not is_kind(parse, subject)
        return untied(parse, verb) - (set(parse.subtree(subject)) if subject is not None and definite else set())
    return _symbolized(parse, verb, subject)


def _opens_with_that(parse: Parse, clause: int) -> bool:
    return any(parse.words[j] == "that" and parse.deps[j] == "mark" for j in parse.children[clause])


def _reported(parse: Parse, verb: int, subject: int | None) -> bool:
    """Whether the clause reports others: "The hint says that there is a bus"."""
    return subject is not None and parse.words[verb] in _REPORTING and parse.words[subject] in _SOURCES


def _cited(parse: Parse, verb: int) -> bool:
    """Whether the clause names its source: "According to the caption, a bus is there"."""
    for according in parse.children[verb]:
        if parse.words[according] == "according":
            return any(parse.words[j] in _SOURCES for j in parse.subtree(according))
    return False


def _of_a_story(parse: Parse, verb: int) -> bool:
    """Whether the clause tells a story: "In the film, a boy befriends a dragon"; a game of sports is seen."""
    first = parse.sentences[parse.sentence[verb]][0]
    if parse.heads[first] != verb or parse.words[first] != "in" or parse.child(verb, *SUBJECTS) is None:
        return False
    place = parse.child(first, "pobj")
    if place is None or parse.child(place, "det") is None:
        return False
    if parse.words[place] == "game":
        return _SPORT.isdisjoint(parse.words)
    return parse.words[place] in _STORIES


def _defined(parse: Parse, verb: int, subject: int | None) -> bool:
    """Whether the clause says what a word means: "The term refers to a photo of oneself"."""
    if subject is None or parse.words[verb] not in _MEANING:
        return False
    return subject in parse.quoted or any(parse.words[j] in _TERMS for j in (subject, *parse.children[subject]))


def _tells(parse: Parse, verb: int, subject: int | None) -> bool:
    """Whether the subject is a story, joke or aim that is told: "The song tells of a sailor", "The goal is to ..."."""
    if subject is None or subject > verb or parse.words[subject] not in _TELLERS:
        return False
    if parse.words[verb] in _TELLING or parse.words[verb : verb + 2] == ["has", "it"]:
        return True
    about = any(parse.words[j] == "about" for j in parse.children[verb])
    clause = any(
        parse.deps[j] in ("xcomp", "ccomp") and any(parse.words[k] in ("to", "that") for k in parse.children[j])
        for j in parse.children[verb]
    )
    return parse.words[verb] in ("is", "was", "are") and (about or clause)


def _past(parse: Parse, verb: int, subject: int | None) -> bool:
    """Whether the clause is history: in the past tense, with a time: "was built in 1385", "once belonged to"."""
    helpers = [parse.words[j] for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass")]
    past = parse.tags[verb] == "VBD" or not {"was", "were", "had"}.isdisjoint(helpers)
    if not past and parse.words[verb] not in _DATING:
        return False
    if subject is not None and parse.words[subject] in _IMAGES:
        return False  # "The photo was taken in 1965"
    if parse.words[verb] == "used" and parse.tags[verb] == "VBD" and parse.child(verb, "xcomp") is not None:
        return True
    for j in parse.children[verb]:
        if parse.deps[j] == "advmod" and parse.words[j] == "back" and parse.words[verb] in _DATING:
            return True
        if parse.deps[j] == "advmod" and parse.words[j] in ("once", "originally", "formerly", "historically"):
            return True
        if parse.words[j] in _WHEN and any(_is_time(parse, k) for k in parse.subtree(j)):
            return True
    return False


def _is_time(parse: Parse, i: int) -> bool:
    return parse.words[i] in _TIMES or (parse.tags[i] == "CD" and _YEAR.fullmatch(parse.words[i]) is not None)


def _supposed(parse: Parse, verb: int, subject: int | None) -> bool:
    """Whether the clause only supposes: "A red car would stand out", "If it rains, people will need umbrellas"."""
    modals = [parse.words[j] for j in parse.children[verb] if parse.tags[j] == "MD"]
    if parse.words[verb] in ("imagine", "suppose") and verb == parse.sentences[parse.sentence[verb]][0]:
        return True
    if "would" in modals and subject is not None and parse.words[subject] not in ("i", "you", "one"):
        return True
    if parse.words[verb] in SEEING:
        return False
    if not modals or modals[0] not in _RESULTS:
        return False
    return any(
        parse.deps[j] == "advcl" and (_is_inverted(parse, j) or _is_condition(parse, j)) for j in parse.children[verb]
    )


def _is_inverted(parse: Parse, clause: int) -> bool:
    """Whether a clause supposes by its order: "Should a fire break out, ..."."""
    first, _ = parse.sentences[parse.sentence[clause]]
    return parse.words[first] in ("should", "had", "were") and parse.heads[first] == clause


def _is_condition(parse: Parse, clause: int) -> bool:
    """Whether the clause is a condition, but for "if you look closely"."""
    conditional = any(parse.words[j] in ("if", "unless") for j in parse.children[clause])
    return conditional and parse.words[clause] not in SEEING | {"zoom"}


def _symbolized(parse: Parse, verb: int, subject: int | None) -> set[int]:
    """What something stands for, and the subject where it is a kind: "Red roses express love"."""
    if subject is None or parse.words[subject] in _IMAGES:
        return set()
    stands_for = parse.words[verb] in ("stand", "stands") and any(
        parse.words[j] == "for" and j == verb + 1 and parse.child(j, "pobj") is not None for j in parse.children[verb]
    )
    is_symbol = any(
        parse.deps[j] == "attr" and parse.words[j] in _SYMBOLS and parse.words[j + 1 : j + 2] == ["of"]
        for j in parse.children[verb]
    )
    if not (stands_for or is_symbol or parse.words[verb] in _SYMBOLIZING):
        return set()
    meant = set[int]()
    for j in parse.children[verb]:
        if parse.deps[j] in ("dobj", "prep", "attr") and j > verb:
            meant |= set(parse.subtree(j)) - _clauses(parse, j)
    if is_kind(parse, subject) and parse.tags[subject] != "PRP":
        meant |= set(parse.subtree(subject))
    return meant


def _clauses(parse: Parse, noun: int) -> set[int]:
    """The clauses that hang below a noun."""
    inside = set[int]()
    for i in parse.subtree(noun):
        if parse.deps[i] in ("acl", "relcl", "advcl"):
            inside |= set(parse.subtree(i))
    return inside
