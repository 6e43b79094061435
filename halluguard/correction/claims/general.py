"""General statements: what is said of a kind of thing, not of what the image shows.

    Dogs are often used in police work.      of dogs in general
    Water is essential for hydration.        of water in general
    You can use a map to find your way.      advice
    Dry your hair with a towel.              instructions
    The dog is often used in police work.    of this dog: read as usual

Positive evidence is needed: an adverb of habit, a predicate that tells of a kind, or advice to the reader, and a
subject that no article, number or place ties to the image.
"""

from __future__ import annotations

from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse

_HABIT = words("adverbs of habit")
_OF_A_KIND = words("told of a kind")
_CLASSES = words("classes")
_TELLING = ("for", "to", "as", "in", "by", "of", "from", "that")
_SEEING = words("seeing")
_TIED = (
    "the",
    "this",
    "that",
    "these",
    "those",
    "his",
    "her",
    "its",
    "their",
    "one",
    "two",
    "three",
    "another",
    "some",
)
_REASONS = ("reasons", "purposes", "ways", "contexts", "circumstances")
_MANIFOLD = ("various", "many", "different", "several", "numerous", "multiple")
_READER = ("you", "one", "we")
_BE = ("is", "are", "be", "been", "being", "'re", "'s")
_SUBJECTS = ("nsubj", "nsubjpass")
_OF_THE_IMAGE = ("image", "picture", "photo", "photograph", "scene", "here", "foreground", "background")


def silent(parse: Parse) -> set[int]:
    """Tokens of clauses that make general statements, without definite noun phrases."""
    tokens = set[int]()
    for verb in range(len(parse)):
        if parse.tags[verb][:2] in ("VB", "MD") and _is_general(parse, verb):
            tokens.update(_untied(parse, verb))
    return tokens


def _is_general(parse: Parse, verb: int) -> bool:
    subject = parse.child(verb, *_SUBJECTS)
    if subject is None:
        return _instructs(parse, verb)
    if subject > verb:
        return False
    of_the_reader = parse.words[subject] in _READER and parse.tags[subject] == "PRP"
    if not of_the_reader and not _is_kind(parse, subject):
        return False
    inside = parse.subtree(verb)
    if any(parse.words[i] in _OF_THE_IMAGE for i in inside):
        return False
    if of_the_reader:
        return _advises(parse, verb)
    to_reader = any(parse.deps[j] == "dobj" and parse.words[j] == "you" for i in inside for j in parse.children[i])
    if to_reader and parse.child(verb, "aux") is not None:
        return True  # "A map can help you find your way."
    if any(parse.words[i] in _REASONS and parse.words[i - 1] in _MANIFOLD for i in inside if i > verb):
        return True  # "People create art for various reasons."
    adverbs = [j for j in parse.children[verb] if parse.deps[j] == "advmod" and j < verb]
    habit = parse.deps[verb] not in ("relcl", "advcl") and any(parse.words[j] in _HABIT for j in adverbs)
    return habit or _tells_of_a_kind(parse, verb)


def _is_kind(parse: Parse, subject: int) -> bool:
    """Whether a subject may be a kind: "dogs", "a dog", "water", "people"; not "the dog", "two dogs", "his dog"."""
    if parse.tags[subject] == "PRP":
        return parse.words[subject] in ("they", "it")
    determiners = [parse.words[j] for j in parse.children[subject] if parse.deps[j] in ("det", "poss", "nummod")]
    return (
        parse.tags[subject][:2] == "NN"
        and not any(word in _TIED or word.isdigit() for word in determiners)
        and parse.child(subject, "prep", "relcl", "acl") is None
    )


def _tells_of_a_kind(parse: Parse, verb: int) -> bool:
    """Whether the predicate and its complement tell of a kind: "are known for", "can be used to"."""
    if parse.words[verb] in _BE:
        complements = [j for j in parse.children[verb] if parse.deps[j] in ("acomp", "attr") and j > verb]
    else:
        complements = [verb]
    if any(_is_class(parse, verb, j) for j in complements):
        return True
    return any(
        parse.words[j] in _OF_A_KIND and any(parse.words[k] in _TELLING and k > j for k in parse.children[j])
        for j in complements
    )


def _is_class(parse: Parse, verb: int, complement: int) -> bool:
    """Whether the complement is what a kind belongs to: "Hedgehogs are small mammals"."""
    subject = parse.child(verb, *_SUBJECTS)
    bare = subject is not None and parse.tags[subject] == "NNS" and parse.child(subject, "det", "nummod") is None
    articles = [j for j in parse.children[complement] if parse.deps[j] in ("det", "nummod", "poss")]
    return bare and parse.tags[complement] == "NNS" and parse.words[complement] in _CLASSES and not articles


def _instructs(parse: Parse, verb: int) -> bool:
    """Whether the verb tells the reader to do something with what is the reader's: "Dry your hair with a towel"."""
    first, end = parse.sentences[parse.sentence[verb]]
    opens = all(parse.tags[i] == "RB" or not parse.words[i].isalnum() for i in range(first, verb))
    orders = parse.tags[verb] == "VB" and parse.deps[verb] == "ROOT" and opens
    return orders and "your" in parse.words[verb:end] and parse.words[verb] not in _SEEING


def _advises(parse: Parse, verb: int) -> bool:
    """Whether the verb gives advice: "you can use", "if you are driving"; not "you can see a dog"."""
    advice = any(parse.tags[j] == "MD" or parse.words[j] in ("if", "when") for j in parse.children[verb] if j < verb)
    return advice and parse.words[verb] not in _SEEING


def _untied(parse: Parse, verb: int) -> set[int]:
    """The tokens below a verb, without the nouns that "the" or "this" ties to the image."""
    inside = set(parse.subtree(verb))
    tied = [
        i
        for i in inside
        if parse.tags[i] in ("NN", "NNS") and any(parse.words[j] in ("the", "this", "these") for j in parse.children[i])
    ]
    return inside - set(tied)
