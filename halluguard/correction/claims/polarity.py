"""Denials: no dog, not a dog, hardly any dogs, the dog is not visible; and what restricts them.

"No other people", "no people sitting at the table" and "no red car" are denials that a person elsewhere or a blue car
does not contradict: their modality is "restricted".
"""

from __future__ import annotations

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS, words
from halluguard.correction.text.parse import Parse
from halluguard.records import Polarity

_NEGATIVE_NOUNS = words("negative nouns")
_FREE_OF = ("none", "free", "devoid", "empty")
_NONE = ("no", "neither", "nor", "zero", "0")
_DETERMINING = ("det", "cc", "preconj", "neg", "nummod", "advmod")
_OBJECTS = ("dobj", "attr", "obj", "acomp", "oprd", "dative")
_SIGNS = words("signs")
_DENYING = words("denying")
_FAILING = ("fail", "fails", "failed", "failing", "unable")
_VISIBLE = words("visible")
_ABSENT = ("absent", "missing", "nowhere")
_BARELY = ("hardly", "barely", "scarcely")
_OTHER = ("other", "others", "additional", "more", "further", "else", "another")
_EXCEPT = ("besides", "except", "apart", "aside", "beyond", "than")
_IMAGE = words("image words")
_IN_VIEW = _IMAGE | {"sight", "view"}
_BE = ("is", "are", "was", "were", "be", "'s", "exist", "exists", "appear", "appears", "remain", "remains")
_IN_IMAGE = frozenset("in on within anywhere at all the this that".split())
_NO_SUBJECT = ("nobody", "none", "neither", "nothing")
_NOBODY = ("i", "you", "we", "one", "there", "it", "they")


def polarity(parse: Parse, mention: Mention) -> Polarity:
    """The polarity of a mention: "denied" in "no dog", "is not a dog", "the dog is not seen", "Dogs: none"."""
    i = mention.last
    if parse.block and parse.block[i] in parse.denied:
        return "denied"
    while True:
        if _denied_by_determiner(parse, i) or _denied_by_head(parse, i) or _unseen(parse, i):
            return "denied"
        if parse.deps[i] != "conj" or _contrasted(parse, i):
            return "asserted"
        i = parse.heads[i]


def _denied_by_determiner(parse: Parse, i: int) -> bool:
    first = min([i, *(j for j in parse.children[i] if parse.deps[j] in ("det", "nummod", "amod"))])
    if first > 0 and parse.words[first - 1] == "not" and parse.words[first] in ("a", "one", "single", "any"):
        return not _not_only(parse, first - 1)
    if _hardly_any(parse, i) or (first > 0 and parse.words[first - 1] == "0"):
        return True
    for j in parse.children[i]:
        word = parse.words[j]
        if word in _NONE and parse.deps[j] in _DETERMINING:
            return word != "no" or not _not_only(parse, j)
        if parse.deps[j] == "neg" and parse.tags[i] in NOUN_TAGS and not _not_only(parse, j):
            return parse.deps[i] != "nsubj"
    return False


def _denied_by_head(parse: Parse, i: int) -> bool:
    head, dep = parse.heads[i], parse.deps[i]
    if head == i:
        return False
    word = parse.words[head]
    if dep == "pobj":
        if word == "without":
            return True
        above = parse.heads[head]
        if word in ("of", "from") and above != head:
            if parse.words[above] in _NEGATIVE_NOUNS or parse.words[above] in _FREE_OF:
                return True
            if parse.words[above] in _SIGNS:
                return _denied_by_determiner(parse, above) or _denied_by_head(parse, above)
        return False
    if dep in _OBJECTS:
        failing = parse.deps[head] == "xcomp" and parse.words[parse.heads[head]] in _FAILING
        return word in _DENYING or failing or _negated_verb(parse, head)
    return False


def _negated_verb(parse: Parse, verb: int) -> bool:
    """Whether the verb, or the verb that governs it ("does not appear to have"), is negated."""
    while True:
        if _subject_denies(parse, verb):
            return True
        for j in parse.children[verb]:
            if (parse.deps[j] == "neg" or parse.words[j] in ("never", "hardly")) and not _not_only(parse, j):
                return True
        if parse.deps[verb] not in ("xcomp", "conj") or parse.heads[verb] == verb:
            return False
        head = parse.heads[verb]
        if parse.deps[verb] == "conj" and not any(parse.words[j] in ("or", "nor") for j in parse.children[head]):
            return False  # "is not running and holds a ball"; but "does not run or hold a ball"
        verb = head


def _subject_denies(parse: Parse, verb: int) -> bool:
    """Whether the subject denies what the verb says: "Nobody holds a cup", "No man wears a hat"."""
    subject = parse.child(verb, "nsubj", "nsubjpass")
    if subject is None or _says_presence(parse, verb):
        return False
    determined = any(
        parse.words[j] in _NONE and parse.deps[j] in _DETERMINING and j < subject and not _not_only(parse, j)
        for j in parse.children[subject]
    )
    return determined or parse.words[subject] in _NO_SUBJECT


def _says_presence(parse: Parse, verb: int) -> bool:
    """Whether the verb only says that its subject is there or is seen: "No dog is visible", "No dog can be seen"."""
    complements = (parse.words[j] for j in parse.children[verb] if parse.deps[j] in _SAYING)
    return parse.words[verb] in _VISIBLE or parse.words[verb] in _BE or any(word in _VISIBLE for word in complements)


def _not_only(parse: Parse, i: int) -> bool:
    """Whether the negation denies nothing, as in "not only a cat but also a dog"."""
    return i + 1 < len(parse) and parse.words[i + 1] in ("only", "just", "merely", "necessarily")


def _contrasted(parse: Parse, i: int) -> bool:
    """Whether "but" ends a denial before the conjunct: the cat in "no dog but a cat"."""
    head = parse.heads[i]
    return any(parse.words[j] in ("but", "yet") for j in parse.children[head] if head < j < i)


_NOT_SO_FEW = frozenset("a the these those quite some his her only".split())
"""Words before "few" with which it is a number of things that are there."""


def _hardly_any(parse: Parse, i: int) -> bool:
    """Whether the quantity is close to none: "hardly any people", "few people"; not "a few people"."""
    for j in parse.children[i]:
        before = parse.words[j - 1] if j > 0 else ""
        if parse.words[j] in ("any", "a") and before in _BARELY:
            return True
        if parse.words[j] == "few" and before not in _NOT_SO_FEW:
            return not any(parse.words[k] in ("a", "the", "these", "those") for k in parse.children[i])
    return False


def _unseen(parse: Parse, i: int) -> bool:
    """Whether the predicate says that the thing is not seen: "the dog is not visible", "the dog is absent"."""
    verb = parse.heads[i]
    if parse.deps[i] not in ("nsubj", "nsubjpass") or parse.tags[verb] not in VERB_TAGS:
        return False
    predicate = {parse.words[verb], *(parse.words[j] for j in parse.children[verb] if parse.deps[j] in _SAYING)}
    if predicate & set(_ABSENT):
        return not _negated_verb(parse, verb)
    prepositions = [j for j in parse.children[verb] if parse.deps[j] == "prep"]
    place = next((j for j in prepositions if parse.words[j] in ("in", "within")), None)
    in_image = place is not None and any(parse.words[j] in _IMAGE for j in parse.children[place])
    here = parse.words[verb] in ("is", "are", "was", "were") and in_image
    return bool(predicate & _VISIBLE or here) and _negated_verb(parse, verb)


_SAYING = ("acomp", "advmod", "attr", "oprd")


def restricted(parse: Parse, mention: Mention) -> bool:
    """Whether a denial is of such things only, not of all: "no other people", "no people at the table"."""
    if mention.part or (parse.block and parse.block[mention.last] in parse.denied):
        return False
    i = parse.first_conjunct(mention.last)
    first, end = parse.sentences[parse.sentence[i]]
    if any(
        parse.words[j] in _EXCEPT for j in range(first, end) if parse.words[j - 1] not in ("more", "less", "rather")
    ):
        return True
    if any(_hardly_any(parse, j) for j in (i, mention.last)):
        return True
    if any(_narrows(parse, j) for noun in (i, mention.last) for j in parse.children[noun]):
        return True
    return _of_a_subject(parse, i) or _does_not_act(parse, i)


def only_present(parse: Parse, noun: int) -> bool:
    """Whether a clause says no more of a noun than that it is there: "Is there a dog?", not "Is the dog asleep?"."""
    top = parse.first_conjunct(noun)
    verb, dep = parse.heads[top], parse.deps[top]
    if any(_narrows(parse, j) for i in (top, noun) for j in parse.children[i]) or _goes_on_about(parse, noun):
        return False
    if any(parse.deps[j] == "expl" for j in parse.children[verb]):
        return not any(_narrows(parse, j) for j in parse.children[verb] if parse.deps[j] in ("prep", "acl", "relcl"))
    if dep in ("dobj", "obj"):
        subject = parse.child(verb, "nsubj")
        return subject is None or parse.words[subject] in _IMAGE or parse.words[subject] in _NOBODY
    if dep not in ("nsubj", "nsubjpass") or verb == top:
        return True
    said = [parse.words[j] for j in parse.children[verb] if parse.deps[j] in _SAYING]
    placed = any(_narrows(parse, j) for j in parse.children[verb] if parse.deps[j] == "prep")
    return _says_presence(parse, verb) and not placed and set(said) <= _VISIBLE


def _goes_on_about(parse: Parse, noun: int) -> bool:
    """Whether a sentence begins with a verb and "the dog", and then says something else than that it is seen."""
    first, end = parse.sentences[parse.sentence[noun]]
    known = first + 1 < noun and parse.words[first + 1] in ("the", "this", "that", "these", "those")
    rest = (parse.words[i] for i in range(noun + 1, end) if parse.words[i].isalpha())
    return known and any(word not in _VISIBLE | _IMAGE | _IN_IMAGE for word in rest)


def _does_not_act(parse: Parse, i: int) -> bool:
    """Whether only a deed of the thing is denied: "No dog is running", "None of the men holds a cup"."""
    if parse.deps[i] == "pobj" and parse.words[parse.heads[i]] == "of":
        i = parse.heads[parse.heads[i]]
    verb = parse.heads[i]
    acts = parse.deps[i] in ("nsubj", "nsubjpass") and parse.tags[verb] in VERB_TAGS
    return acts and _subject_denies(parse, verb)


def _narrows(parse: Parse, j: int) -> bool:
    """Whether a dependant of the denied noun narrows what is denied."""
    word, dep = parse.words[j], parse.deps[j]
    if word in _OTHER:
        return True
    if dep == "amod":
        return word not in _VISIBLE and word not in ("single", "actual", "such", "any")
    if dep == "prep":
        return word not in ("of",) and not any(parse.words[k] in _IN_VIEW for k in parse.subtree(j))
    return dep in ("acl", "relcl") and word not in _VISIBLE


def _of_a_subject(parse: Parse, i: int) -> bool:
    """Whether the thing is denied of a subject only: "the man is not wearing a tie", "the street has no cars"."""
    verb = parse.heads[i]
    if parse.deps[i] not in ("dobj", "obj") or parse.tags[verb] not in VERB_TAGS:
        return False
    subject = parse.child(verb, "nsubj")
    while (
        subject is None and parse.deps[verb] in ("xcomp", "conj", "acl", "relcl", "advcl") and parse.heads[verb] != verb
    ):
        if parse.deps[verb] in ("acl", "relcl"):
            subject = parse.heads[verb]
            break
        verb = parse.heads[verb]
        subject = parse.child(verb, "nsubj")
    if subject is None or parse.words[subject] in _IMAGE:
        return False
    return parse.words[subject] not in _NOBODY or _subject_denies(parse, verb)
