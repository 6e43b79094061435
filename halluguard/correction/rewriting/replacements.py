"""Replace words and keep the sentence: another number, another colour, the other side, yes turned into no.

A replacement writes only what an expert found (`Verdict.replacement`); where nothing clear was found an adjective is
dropped and a relation stays as it was written. Nothing is invented.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from halluguard.correction.claims.attributes import kind_of
from halluguard.correction.claims.counts import BOUND_WORDS, spelled
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting import agreement
from halluguard.correction.rewriting.token_editor import TokenEditor
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS
from halluguard.records import Claim, Verdict
from halluguard.vocabulary import article, plural, singular

_BE = ("is", "are", "was", "were", "'s", "'re")
_QUANTIFYING = ("det", "nummod", "quantmod", "predet")
_JOINTS = ("and", "or", ",", "-", "&")


def tokens_of(editor: TokenEditor, start: int, end: int) -> list[int]:
    """The tokens of a character span."""
    parse = editor.parse
    return [i for i in range(len(parse)) if parse.starts[i] >= start and parse.ends[i] <= end]


def number(editor: TokenEditor, mention: Mention, claim: Claim, verdict: Verdict, why: int) -> None:
    """Replace a number: "three dogs are" becomes "two dogs are", or "one dog is"."""
    if claim.trigger is None or verdict.replacement is None or not editor.alive(mention.last):
        return
    parse, count = editor.parse, int(verdict.replacement)
    tokens = tokens_of(editor, *claim.trigger)
    noun = mention.last
    vague = claim.source_rule == "vague"
    if vague and count > 1 and claim.bound == "at_least" and (claim.count or 0) <= 2:
        return  # "a few", "some": more than one was found, and that is what was claimed
    digits = parse.words[tokens[0]][0].isdigit()
    written = f"{count:,}" if digits else spelled(count)
    if count == 1 and vague:
        written = article(parse.words[tokens[-1] + 1] if tokens[-1] + 1 < len(parse) else mention.name)
    before = tokens[0] - 1
    while before >= 0 and parse.words[before] in BOUND_WORDS and parse.sentence[before] == parse.sentence[noun]:
        editor.delete([before], {why})
        before -= 1
    head = noun
    if parse.deps[noun] == "pobj" and parse.heads[parse.heads[noun]] == tokens[-1]:  # "a couple of dogs"
        head = tokens[-1]
        editor.delete([parse.heads[noun]], {why})
    target = head if head != noun else tokens[0]
    definite = before >= 0 and parse.words[before] in ("the", "these", "those", "its", "his", "her", "their")
    editor.delete([i for i in tokens if i != target], {why})
    editor.replace(target, "" if definite and count == 1 else written, {why})
    _renumber(editor, mention, count, why, head)


def _renumber(editor: TokenEditor, mention: Mention, count: int, why: int, head: int) -> None:
    """Give noun and verb the new number; the verb agrees with `head` ("couple" in "a couple of dogs")."""
    parse, noun = editor.parse, mention.last
    many = parse.tags[noun] in ("NNS", "NNPS") or mention.plural
    if many == (count != 1):
        return
    word = parse.words[noun]
    one = mention.name.split()[-1] if mention.first == noun else singular(word)
    editor.replace(noun, one if count == 1 else plural(singular(word)), {why})
    verb = parse.heads[head]
    there = any(parse.deps[j] == "expl" for j in parse.children[verb])
    counted = parse.deps[head] in ("nsubj", "nsubjpass") or (there and parse.deps[head] == "attr")
    if counted and len(parse.conjuncts(head)) == 1:
        agreement.number(editor, verb, plural=count != 1, why={why})


def attribute(editor: TokenEditor, claim: Claim, new_value: str | None, why: int) -> bool:
    """Replace an attribute: "a red car" becomes "a blue car", or "a car". Returns False if a cut is needed."""
    if claim.trigger is None:
        return True
    tokens = [i for i in tokens_of(editor, *claim.trigger) if editor.alive(i)]
    if not tokens:
        return True
    if new_value is not None and editor.parse.words[tokens[-1]] != "wood":
        editor.delete(tokens[:-1], {why})
        editor.replace(tokens[-1], new_value, {why})
        return True
    return _drop_adjective(editor, tokens, why)


def _drop_adjective(editor: TokenEditor, tokens: Sequence[int], why: int) -> bool:
    """Delete one adjective before a noun, with the comma or "and" that joined it to its neighbour."""
    parse, value = editor.parse, tokens[-1]
    top = parse.first_conjunct(value)
    if parse.deps[top] not in ("amod", "compound", "nmod") or parse.heads[top] < top:
        return False
    gone = set(tokens)
    if tokens[0] > 0 and parse.words[tokens[0] - 1] in _JOINTS and kind_of(parse.words[tokens[0] - 2]):
        gone.add(tokens[0] - 1)
    elif parse.words[value + 1] in _JOINTS:
        gone.add(value + 1)
    editor.delete(gone, {why})
    return True


def relation(editor: TokenEditor, claim: Claim, new_value: str, why: int) -> None:
    """Replace a relation by its opposite: "to the left of" becomes "to the right of"."""
    if claim.trigger is None or claim.relation is None:
        return
    parse = editor.parse
    tokens = [i for i in tokens_of(editor, *claim.trigger) if editor.alive(i)]
    old, new = claim.relation.split()[0], new_value.split()[0]
    side = next((i for i in tokens if parse.words[i] == old), None)
    if not tokens:
        return
    if side is not None and {old, new} == {"left", "right"}:
        editor.replace(side, new, {why})
        return
    editor.delete(tokens[1:], {why})
    editor.replace(tokens[0], new_value, {why})


def flip(editor: TokenEditor, claim: Claim, why: int) -> None:
    """Change Yes to No or No to Yes, with the same capitals; a clause such as "I do" becomes the word."""
    token, *others = tokens_of(editor, claim.start, claim.end)
    word = "no" if claim.polarity == "asserted" else "yes"
    old = editor.tokens[token]
    editor.delete(others, {why})
    if old.isupper() and len(old) > 1:
        word = word.upper()
    elif old[0].isupper():
        word = word.capitalize()
    editor.put(token, word, {why})


def deny(editor: TokenEditor, noun: int, why: int) -> bool:
    """Deny: "there is a dog" becomes "there is no dog". Returns False if the sentence has another form."""
    parse = editor.parse
    if not _introduced(editor, noun) or len(parse.conjuncts(noun)) > 1:
        return False
    quantity = [j for j in parse.children[noun] if parse.deps[j] in _QUANTIFYING and j < noun]
    quantity = sorted({i for j in quantity for i in parse.subtree(j)})
    quantity += [j for j in parse.children[noun] if parse.words[j] in ("several", "many", "few", "some", "multiple")]
    first = min([noun, *(j for j in parse.subtree(noun) if j < noun)])
    if quantity:
        editor.delete(quantity[1:], {why})
        editor.replace(quantity[0], "no", {why})
    else:
        editor.replace(first, f"no {editor.tokens[first]}", {why})
    return True


def affirm(editor: TokenEditor, noun: int, why: int) -> bool:
    """Affirm: "there is no cat" becomes "there is a cat". Returns False if the sentence has another form."""
    parse = editor.parse
    verb = parse.heads[noun]
    listed = len(parse.conjuncts(noun)) > 1
    no = next((j for j in parse.children[noun] if parse.words[j] == "no" and j < noun), None)
    subject = parse.deps[noun] in ("nsubj", "nsubjpass")
    phrase = subject and parse.tags[verb] not in VERB_TAGS
    if listed or phrase or not (_introduced(editor, noun) or subject or parse.deps[noun] in ("dobj", "attr")):
        return False
    if no is not None:
        if parse.tags[noun] in ("NNS", "NNPS"):
            editor.delete([no], {why})
        else:
            editor.replace(no, article(parse.words[no + 1]), {why})
        return True
    return affirm_verb(editor, verb, why)


def negate(editor: TokenEditor, claim: Claim, why: int) -> bool:
    """Negate: "the car is red" becomes "the car is not red". Returns False without a form of "be"."""
    parse = editor.parse
    if claim.trigger is None:
        return False
    for token in tokens_of(editor, *claim.trigger):
        verb = parse.heads[parse.first_conjunct(token)]
        while parse.words[verb] not in _BE and parse.heads[verb] != verb and parse.tags[verb] not in NOUN_TAGS:
            verb = parse.heads[verb]
        helping = [j for j in parse.children[verb] if parse.words[j] in _BE and parse.deps[j] in ("aux", "auxpass")]
        carrier = verb if parse.words[verb] in _BE else (helping[0] if helping else None)
        if carrier is not None and not any(parse.deps[j] == "neg" for j in parse.children[verb]):
            editor.put(carrier, f"{editor.tokens[carrier]} not", {why})
            return True
    return False


_CLIPPED = {"ca": "can", "wo": "will", "sha": "shall"}
"""Stump of an auxiliary without "n't" -> the whole auxiliary."""


def affirm_verb(editor: TokenEditor, verb: int, why: int) -> bool:
    """Affirm a verb: "he is not wearing" becomes "he is wearing". Returns False if nothing is negated."""
    parse = editor.parse
    negations = [j for j in parse.children[verb] if parse.deps[j] == "neg" or parse.words[j] in ("not", "n't", "never")]
    if not negations:
        return False
    helping = [j for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass") and j < verb]
    supporting = [j for j in helping if parse.words[j] in ("do", "does", "did")]
    editor.delete([*negations, *supporting], {why})
    for j in [*helping, verb]:
        if parse.words[j] in _CLIPPED:
            editor.replace(j, _CLIPPED[parse.words[j]], {why})
    if supporting and parse.words[supporting[0]] != "do":
        inflect = agreement.third_person if parse.words[supporting[0]] == "does" else agreement.past
        editor.replace(verb, inflect(parse.words[verb]), {why})
    for j in range(verb + 1, parse.sentences[parse.sentence[verb]][1]):
        if parse.words[j] in ("any", "either") and editor.alive(j):
            one = parse.heads[j] > j and parse.tags[parse.heads[j]] == "NN"
            editor.replace(j, article(parse.words[j + 1]) if one else "some", {why})
    return True


def negate_verb(editor: TokenEditor, verb: int, why: int) -> bool:
    """Negate a verb: "it shows" becomes "it does not show". Returns False if it is negated already."""
    parse = editor.parse
    word, tag = parse.words[verb], parse.tags[verb]
    if any(parse.deps[j] == "neg" for j in parse.children[verb]):
        return False
    helping = [j for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass") and j < verb]
    carrier = helping[0] if helping else verb if word in _BE else None
    if carrier is not None:
        editor.put(carrier, f"{editor.tokens[carrier]} not", {why})
        return True
    if tag not in ("VBZ", "VBP"):
        return False
    support = "does" if tag == "VBZ" else "do"
    editor.replace(verb, f"{support} not {agreement.bare(word) if tag == 'VBZ' else word}", {why})
    return True


def _introduced(editor: TokenEditor, noun: int) -> bool:
    """Whether the noun is introduced, as in "there is a dog"."""
    parse = editor.parse
    verb = parse.heads[noun]
    return parse.deps[noun] in ("attr", "nsubj", "dobj") and any(parse.deps[j] == "expl" for j in parse.children[verb])


_NOTE = re.compile(r" \[(?:not found|unsure|-?\d+(?:, -?\d+){3}(?:; -?\d+(?:, -?\d+){3})*)\]")


def annotated(text: str, at: int) -> bool:
    """Whether the text has a note of style "annotate" at this position."""
    return _NOTE.match(text, at) is not None


def without_notes(text: str) -> str:
    """The text without the notes that style "annotate" wrote.

    >>> without_notes("A dog [3, 4, 50, 60] and a cat [not found].")
    'A dog and a cat.'
    """
    return _NOTE.sub("", text)
