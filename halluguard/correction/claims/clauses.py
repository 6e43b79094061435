"""Clauses of statements in general: their subjects, and which of their nouns are tied to the image."""

from __future__ import annotations

from halluguard.correction.text.lexicon import concrete, words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import singular

SUBJECTS = ("nsubj", "nsubjpass")
SEEING = words("seeing")
"""Verbs with which a clause tells of the image all the same: "you can see a dog"."""
_TIED = frozenset("the this that these those his her its their one two three another some".split())
_OF_THE_IMAGE = frozenset("image picture photo photograph scene here foreground background".split())


def is_kind(parse: Parse, subject: int) -> bool:
    """Whether a subject may be a kind: "dogs", "a dog", "water", "people"; not "the dog", "two dogs", "his dog"."""
    if parse.tags[subject] == "PRP":
        return parse.words[subject] in ("they", "it")
    determiners = [parse.words[j] for j in parse.children[subject] if parse.deps[j] in ("det", "poss", "nummod")]
    return (
        parse.tags[subject][:2] == "NN"
        and not any(word in _TIED or word.isdigit() for word in determiners)
        and parse.child(subject, "prep", "relcl", "acl") is None
        and not _is_owned(parse, subject)
    )


def of_the_image(parse: Parse, verb: int, but: str = "") -> bool:
    """Whether a clause speaks of the image: "A dog is often seen here"; `but` is a word that does not say so."""
    return any(parse.words[i] in _OF_THE_IMAGE and parse.words[i] != but for i in parse.subtree(verb))


def is_tied(parse: Parse, noun: int) -> bool:
    """Whether "the" or "this" ties a noun to the image: "the dog", "the dog's tail"."""
    owners = [j for j in parse.children[noun] if parse.deps[j] == "poss"]
    return any(parse.words[k] in ("the", "this", "these") for j in (noun, *owners) for k in parse.children[j])


def _is_owned(parse: Parse, noun: int) -> bool:
    return any(parse.deps[j] == "poss" and parse.tags[j][:2] == "NN" for j in parse.children[noun])


def ties_any(parse: Parse, verb: int) -> bool:
    """Whether a clause ties a thing to the image after its verb: "the park", "his dog", "two dogs"."""
    for noun in parse.subtree(verb):
        if noun > verb and parse.tags[noun] in ("NN", "NNS") and concrete(singular(parse.words[noun])):
            articles = {parse.words[j] for j in parse.children[noun]} & _TIED - {"its", "their"}
            named = any(parse.tags[j] == "JJ" and _is_capital(parse, j) for j in parse.children[noun])
            if (articles and not named) or parse.child(noun, "nummod") is not None:
                return True
    return False


def _is_capital(parse: Parse, i: int) -> bool:
    return parse.text[parse.starts[i]].isupper()


def untied(parse: Parse, verb: int) -> set[int]:
    """The tokens below a verb, without the nouns that "the" or "this" ties to the image."""
    inside = parse.subtree(verb)
    return {i for i in inside if parse.tags[i] not in ("NN", "NNS") or not is_tied(parse, i)}


def own_clause(parse: Parse, verb: int) -> set[int]:
    """The tokens below a verb, without the clauses joined to it that have subjects of their own."""
    inside = set(parse.subtree(verb))
    for other in parse.children[verb]:
        if parse.deps[other] in ("conj", "ccomp", "parataxis") and parse.child(other, *SUBJECTS) is not None:
            inside -= set(parse.subtree(other)) if parse.deps[other] == "conj" or other < verb else set()
    return inside
