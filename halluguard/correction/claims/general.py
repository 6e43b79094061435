"""General statements: what is said of a kind of thing, not of what the image shows.

    Dogs are often used in police work.      of dogs in general
    Zebras live in herds.                    of zebras in general
    A giraffe is a tall mammal.              a definition
    You can use a map to find your way.      advice
    The dog is often used in police work.    of this dog: read as usual
    Zebras graze in a field.                 of the image: read as usual

Positive evidence is needed: an adverb of habit, a predicate that tells of a kind, a class that the kind belongs to, or
advice to the reader, and a subject that no article, number or place ties to the image.
"""

from __future__ import annotations

from halluguard.correction.claims import instructions, told
from halluguard.correction.claims.clauses import SEEING, SUBJECTS, is_kind, of_the_image, ties_any, untied
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import category, parents, singular

_HABIT = words("adverbs of habit")
_OF_A_KIND = words("told of a kind")
_CLASSES = words("classes")
_CLASS = words("class")
_LIVING = words("done by kinds")
_SPORTS = words("sports")
_DEFINING = words("defining")
_TELLING = ("for", "to", "as", "in", "by", "of", "from", "that")
_REASONS = ("reasons", "purposes", "ways", "contexts", "circumstances")
_MANIFOLD = ("various", "many", "different", "several", "numerous", "multiple")
_READER = ("you", "one", "we")
_BE = ("is", "are", "be", "been", "being", "'re", "'s")
_EACH = ("a", "per", "each", "every")
_PERIODS = ("day", "night", "week", "month", "year", "hour")


def silent(parse: Parse) -> set[int]:
    """Tokens of clauses that say nothing of the image: general statements, instructions, what is only told."""
    tokens = instructions.tokens(parse) | told.tokens(parse)
    for verb in range(len(parse)):
        if parse.tags[verb][:2] in ("VB", "MD") and _is_general(parse, verb):
            tokens.update(untied(parse, verb))
    return tokens


def _is_general(parse: Parse, verb: int) -> bool:
    subject = parse.child(verb, *SUBJECTS)
    if subject is None:
        return _instructs(parse, verb)
    if subject > verb:
        return False
    if parse.words[subject] in _READER and parse.tags[subject] == "PRP":
        return _advises(parse, verb) and not of_the_image(parse, verb, but="here")
    if _defines(parse, verb, subject):
        return True
    if not is_kind(parse, subject) or of_the_image(parse, verb):
        return False
    inside = parse.subtree(verb)
    to_reader = any(parse.deps[j] == "dobj" and parse.words[j] == "you" for i in inside for j in parse.children[i])
    if to_reader and parse.child(verb, "aux") is not None:
        return True  # "A map can help you find your way."
    if any(parse.words[i] in _REASONS and parse.words[i - 1] in _MANIFOLD for i in inside if i > verb):
        return True  # "People create art for various reasons."
    last = verb + 1 if parse.words[verb] in _BE else verb  # "are often faster"
    adverbs = [j for j in parse.children[verb] if parse.deps[j] == "advmod" and j <= last]
    habit = parse.deps[verb] not in ("relcl", "advcl") and any(parse.words[j] in _HABIT for j in adverbs)
    return habit or _tells_of_a_kind(parse, verb) or _lives(parse, verb, subject)


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


def _defines(parse: Parse, verb: int, subject: int) -> bool:
    """Whether the clause is a definition: "Surfing is a sport in which ...", "Origami is the art of ..."."""
    complement = parse.child(verb, "attr")
    if complement is None or parse.words[verb] not in ("is", "are") or parse.words[complement] not in _DEFINING:
        return False
    bare = parse.tags[subject] == "VBG" or is_kind(parse, subject)
    told = parse.child(complement, "relcl", "acl") is not None or "of" in (
        parse.words[j] for j in parse.children[complement]
    )
    return bare and told and parse.tags[subject] != "PRP"


def _is_class(parse: Parse, verb: int, complement: int) -> bool:
    """Whether the complement is what a kind belongs to: "Hedgehogs are small mammals", "A giraffe is a mammal"."""
    subject = parse.child(verb, *SUBJECTS)
    if subject is None or parse.deps[complement] != "attr" or parse.tags[subject] == "PRP":
        return False
    if any(parse.words[j] not in ("a", "an") for j in parse.children[complement] if parse.deps[j] in ("det", "poss")):
        return False
    word, kind = singular(parse.words[complement]), singular(parse.words[subject])
    wider = word in parents(kind) and category(kind) != "person"
    if parse.tags[complement] == "NNS" and parse.words[complement] not in _CLASS:
        bare = parse.tags[subject] == "NNS" and parse.child(complement, "nummod") is None
        kinds = parse.child(complement, "amod") is None and "animal" in parents(kind)
        return bare and (parse.words[complement] in _CLASSES or wider or kinds)
    return word in _CLASS or parse.words[complement] in _CLASS or wider


def _lives(parse: Parse, verb: int, subject: int) -> bool:
    """Whether only a kind does it: "Zebras live in herds", "A cat can jump", "Cats sleep for 16 hours a day"."""
    if parse.tags[subject] == "PRP":
        return False
    nobody = category(singular(parse.words[subject])) != "person"
    if parse.words[verb] in _LIVING and nobody and any(parse.tags[j] in ("NNP", "NNPS") for j in parse.subtree(verb)):
        return True  # "on the sea ice of the Arctic"
    if ties_any(parse, verb):
        return False
    if parse.words[verb] in _LIVING or (nobody and any(parse.words[j] == "most" for j in parse.children[subject])):
        return True
    if parse.words[subject] in _SPORTS and parse.tags[verb] == "VBN":
        return True  # "Tennis is played with a racket"
    able = any(parse.words[j] in ("can", "ca", "cannot") for j in parse.children[verb] if parse.deps[j] == "aux")
    if able and nobody and parse.words[verb] not in SEEING and parse.tags[verb] == "VB":
        return True
    inside = parse.subtree(verb)
    regular = any(
        parse.words[i] in _EACH and parse.words[i + 1 : i + 2] and parse.words[i + 1] in _PERIODS for i in inside
    )
    bare = parse.tags[subject] == "NNS" and parse.tags[verb] == "VBP"
    reacts = any(
        parse.deps[j] == "advcl" and any(parse.words[k] in ("when", "whenever", "if") for k in parse.children[j])
        for j in parse.children[verb]
    )
    return bare and (regular or reacts)


def _instructs(parse: Parse, verb: int) -> bool:
    """Whether the verb tells the reader to do something with what is the reader's: "Dry your hair with a towel"."""
    first, end = parse.sentences[parse.sentence[verb]]
    opens = all(parse.tags[i] == "RB" or not parse.words[i].isalnum() for i in range(first, verb))
    orders = parse.tags[verb] == "VB" and parse.deps[verb] == "ROOT" and opens
    return orders and "your" in parse.words[verb:end] and parse.words[verb] not in SEEING


def _advises(parse: Parse, verb: int) -> bool:
    """Whether the verb gives advice: "you can use", "if you are driving"; not "you can see a dog"."""
    advice = any(parse.tags[j] == "MD" or parse.words[j] in ("if", "when") for j in parse.children[verb] if j < verb)
    return advice and parse.words[verb] not in SEEING
