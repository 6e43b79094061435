"""Modality of a mention: the text claims the thing, or keeps a distance from it.

"asserted", "hedged" (possibly a dog), "disjunctive" (a heron or pelican), "irrealis" (waiting for a bus), "depicted" (a
statue of a dog), "question", and for denials "restricted" (no other dog).
"""

from __future__ import annotations

from halluguard.correction.claims import polarity, purposes
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.text.lexicon import concrete, words
from halluguard.correction.text.parse import SUBJECTS, Parse
from halluguard.records import Modality, Polarity
from halluguard.vocabulary import category, parents, singular

_DEPICTIONS = words("depictions")
_HEDGES = words("hedges")
_HEDGING_VERBS = words("hedging verbs")
_HEDGING_MODALS = words("hedging modals")
_IRREALIS = words("irrealis")
_SCREENS = ("tv", "television", "monitor", "display", "laptop", "tablet", "phone")
_LOOKING = ("look", "looks", "looked", "looking")
_UNKNOWN = frozenset("thing object item figure shape animal creature structure something what one".split())
_INSIDE = ("det", "amod", "nummod", "poss", "compound", "quantmod", "advmod")
_OBJECTS = ("dobj", "attr", "obj", "acomp", "oprd", "dative")
_MAKES_TOY = words("toy")
_PICTURES = words("pictures")
_SHOWS = words("showing")
_INSTEAD = words("instead")
_SHOWING = words("showing something")
_SHOWERS = words("showers")
_ALSO_MATERIALS = ("plush", "stuffed", "ceramic", "inflatable", "animated", "miniature")
_PRINTED = words("printed")
_HANGING = ("hanging", "hangs", "framed", "mounted", "wall", "walls", "easel")
_ASKING_TAGS = ("WP", "WRB", "WDT", "MD", "WP$")
_ASKING_VERBS = frozenset("is are was were do does did has have isn't aren't".split())
_SHORT_QUESTION = 6
"""Up to this number of tokens a question mark is enough: "A dog?"."""
_KNOWING = frozenset("know knows tell determine say identify confirm certain sure clear unclear unsure".split())
_WHO = frozenset("who whom what which where how why".split())
_KINDS_OF = words("kinds of")


def modality(parse: Parse, mention: Mention, side: Polarity) -> Modality:
    """The modality of a mention of known polarity, such as depicted or hedged; "asserted" if the text states it."""
    first, end = parse.sentences[parse.sentence[mention.last]]
    if "?" in parse.words[max(first, end - 2) : end] and _asks(parse, first, end):
        return "question"
    if side == "denied" and polarity.restricted(parse, mention):
        return "restricted"
    chain = _list_members(parse, mention.last)
    if any(_depicted(parse, i) for i in chain):
        return "depicted"
    if _hedged(parse, mention) or any(_hedged_by_verb(parse, i) for i in chain):
        return "hedged"
    if any(_supposed(parse, i) for i in parse.chain(mention.last)) or any(_irrealis(parse, i) for i in chain):
        return "irrealis"
    return "disjunctive" if alternatives(parse, mention.last) else "asserted"


def _asks(parse: Parse, first: int, end: int) -> bool:
    """Whether a sentence with a question mark asks: a verb or a question word opens it, or a part of it."""
    opens = [first, *(i + 1 for i in range(first, end - 1) if parse.words[i] in (",", ":", "and", "or"))]
    asking = any(parse.tags[i] in _ASKING_TAGS or parse.words[i] in _ASKING_VERBS for i in opens if i < end)
    return asking or end - first <= _SHORT_QUESTION


def _list_members(parse: Parse, i: int) -> list[int]:
    """The token and the heads of its list, nearest first."""
    members = [i]
    while parse.deps[i] == "conj" and parse.heads[i] != i:
        i = parse.heads[i]
        members.append(i)
    return members


def _depicted(parse: Parse, i: int) -> bool:
    """Whether the thing is only depicted: "a statue of a dog", "a toy dog", "the poster shows a dog"."""
    if any(_makes_toy(parse, j, i) for j in parse.children[i]):
        return True
    head = parse.heads[i]
    if parse.deps[i] in ("compound", "nmod") and singular(parse.words[head]) in _DEPICTIONS:
        return True
    if _printed(parse, i) or _likeness(parse, i) or _on_screen(parse, i):
        return True
    if parse.deps[i] == "pobj" and parse.words[head] in ("of", "depicting", "showing", "featuring"):
        shows = parse.heads[head]
        if parse.words[shows] == "model" and parse.words[head + 1] not in ("a", "an", "the"):
            return False
        if parse.words[head] == "of" and parse.words[shows] in ("display", "cover", "plate", "cup"):
            return False  # "a display of bags", "a cup of tea"
        definite = any(parse.words[j] in ("the", "this") for j in parse.children[i])
        if parse.words[head] == "of" and parse.words[shows] == "design" and definite:
            return False  # "the design of the building"
    elif parse.deps[i] in ("dobj", "obj") and parse.words[head] in _SHOWING:
        subject = parse.child(head, "nsubj")
        shows = parse.heads[head] if subject is None or parse.words[subject] in ("that", "which") else subject
    else:
        return False
    if singular(parse.words[shows]) not in _DEPICTIONS and singular(parse.words[shows]) not in _SHOWERS:
        return False
    return parse.words[shows] not in _PICTURES or not _is_the_picture(parse, shows)


def _makes_toy(parse: Parse, word: int, noun: int) -> bool:
    """Whether the word makes the noun a toy: "a toy car", "a plush bear"; not "a plush rug"."""
    if parse.words[word] not in _MAKES_TOY or parse.deps[word] not in ("amod", "compound", "nmod"):
        return False
    name = singular(parse.words[noun])
    return parse.words[word] not in _ALSO_MATERIALS or category(name) == "person" or "animal" in parents(name)


def _printed(parse: Parse, i: int) -> bool:
    """Whether the thing is printed on another one: "a cat printed on it", "Donald Duck is printed on the cup"."""
    verbs = [j for j in parse.children[i] if parse.deps[j] in ("acl", "relcl")]
    if parse.deps[i] == "nsubjpass":
        verbs.append(parse.heads[i])
    return any(
        parse.words[verb] in _PRINTED and any(parse.words[j] in ("on", "onto") for j in parse.children[verb])
        for verb in verbs
    )


def _on_screen(parse: Parse, i: int) -> bool:
    """Whether a screen shows it: "on the TV, a dog runs", "a dog is seen on the screen"; not "a cat sits on the TV"."""
    head = parse.heads[i]
    above = (i, head) if parse.deps[i] in (*SUBJECTS, "attr", "dobj") else (i,)
    for on in (j for k in above for j in parse.children[k] if parse.words[j] == "on"):
        place = parse.child(on, "pobj")
        name = "" if place is None else singular(parse.words[place])
        opens = on == parse.sentences[parse.sentence[i]][0]
        if i not in parse.subtree(on) and (name == "screen" or (opens and name in _SCREENS)):
            return True
    return False


def _likeness(parse: Parse, i: int) -> bool:
    """Whether another thing only resembles it: "shaped like a dog", "dressed as a cat", "as big as a dog"."""
    head = parse.heads[i]
    if parse.deps[i] in ("dobj", "obj"):
        return parse.words[head] in ("resemble", "resembles", "resembling", "mimics", "mimicking", "imitating")
    if parse.deps[i] != "pobj":
        return False
    above = parse.heads[head]
    if parse.words[head] == "of":
        return parse.words[above] in ("shape", "form", "likeness", "appearance", "reminiscent", "size")
    if parse.words[head] == "as":
        compared = any(parse.words[j] == "as" and j < head for j in (*parse.children[above], *parse.children[head]))
        return compared or parse.words[above] in ("dressed", "disguised", "costumed", "styled")
    if parse.words[head] == "like" and parse.words[above] in _LOOKING and _is_another(parse, above, i):
        return True
    shaped = parse.words[above] in ("shaped", "designed", "styled", "carved", "decorated", "painted", "crafted")
    return parse.words[head] == "like" and (shaped or parse.words[above] in ("shape", "structure"))


def _is_another(parse: Parse, verb: int, i: int) -> bool:
    """Whether what looks like it is known to be something else: "he looks like a bear"; not "it", "the animal"."""
    subject = parse.child(verb, "nsubj")
    if subject is None:
        return False
    name, kinds = singular(parse.words[subject]), parents(singular(parse.words[i]))
    named = category(name) is not None or concrete(name) is not None
    return parse.words[subject] in ("he", "she") or (named and name not in kinds and name not in _UNKNOWN)


def _is_the_picture(parse: Parse, i: int) -> bool:
    """ "This is a photo of a dog", "The image of a dog ...": the image itself, not a picture that hangs in it."""
    subject = parse.deps[i] in ("nsubj", "nsubjpass")  # "The image shows a dog and a wall"
    inside = parse.subtree(i) if subject else range(*parse.sentences[parse.sentence[i]])
    if any(parse.words[j] in _HANGING for j in inside):
        return False
    head = parse.heads[i]
    handed = parse.deps[i] in ("dobj", "obj") and _is_reader(parse, parse.child(head, "nsubj"))
    return parse.deps[i] in ("nsubj", "nsubjpass", "ROOT") or parse.words[head] in _SHOWS or handed


def _is_reader(parse: Parse, subject: int | None) -> bool:
    """Whether the subject is who sent the image: "you've shared a photo of a dog"."""
    return subject is not None and parse.words[subject] in ("you", "we", "i")


def _hedged(parse: Parse, mention: Mention) -> bool:
    """Whether a hedge stands in the noun phrase or right before it: "possibly a dog", "a likely dog"."""
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
    """Whether a verb hedges the mention: "what appears to be a dog", "might be a dog"."""
    head, dep = parse.heads[i], parse.deps[i]
    if dep == "pobj":
        return parse.words[head] == "like" and parse.words[parse.heads[head]] in _LOOKING
    if dep not in _OBJECTS or head == i:
        return False
    if any(parse.words[j] in _HEDGING_MODALS or parse.words[j] in _HEDGES for j in parse.children[head]):
        return True
    linking = parse.words[head] in ("be", "include", "contain", "have")
    return linking and parse.deps[head] in ("xcomp", "ccomp") and parse.words[parse.heads[head]] in _HEDGING_VERBS


def _irrealis(parse: Parse, i: int) -> bool:
    """Whether the words around a thing do not say that it is there: "waiting for a bus", "instead of a dog"."""
    head, dep = parse.heads[i], parse.deps[i]
    if purposes.meant_for(parse, i):
        return True
    if dep == "nsubj" and parse.deps[head] in ("ccomp", "xcomp") and _to(parse, head):
        return parse.words[parse.heads[head]] in _IRREALIS  # "expect a bus to stop"
    if dep == "pobj":
        word, above = parse.words[head], parse.heads[head]
        if word == "of" and parse.words[above] in _KINDS_OF and parse.deps[above] in ("attr", "appos"):
            return True
        if word in ("for", "of") and (parse.words[above] in _IRREALIS or parse.words[above] in _INSTEAD):
            return True
        return word in ("except", "unlike", "than") or (word == "of" and parse.words[above] in _INSTEAD)
    if dep not in ("dobj", "obj"):
        return False
    if parse.words[head] in _IRREALIS:
        return True
    if not _to(parse, head):
        return False
    governor = parse.words[parse.heads[head]]
    return parse.deps[head] in ("xcomp", "advcl", "acl", "pcomp", "relcl") and (
        governor in _IRREALIS or governor in ("about", "ready", "going", "used", "opportunity", "chance")
    )


def _to(parse: Parse, verb: int) -> bool:
    """Whether the verb is an infinitive with "to"."""
    return any(parse.words[j] == "to" and parse.deps[j] == "aux" for j in parse.children[verb])


def _supposed(parse: Parse, verb: int) -> bool:
    """Whether a clause is only supposed: "if there is a dog", "whether a dog is there", "I don't know who he is"."""
    governor = parse.heads[verb]
    embedded = parse.deps[verb] == "ccomp" and governor < verb and parse.words[governor] in _KNOWING
    if embedded and any(parse.words[j] in _WHO and j < verb for j in parse.children[verb]):
        return True
    return any(parse.words[j] in ("if", "whether", "unless") and parse.deps[j] == "mark" for j in parse.children[verb])


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
