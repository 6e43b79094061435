"""Repairs that keep the sentence: another number, another colour, the other side, and yes turned into no.

A repair writes only what an expert found (`Verdict.replacement`); where nothing clear was found an adjective is
dropped and a relation stays as it was said. Nothing is invented.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from halluguard.correction.claims import yes_no
from halluguard.correction.claims.attributes import kind_of
from halluguard.correction.claims.counts import BOUND_WORDS, spelled
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting import agreement
from halluguard.correction.rewriting.token_editor import Surface, article
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS
from halluguard.records import Claim, Verdict
from halluguard.vocabulary import plural, singular

_BE = ("is", "are", "was", "were", "'s", "'re")
_QUANTIFYING = ("det", "nummod", "quantmod", "predet")
_JOINTS = ("and", "or", ",", "-", "&")


def tokens_of(surface: Surface, start: int, end: int) -> list[int]:
    """The tokens of a character span."""
    parse = surface.parse
    return [i for i in range(len(parse)) if parse.starts[i] >= start and parse.ends[i] <= end]


def number(surface: Surface, mention: Mention, claim: Claim, verdict: Verdict, why: int) -> None:
    """ "three dogs are" with two found: "two dogs are"; with one: "one dog is", and "a person" for "several people"."""
    if claim.trigger is None or verdict.replacement is None or not surface.alive(mention.last):
        return
    parse, count = surface.parse, int(verdict.replacement)
    said = tokens_of(surface, *claim.trigger)
    noun = mention.last
    vague = claim.source_rule == "vague"
    if vague and count > 1 and claim.bound == "at_least" and (claim.count or 0) <= 2:
        return  # "a few", "some": more than one was found, and that is what was said
    digits = parse.words[said[0]][0].isdigit()
    written = f"{count:,}" if digits else spelled(count)
    if count == 1 and vague:
        written = article(parse.words[said[-1] + 1] if said[-1] + 1 < len(parse) else mention.name)
    before = said[0] - 1
    while before >= 0 and parse.words[before] in BOUND_WORDS and parse.sentence[before] == parse.sentence[noun]:
        surface.delete([before], {why})
        before -= 1
    head = noun
    if parse.deps[noun] == "pobj" and parse.heads[parse.heads[noun]] == said[-1]:  # "a couple of dogs"
        head = said[-1]
        surface.delete([parse.heads[noun]], {why})
    target = head if head != noun else said[0]
    definite = before >= 0 and parse.words[before] in ("the", "these", "those", "its", "his", "her", "their")
    surface.delete([i for i in said if i != target], {why})
    surface.replace(target, "" if definite and count == 1 else written, {why})
    _renumber(surface, mention, count, why, head)


def _renumber(surface: Surface, mention: Mention, count: int, why: int, head: int) -> None:
    """Noun and verb take the new number; `head` is what the verb agrees with ("couple" in "a couple of dogs")."""
    parse, noun = surface.parse, mention.last
    many = parse.tags[noun] in ("NNS", "NNPS") or mention.plural
    if many == (count != 1):
        return
    word = parse.words[noun]
    one = mention.name.split()[-1] if mention.first == noun else singular(word)
    surface.replace(noun, one if count == 1 else plural(singular(word)), {why})
    verb = parse.heads[head]
    there = any(parse.deps[j] == "expl" for j in parse.children[verb])
    counted = parse.deps[head] in ("nsubj", "nsubjpass") or (there and parse.deps[head] == "attr")
    if counted and len(parse.conjuncts(head)) == 1:
        agreement.number(surface, verb, plural=count != 1, why={why})


def attribute(surface: Surface, claim: Claim, instead: str | None, why: int) -> bool:
    """ "a red car" that is blue: "a blue car"; without a clear other colour "a car". False where only a cut helps."""
    if claim.trigger is None:
        return True
    said = [i for i in tokens_of(surface, *claim.trigger) if surface.alive(i)]
    if not said:
        return True
    if instead is not None and surface.parse.words[said[-1]] != "wood":
        surface.delete(said[:-1], {why})
        surface.replace(said[-1], instead, {why})
        return True
    return _drop_adjective(surface, said, why)


def _drop_adjective(surface: Surface, said: Sequence[int], why: int) -> bool:
    """One adjective out of those before a noun, with the sign that joined it to its neighbour."""
    parse, value = surface.parse, said[-1]
    top = parse.first_conjunct(value)
    if parse.deps[top] not in ("amod", "compound", "nmod") or parse.heads[top] < top:
        return False
    gone = set(said)
    if said[0] > 0 and parse.words[said[0] - 1] in _JOINTS and kind_of(parse.words[said[0] - 2]):
        gone.add(said[0] - 1)
    elif parse.words[value + 1] in _JOINTS:
        gone.add(value + 1)
    surface.delete(gone, {why})
    return True


def relation(surface: Surface, claim: Claim, instead: str, why: int) -> None:
    """ "to the left of" that is to the right: the one word is turned."""
    if claim.trigger is None or claim.relation is None:
        return
    parse = surface.parse
    said = [i for i in tokens_of(surface, *claim.trigger) if surface.alive(i)]
    old, new = claim.relation.split()[0], instead.split()[0]
    side = next((i for i in said if parse.words[i] == old), None)
    if not said:
        return
    if side is not None and {old, new} == {"left", "right"}:
        surface.replace(side, new, {why})
        return
    surface.delete(said[1:], {why})
    surface.replace(said[0], instead, {why})


def flip(surface: Surface, claim: Claim, why: int) -> None:
    """Yes becomes No, No becomes Yes, in the writer's own capitals."""
    (token,) = tokens_of(surface, claim.start, claim.end)
    word = "no" if surface.parse.words[token] in yes_no.YES else "yes"
    old = surface.tokens[token]
    surface.put(token, word.upper() if old.isupper() else word.capitalize() if old[0].isupper() else word, {why})


def deny(surface: Surface, noun: int, why: int) -> bool:
    """ "there is a dog": "there is no dog". False where the sentence is built otherwise."""
    parse = surface.parse
    if not _introduced(surface, noun) or len(parse.conjuncts(noun)) > 1:
        return False
    quantity = [j for j in parse.children[noun] if parse.deps[j] in _QUANTIFYING and j < noun]
    quantity = sorted({i for j in quantity for i in parse.subtree(j)})
    quantity += [j for j in parse.children[noun] if parse.words[j] in ("several", "many", "few", "some", "multiple")]
    first = min([noun, *(j for j in parse.subtree(noun) if j < noun)])
    if quantity:
        surface.delete(quantity[1:], {why})
        surface.replace(quantity[0], "no", {why})
    else:
        surface.replace(first, f"no {surface.tokens[first]}", {why})
    return True


def affirm(surface: Surface, noun: int, why: int) -> bool:
    """ "there is no cat": "there is a cat". False where the sentence is built otherwise."""
    parse = surface.parse
    verb = parse.heads[noun]
    listed = len(parse.conjuncts(noun)) > 1
    no = next((j for j in parse.children[noun] if parse.words[j] == "no" and j < noun), None)
    subject = parse.deps[noun] in ("nsubj", "nsubjpass")
    phrase = subject and parse.tags[verb] not in VERB_TAGS
    if listed or phrase or not (_introduced(surface, noun) or subject or parse.deps[noun] in ("dobj", "attr")):
        return False
    if no is not None:
        if parse.tags[noun] in ("NNS", "NNPS"):
            surface.delete([no], {why})
        else:
            surface.replace(no, article(parse.words[no + 1]), {why})
        return True
    negations = [j for j in parse.children[verb] if parse.deps[j] == "neg"]
    if not negations or subject:
        return False
    helping = [j for j in parse.children[verb] if parse.words[j] in ("do", "does", "did") and parse.deps[j] == "aux"]
    surface.delete([*negations, *helping], {why})
    for j in parse.children[noun]:
        if parse.words[j] == "any":
            one = parse.tags[noun] not in ("NNS", "NNPS")
            surface.replace(j, article(parse.words[j + 1]) if one else "some", {why})
    return True


def negate(surface: Surface, claim: Claim, why: int) -> bool:
    """ "the car is red": "the car is not red". False where no form of "be" carries the claim."""
    parse = surface.parse
    if claim.trigger is None:
        return False
    for said in tokens_of(surface, *claim.trigger):
        verb = parse.heads[parse.first_conjunct(said)]
        while parse.words[verb] not in _BE and parse.heads[verb] != verb and parse.tags[verb] not in NOUN_TAGS:
            verb = parse.heads[verb]
        helping = [j for j in parse.children[verb] if parse.words[j] in _BE and parse.deps[j] in ("aux", "auxpass")]
        carrier = verb if parse.words[verb] in _BE else (helping[0] if helping else None)
        if carrier is not None and not any(parse.deps[j] == "neg" for j in parse.children[verb]):
            surface.put(carrier, f"{surface.tokens[carrier]} not", {why})
            return True
    return False


def _introduced(surface: Surface, noun: int) -> bool:
    """ "there is a dog"."""
    parse = surface.parse
    verb = parse.heads[noun]
    return parse.deps[noun] in ("attr", "nsubj", "dobj") and any(parse.deps[j] == "expl" for j in parse.children[verb])


_NOTE = re.compile(r" \[(?:not found|unsure|-?\d+(?:, -?\d+){3}(?:; -?\d+(?:, -?\d+){3})*)\]")


def annotated(text: str, at: int) -> bool:
    """Whether a note that style "annotate" writes stands at this place."""
    return _NOTE.match(text, at) is not None


def without_notes(text: str) -> str:
    """The text without the notes that style "annotate" wrote.

    >>> without_notes("A dog [3, 4, 50, 60] and a cat [not found].")
    'A dog and a cat.'
    """
    return _NOTE.sub("", text)
