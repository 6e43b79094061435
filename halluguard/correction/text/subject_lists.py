"""Repairs of lists that are subjects: how many things the verb speaks of tells which nouns are listed."""

from __future__ import annotations

from halluguard.correction.text.lexicon import NOUN_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

NOUNS = ("NN", "NNS")


def mend_subject(parse: Parse, i: int) -> None:
    """Put right the list of a subject at token i.

    In "a bowl with plums and pears stands here" it is the bowl that stands; "a car, a bus and a bicycle pass" has one
    subject, a list.
    """
    if parse.deps[i] in ("nsubj", "nsubjpass", "conj"):
        _last_of_plurals(parse, i)
        _inside_singular_subject(parse, i)
        _second_subject(parse, i)


def _last_of_plurals(parse: Parse, i: int) -> None:
    """ "a bowl with apples, plums, and pears stands": a plural before "and" is no subject of a singular verb."""
    verb = parse.heads[i]
    top = parse.heads[verb]
    singular_verb = parse.tags[verb] == "VBZ" and parse.deps[verb] == "conj"
    if parse.deps[i] not in ("nsubj", "nsubjpass") or parse.tags[i] != "NNS" or not singular_verb:
        return
    joint = min(parse.subtree(i)) - 1
    before = joint - 1 if parse.words[joint - 1] != "," else joint - 2
    if parse.tags[top] != "NN" or parse.deps[top] != "ROOT" or parse.words[joint] not in ("and", "or"):
        return
    member = noun_phrase_end(parse, before)
    if member is None or member <= top or any(parse.deps[j] in SUBJECTS for j in parse.children[verb] if j != i):
        return
    parse.make_root(verb, top)
    for j in [j for j in parse.children[top] if j > joint - 2]:
        parse.hang(j, verb if j > i else member)
    parse.hang(i, member)
    parse.deps[i] = "conj"


def _inside_singular_subject(parse: Parse, i: int) -> None:
    """ "a bowl with apples and pears stands": one thing stands, so the pears are listed with the apples."""
    top = parse.heads[i]
    if parse.deps[i] == "nsubj":
        top = next((j for j in parse.children[top] if parse.deps[j] in ("nsubj", "dep") and j < i), i)
    verb = parse.heads[top]
    if parse.deps[i] not in ("conj", "nsubj") or parse.tags[i] not in NOUNS or parse.tags[top] != "NN":
        return
    if not top < i < verb or parse.deps[top] not in (*SUBJECTS, "dep") or not _singular_verb(parse, verb):
        return
    joint = min(parse.subtree(i)) - 1
    listed = _goes_on(parse, i) or not any(parse.deps[j] == "det" for j in parse.children[i])
    if parse.words[joint] != "and" and not (parse.words[joint] == "," and listed):
        return
    member = noun_phrase_end(parse, joint - 1 if parse.words[joint - 1] != "," else joint - 2)
    if member is not None and member > top:
        move(parse, joint, member)
        move(parse, i, member)
        parse.deps[i] = "conj"
        parse.deps[top] = "nsubj" if parse.deps[top] == "dep" else parse.deps[top]


def _second_subject(parse: Parse, i: int) -> None:
    """ "A dog, a cat, and a bird sit", "A car, a bus and a bicycle pass": a verb has one subject, a list here."""
    verb = parse.heads[i]
    top = next((j for j in parse.children[verb] if parse.deps[j] == parse.deps[i] and j < i), None)
    if parse.deps[i] not in SUBJECTS or top is None or parse.tags[i] not in NOUNS or parse.tags[top] not in NOUN_TAGS:
        return
    joint = min(parse.subtree(i)) - 1
    member = noun_phrase_end(parse, joint - 1 if parse.words[joint - 1] != "," else joint - 2)
    listed = parse.words[joint] == "and" or (parse.words[joint] == "," and _goes_on(parse, i))
    if member is None or not listed:
        return
    articled = bool(determiners(parse, member)) and not determiners(parse, parse.heads[member])
    if parse.deps[member] == "conj" and articled and top in parse.chain(member):
        move(parse, min(parse.subtree(member)) - 1, top)  # "a bowl of soup, a spoon, and a slice of bread are"
        move(parse, member, top)
    elif _plural_verb(parse, verb) and parse.deps[member] == "pobj" and parse.heads[parse.heads[member]] == top:
        member = top  # "a dog with a collar and a cat are lying"
    if member in parse.conjuncts(top):
        move(parse, joint, member)
        move(parse, i, member)
        parse.deps[i] = "conj"


def _goes_on(parse: Parse, i: int) -> bool:
    """Whether "and" and another member follow a noun."""
    return {"cc", "conj"} <= {parse.deps[j] for j in parse.children[i]}


def _plural_verb(parse: Parse, verb: int) -> bool:
    helping = next((j for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass")), verb)
    return parse.words[helping] in ("are", "were") or parse.tags[helping] == "VBP"


def _singular_verb(parse: Parse, verb: int) -> bool:
    helping = next((j for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass")), verb)
    return parse.tags[helping] == "VBZ"


def beside_subject(parse: Parse, i: int) -> None:
    """ "a dog with a collar and a cat are lying": two things lie, so the cat is listed with the dog."""
    phrase = parse.heads[parse.heads[i]]
    top = parse.heads[phrase]
    verb = parse.heads[top]
    joint = min(parse.subtree(i)) - 1
    if parse.deps[i] != "conj" or parse.tags[i] != "NN" or not any(parse.deps[j] == "det" for j in parse.children[i]):
        return
    alone = parse.deps[top] in SUBJECTS and parse.tags[top] == "NN" and len(parse.conjuncts(top)) == 1
    many = _plural_verb(parse, verb) and top < i < verb
    if alone and many and parse.words[joint] == "and" and parse.deps[phrase] == "prep":
        move(parse, joint, top)
        move(parse, i, top)


def noun_phrase_end(parse: Parse, i: int) -> int | None:
    """The noun that a joint after token i goes on with: the last noun of the list that ends there."""
    if i < 0 or parse.tags[i] not in NOUN_TAGS:
        return None
    while parse.deps[i] in ("compound", "nmod") and parse.heads[i] > i:
        i = parse.heads[i]
    return i


def determiners(parse: Parse, noun: int) -> list[str]:
    """The determiners of a noun."""
    return [parse.words[j] for j in parse.children[noun] if parse.deps[j] == "det"]


def move(parse: Parse, token: int, head: int) -> None:
    """Give a token another head, unless it is its own."""
    if token != head:
        parse.hang(token, head)
