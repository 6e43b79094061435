"""Polarity and modality of a mention: the text claims the thing, denies it, or does not commit itself.

Polarity: "asserted" or "denied". Modality: "asserted", "hedged" (possibly a dog), "disjunctive" (a heron or pelican),
"irrealis" (waiting for a bus), "depicted" (a statue of a dog), "question".
"""

from __future__ import annotations

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.lexicon import NOUN_TAGS, words
from halluguard.correction.text.parse import Parse
from halluguard.records import Modality, Polarity
from halluguard.vocabulary import singular

_DEPICTIONS = words("depictions")
_NEGATIVE_NOUNS = words("negative nouns")
_HEDGES = words("hedges")
_HEDGING_VERBS = words("hedging verbs")
_HEDGING_MODALS = words("hedging modals")
_IRREALIS = words("irrealis")
_INSIDE = ("det", "amod", "nummod", "poss", "compound", "quantmod", "advmod")
_FREE_OF = ("none", "free", "devoid", "empty")
_NONE = ("no", "neither", "nor", "zero")
_DETERMINING = ("det", "cc", "preconj", "neg", "nummod", "advmod")
_OBJECTS = ("dobj", "attr", "obj", "acomp", "oprd", "dative")
_SIGNS = words("signs")
_MAKES_TOY = words("toy")
_PICTURES = words("pictures")
_SHOWS = words("showing")
_DENYING = words("denying")
_INSTEAD = words("instead")


def polarity(parse: Parse, mention: Mention) -> Polarity:
    """ "denied" for "no dog", "is not a dog", "without dogs", "lack of dogs", "neither dogs nor cats"."""
    i = mention.last
    while True:
        if _denied_by_determiner(parse, i) or _denied_by_head(parse, i):
            return "denied"
        if parse.deps[i] != "conj" or _contrasted(parse, i):
            return "asserted"
        i = parse.heads[i]


def _denied_by_determiner(parse: Parse, i: int) -> bool:
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
        return word in _DENYING or _negated_verb(parse, head)
    return False


def _negated_verb(parse: Parse, verb: int) -> bool:
    """The verb, or the verb that governs it ("does not appear to have"), is negated."""
    while True:
        for j in parse.children[verb]:
            if (parse.deps[j] == "neg" or parse.words[j] in ("never", "hardly")) and not _not_only(parse, j):
                return True
        if parse.deps[verb] not in ("xcomp", "conj") or parse.heads[verb] == verb:
            return False
        head = parse.heads[verb]
        if parse.deps[verb] == "conj" and not any(parse.words[j] in ("or", "nor") for j in parse.children[head]):
            return False  # "is not running and holds a ball"; but "does not run or hold a ball"
        verb = head


def _not_only(parse: Parse, i: int) -> bool:
    """ "not only a cat but also a dog" denies neither."""
    return i + 1 < len(parse) and parse.words[i + 1] in ("only", "just", "merely", "necessarily")


def _contrasted(parse: Parse, i: int) -> bool:
    """ "no dog but a cat": the conjunct after "but" starts afresh."""
    head = parse.heads[i]
    return any(parse.words[j] in ("but", "yet") for j in parse.children[head] if head < j < i)


def modality(parse: Parse, mention: Mention) -> Modality:
    """How the text keeps its distance from the mention; "asserted" when it does not."""
    first, end = parse.sentences[parse.sentence[mention.last]]
    if parse.words[end - 1] == "?" or (end - first > 1 and "?" in parse.words[end - 2 : end]):
        return "question"
    chain = _list_members(parse, mention.last)
    if any(_depicted(parse, i) for i in chain):
        return "depicted"
    if _hedged(parse, mention) or any(_hedged_by_verb(parse, i) for i in chain):
        return "hedged"
    if any(_irrealis(parse, i) for i in chain):
        return "irrealis"
    return "disjunctive" if alternatives(parse, mention.last) else "asserted"


def _list_members(parse: Parse, i: int) -> list[int]:
    """The token and the heads of its list, nearest first."""
    members = [i]
    while parse.deps[i] == "conj" and parse.heads[i] != i:
        i = parse.heads[i]
        members.append(i)
    return members


def _depicted(parse: Parse, i: int) -> bool:
    if any(parse.words[j] in _MAKES_TOY and parse.deps[j] in ("amod", "compound", "nmod") for j in parse.children[i]):
        return True
    head = parse.heads[i]
    if parse.deps[i] in ("compound", "nmod") and singular(parse.words[head]) in _DEPICTIONS:
        return True
    if parse.deps[i] != "pobj" or parse.words[head] not in ("of", "depicting", "showing", "featuring"):
        return False
    shows = parse.heads[head]
    if singular(parse.words[shows]) not in _DEPICTIONS:
        return False
    return parse.words[shows] not in _PICTURES or not _is_the_picture(parse, shows)


def _is_the_picture(parse: Parse, i: int) -> bool:
    """ "This is a photo of a dog", "The image of a dog ...": the image itself, not a picture that hangs in it."""
    if any(parse.words[j] in ("hanging", "framed", "displayed", "mounted") for j in parse.subtree(i)):
        return False
    head = parse.heads[i]
    return parse.deps[i] in ("nsubj", "nsubjpass", "ROOT") or parse.words[head] in _SHOWS


def _hedged(parse: Parse, mention: Mention) -> bool:
    """ "possibly a dog", "a likely dog": a hedge in the noun phrase or right before it."""
    first = min([mention.first, *(j for j in parse.children[mention.last] if parse.deps[j] in _INSIDE)])
    inside = range(first, mention.first)
    if any(parse.words[j] in _HEDGES for j in inside):
        return True
    start = parse.sentences[parse.sentence[mention.last]][0]
    if first > start and parse.words[first - 1] in _HEDGES:
        return True
    if first - 1 > start and parse.words[first - 1] in ("of", "in", "with", "by", "for", "on", "near", "at"):
        return parse.words[first - 2] in _HEDGES
    before = parse.words[max(start, first - 3) : first]
    return len(before) == 3 and before[0] in _HEDGING_MODALS and before[1:] == ["be", "a"]


def _hedged_by_verb(parse: Parse, i: int) -> bool:
    """ "what appears to be a dog", "looks like a dog", "might be a dog", "it may contain a dog"."""
    head, dep = parse.heads[i], parse.deps[i]
    if dep == "pobj":
        return parse.words[head] == "like" and parse.words[parse.heads[head]] in ("look", "looks", "looked", "looking")
    if dep not in _OBJECTS or head == i:
        return False
    if any(parse.words[j] in _HEDGING_MODALS or parse.words[j] in _HEDGES for j in parse.children[head]):
        return True
    linking = parse.words[head] in ("be", "include", "contain", "have")
    return linking and parse.deps[head] in ("xcomp", "ccomp") and parse.words[parse.heads[head]] in _HEDGING_VERBS


def _irrealis(parse: Parse, i: int) -> bool:
    """ "waiting for a bus", "preparing to hit a ball", "about to catch a frisbee", "instead of a dog"."""
    head, dep = parse.heads[i], parse.deps[i]
    if dep == "pobj":
        word, above = parse.words[head], parse.heads[head]
        if word == "for" and parse.tags[above] in ("JJ", "VBN"):
            return True  # "suitable for children", "designed for players"
        if word in ("for", "of") and parse.words[above] in _IRREALIS | _INSTEAD:
            return True
        return word in ("except", "unlike", "than") or (word == "of" and parse.words[above] in _INSTEAD)
    if dep not in ("dobj", "obj"):
        return False
    if parse.words[head] in _IRREALIS:
        return True
    if "to" not in (parse.words[j] for j in parse.children[head] if parse.deps[j] == "aux"):
        return False
    governor = parse.words[parse.heads[head]]
    return parse.deps[head] in ("xcomp", "advcl", "acl", "pcomp", "relcl") and (
        governor in _IRREALIS or governor in ("about", "ready", "going", "used", "opportunity", "chance")
    )


def alternatives(parse: Parse, i: int) -> list[int]:
    """The other heads of an "or" list that token i belongs to."""
    top = parse.first_conjunct(i)
    members, queue = [top], [top]
    joined_by_or = False
    while queue:
        j = queue.pop()
        for k in parse.children[j]:
            if parse.deps[k] == "cc" and parse.words[k] == "or":
                joined_by_or = True
            if parse.deps[k] == "conj":
                members.append(k)
                queue.append(k)
    return sorted(j for j in members if j != i) if joined_by_or else []
