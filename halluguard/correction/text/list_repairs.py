"""Repairs of lists that the small parser tears apart."""

from __future__ import annotations

from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse
from halluguard.correction.text.subject_lists import (
    NOUNS,
    beside_subject,
    determiners,
    mend_subject,
    move,
    noun_phrase_end,
)

_JOINING = (("as", "well", "as"), ("along", "with"), ("together", "with"))
_STARTS_OF_JOINTS = frozenset(words[0] for words in _JOINING)
_PLACED = frozenset("located situated positioned set standing surrounded resting".split())
_ON_SURFACES = frozenset(
    "text writing lettering letters words texture textures color colors colour colours pattern patterns print light "
    "lighting shadow shadows reflection reflections design designs shading detail details focus".split()
)
"""Words for what stands on things: in "the text on the bags and the posters", the posters have text, too."""
_SIDES = frozenset("left right front back background foreground distance center centre middle top bottom".split())
_GUESSES = frozenset("possibly perhaps likely probably presumably maybe potentially".split())


def mend_lists(parse: Parse) -> None:
    """Put right lists that are torn apart.

    "A mane, as well as a star" lists two things, and so does "a dog, along with a cat". In "furrowed brow, and hand
    resting on the chin" the hand rests: it is no part of a compound. And what is listed after the verb does not go on
    with the subject or with the verb: "shows a pond, a person, and trees", "features the text and the logo".
    """
    for i in range(len(parse)):
        if parse.deps[i] == "compound" or parse.words[i] in _STARTS_OF_JOINTS:
            _doing(parse, i)
            _joined(parse, i)
        mend_subject(parse, i)
        if parse.deps[i] == "nmod":
            _matter_before_adjective(parse, i)
    for i in range(len(parse)):
        if parse.deps[i] not in ("acl", "conj", "appos"):
            continue
        _placed_after_comma(parse, i)
        _bracketed(parse, i)
        _guessed(parse, i)
        _beside_object(parse, i)
        _apposed_in_list(parse, i)
        _in_compound(parse, i)
        _in_place(parse, i)
        _on_other_side(parse, i)
        beside_subject(parse, i)


def _joined(parse: Parse, i: int) -> None:
    """ "a dog, along with a cat": the words between join like "and"."""
    joint = next((words for words in _JOINING if tuple(parse.words[i : i + len(words)]) == words), None)
    first, end = parse.sentences[parse.sentence[i]]
    if joint is None or i == first or i + len(joint) >= end:
        return
    before = i - 2 if parse.words[i - 1] == "," else i - 1
    noun, last = noun_phrase_end(parse, before), i + len(joint) - 1
    if parse.words[i - 1] == "," and noun is not None:
        noun = _before_relative(parse, noun)
    member = _noun_after(parse, last)
    if noun is None or member is None or noun < first or noun in parse.subtree(member):
        return
    for j in range(i, last + 1):
        move(parse, j, noun)
        parse.deps[j] = "cc"
    move(parse, member, noun)
    parse.deps[member] = "conj"


def _before_relative(parse: Parse, noun: int) -> int:
    """The noun that a relative clause in commas describes, for a noun in it: "a tie, which is a gift, along with"."""
    clause = next((j for j in parse.chain(noun) if parse.deps[j] == "relcl"), None)
    if clause is None or parse.words[min(parse.subtree(clause)) - 1] != ",":
        return noun
    return parse.heads[clause]


def _noun_after(parse: Parse, i: int) -> int | None:
    """The head of the noun phrase that begins after token i."""
    end, j = parse.sentences[parse.sentence[i]][1], i + 1
    noun = None
    while j < end and parse.tags[j] in ("DT", "PRP$", "CD", "JJ", "VBN", "HYPH", "RB", *NOUN_TAGS):
        noun = j if parse.tags[j] in NOUN_TAGS else noun
        j += 1
    return noun


def _doing(parse: Parse, i: int) -> None:
    """ "and hand resting on the chin": a bare noun before a participle is what does it."""
    verb = parse.heads[i]
    if parse.deps[i] != "compound" or verb != i + 1 or parse.tags[verb] != "VBG" or parse.tags[i] not in NOUNS:
        return
    if not any(parse.deps[j] in ("prep", "dobj", "prt") and j > verb for j in parse.children[verb]):
        return
    above, dep = parse.heads[verb], parse.deps[verb]
    if above == verb:
        return
    for j in [j for j in parse.children[verb] if j < i]:
        move(parse, j, i)
    move(parse, i, above)
    parse.deps[i] = dep
    move(parse, verb, i)
    parse.deps[verb] = "acl"


def _matter_before_adjective(parse: Parse, i: int) -> None:
    """ "an expanse of snow and brown shrubs": a noun before "and" and an adjective is listed; it modifies nothing."""
    noun = parse.heads[i]
    if parse.deps[i] != "nmod" or parse.tags[i] not in NOUNS or noun < i + 3 or parse.words[i + 1] != "and":
        return
    adjective = i + 2
    described = parse.deps[adjective] == "conj" and parse.heads[adjective] == i and parse.tags[adjective] == "JJ"
    if not described or noun != adjective + 1 or parse.deps[noun] != "pobj" or parse.heads[noun] != i - 1:
        return
    move(parse, i, parse.heads[noun])
    parse.deps[i], parse.deps[noun], parse.deps[adjective] = "pobj", "conj", "amod"
    move(parse, noun, i)
    move(parse, adjective, noun)


def _guessed(parse: Parse, i: int) -> None:
    """ "a scene, likely a park or garden": a guess at what is named before, not another thing beside it."""
    head = parse.heads[i]
    if parse.deps[i] not in ("conj", "appos") or parse.tags[i] not in NOUNS or head > i:
        return
    first = min(parse.subtree(i))
    if parse.words[first] not in _GUESSES or parse.words[first - 1] != ",":
        return
    noun = noun_phrase_end(parse, first - 2)
    parse.deps[i] = "appos"
    if noun is not None and parse.deps[head] in SUBJECTS and parse.heads[head] < i:
        move(parse, i, noun)


def _placed_after_comma(parse: Parse, i: int) -> None:
    """ "an inn with timber framing, located in a town": after a comma it is the inn that is located."""
    inner = parse.heads[i]
    if parse.deps[i] != "acl" or parse.words[i] not in _PLACED or parse.words[i - 1] != "," or i < inner:
        return
    owner = parse.heads[parse.heads[inner]]
    if parse.deps[inner] == "pobj" and parse.words[parse.heads[inner]] == "with" and parse.tags[owner] in NOUN_TAGS:
        move(parse, i, owner)


def _bracketed(parse: Parse, i: int) -> None:
    """ "a body of water (a lake or pond)": what stands in brackets after a noun says the same thing."""
    head = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in NOUNS or head > i:
        return
    first = min(parse.subtree(i))
    if parse.words[first - 1] == "(" and head < first - 1:
        parse.deps[i] = "appos"


def _before_bracket(parse: Parse, i: int) -> int:
    """The token before a bracket that closes at token i, or i."""
    if parse.words[i] != ")":
        return i
    return next((j - 1 for j in range(i, -1, -1) if parse.words[j] == "("), i)


def _beside_object(parse: Parse, i: int) -> None:
    """ "shows a pond, a person, and trees": a noun after the verb that the parser joins to the subject or the verb."""
    head = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in NOUNS or head > i:
        return
    to_subject = parse.deps[head] in SUBJECTS and head < parse.heads[head] < i
    to_verb = parse.tags[head] in VERB_TAGS and not any(parse.deps[j] in SUBJECTS for j in parse.children[i])
    if not (to_subject or to_verb):
        return
    first = min(parse.subtree(i))
    joint = first - 1
    if parse.words[joint] not in (",", "and", "or"):
        return
    verb = parse.heads[head] if to_subject else head
    before = _before_bracket(parse, joint - 1 if parse.words[joint - 1] != "," else joint - 2)
    clothed = parse.deps[verb] == "acl" and parse.tags[verb] == "VBN"  # "dressed in a black suit and striped tie"
    relations = ("dobj", "attr", "pobj") if clothed or not to_subject else ("dobj", "attr")
    own = next((j for j in (before, *parse.chain(before)) if parse.deps[j] in relations), None)
    if before <= verb or own is None or own < verb or own in parse.subtree(i):
        return
    if parse.deps[joint] == "cc":
        move(parse, joint, own)
    move(parse, i, own)


def _apposed_in_list(parse: Parse, i: int) -> None:
    """ "closed eyes, furrowed brow, and hand": between a noun and an "and" after a comma, a list goes on."""
    head = parse.heads[i]
    if parse.deps[i] != "appos" or parse.tags[i] not in NOUNS or parse.tags[head] not in NOUNS or head > i:
        return
    last = max(parse.subtree(i))
    goes_on = parse.words[last + 1 : last + 3] == [",", "and"]
    bare = not any(parse.deps[j] == "det" for j in parse.children[i])
    if goes_on and bare and any(parse.deps[j] == "conj" and j > last for j in parse.children[head]):
        parse.deps[i] = "conj"


def _in_compound(parse: Parse, i: int) -> None:
    """ "a stone wall and brick buildings": an article for one thing belongs to the first of two, not to the plural."""
    noun = parse.heads[i]
    joined = next((j for j in parse.children[i] if parse.deps[j] == "conj"), None)
    article = next((j for j in parse.children[noun] if parse.words[j] in ("a", "an") and j < i), None)
    if parse.deps[i] not in ("nmod", "compound") or parse.tags[i] != "NN" or parse.tags[noun] != "NNS":
        return
    if article is None or joined != noun - 1 or parse.heads[noun] == noun or parse.child(i, "cc") is None:
        return
    above, dep = parse.heads[noun], parse.deps[noun]
    move(parse, joined, noun)
    parse.deps[joined] = "compound"
    for j in [j for j in parse.children[noun] if j < i]:
        move(parse, j, i)
    move(parse, i, above)
    parse.deps[i] = dep
    move(parse, noun, i)
    parse.deps[noun] = "conj"


def _in_place(parse: Parse, i: int) -> None:
    """ "the text on the bags and the posters": a place goes on after "and", as the text is no thing like them."""
    head = parse.heads[i]
    start, last = parse.sentences[parse.sentence[i]][0], i
    while last > start and (parse.words[last - 1] == "the" or parse.tags[last - 1] in ("JJ", *NOUNS)):
        last -= 1
    joined = last - 2 > start and parse.words[last - 1] == "and"
    place = noun_phrase_end(parse, last - 2) if joined else None
    if place is None or parse.deps[place] != "pobj" or parse.tags[i] not in NOUNS or parse.words[last] != "the":
        return
    phrase = parse.heads[place]
    surface = parse.heads[phrase]
    subject = parse.deps[surface] in SUBJECTS and parse.deps[phrase] == "prep" and phrase == surface + 1
    torn = (parse.deps[i] == "conj" and head == surface) or (parse.deps[i] in SUBJECTS and head == parse.heads[surface])
    if not subject or not torn or parse.words[surface] not in _ON_SURFACES or "the" not in determiners(parse, place):
        return
    move(parse, last - 1, place)
    move(parse, i, place)
    parse.deps[i] = "conj"


def _on_other_side(parse: Parse, i: int) -> None:
    """ "an oven on the left and a sink on the right": the sink is listed with the oven, and is on the right."""
    side = parse.heads[i]
    phrase = parse.heads[side]
    if parse.deps[i] != "conj" or parse.words[side] not in _SIDES or parse.words[i] in _SIDES:
        return
    thing = parse.heads[phrase]
    if parse.tags[i] not in NOUNS or parse.deps[side] != "pobj" or parse.tags[thing] not in NOUN_TAGS:
        return
    joint = next((j for j in parse.children[side] if parse.deps[j] == "cc"), None)
    if joint is not None:
        move(parse, joint, thing)
    move(parse, i, thing)
    place = i + 1
    if place < len(parse) and parse.deps[place] == "prep" and parse.heads[place] < i:
        move(parse, place, i)
