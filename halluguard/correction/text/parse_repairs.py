"""Repairs of frequent misreadings of the small parser."""

from __future__ import annotations

from halluguard.correction.text.comma_lists import mend_comma_lists
from halluguard.correction.text.lexicon import VERB_TAGS, concrete, words
from halluguard.correction.text.list_repairs import mend_lists
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import category, parents, singular

_NOUNS = ("NN", "NNS")
_BARE_VERBS = ("VB", "VBP", "VBZ")
_MODIFIERS = ("compound", "amod", "det", "poss", "nummod")
_HERDS = ("sheep", "deer", "fish", "cattle")
_ACTS = words("stand alone") | {"lie", "hang", "lean"}
_PARTS = words("parts") | {"coat", "coats"}
_POSES = ("standing", "sitting", "lying", "walking", "running", "grazing", "resting", "sleeping", "laying")
_LINE_VERBS = words("line verbs")
_ACTIONS = words("actions") | {"riding", "holding", "wearing", "looking", "playing", "posing", "talking"}


def mend(parse: Parse) -> None:
    """Correct frequent misreadings in place.

    - An apposition that continues as a list is a list: "a dog, a cat, and a bird" is not a dog named a cat.
    - The last member of a list belongs to the member before it, not to the verb.
    - In "a man with a bag walking" the man walks.
    - A bare word after "or" or "and" is a noun: "a lamp or stand".
    - What an article or a noun stands before is a noun: "large glass windows".
    - In "a cap with stars, a coat, and gloves" the coat is listed with the cap, not with the stars.
    - In "a hawk, a cat and an eagle sit" all three sit.
    - In "a thick trunk and green leaves" the trunk is listed with the leaves, and describes none.
    - In "It has shops, lamps, and parked bicycles" nobody parked them.
    - In "The dog has pointed ears" it points at nothing.
    - In "a giraffe and a zebra standing in a field" the zebra is no sort of standing.
    """
    for i in range(len(parse)):
        _pose(parse, i)
        _member_before_adjective(parse, i)
        _participle_in_list(parse, i)
        _had(parse, i)
        _subject_of_auxiliary(parse, i)
    for i in range(len(parse)):
        if not _may_be_misread(parse, i):
            continue
        _can(parse, i)
        _listed_noun(parse, i)
        _person_after_things(parse, i)
        _line_verb(parse, i)
        _herd_verb(parse, i)
        _noun_after_or(parse, i)
        _noun_with_modifiers(parse, i)
        _out_of_phrase(parse, i)
        _out_of_place(parse, i)
        _adjective_in_list(parse, i)
        _listed_subject(parse, i)
    for i, head in enumerate(parse.heads):
        if parse.deps[i] == "conj" and parse.tags[i] in _NOUNS and parse.tags[head].startswith("VB") and head < i:
            _rehang(parse, i)
    for i in range(len(parse)):
        owner = _doer(parse, i) if parse.deps[i] == "acl" else None
        if owner is not None:
            parse.children[parse.heads[i]].remove(i)
            parse.heads[i] = owner
            parse.children[owner].append(i)
    for i, head in enumerate(parse.heads):
        apposed = parse.deps[i] == "appos" and head < i and parse.tags[i] in _NOUNS and parse.tags[head][:2] == "NN"
        if apposed and (_goes_on(parse, i) or _list_after(parse, head, i) or _bare_list(parse, head, i)):
            parse.deps[i] = "conj"
    for i in range(len(parse)):
        _verb_in_list(parse, i)
        _joined_subject(parse, i)
    mend_lists(parse)
    mend_comma_lists(parse)


def _pose(parse: Parse, i: int) -> None:
    """Make the animal the head of "a zebra standing in a field", which was read as a sort of standing."""
    if parse.tags[i] != "NN" or parse.words[i] not in _POSES or i == 0:
        return
    animal = i - 1
    after = [j for j in parse.children[i] if j > i and parse.deps[j] in ("prep", "advmod")]
    if parse.deps[animal] != "compound" or parse.heads[animal] != i or not after or not _animate(parse.words[animal]):
        return
    head, dep = parse.heads[i], parse.deps[i]
    parse.hang(animal, animal if head == i else head)
    parse.deps[animal] = dep
    for j in list(parse.children[i]):
        if j < animal or parse.deps[j] in ("conj", "cc"):
            parse.hang(j, animal)
    parse.hang(i, animal)
    parse.deps[i], parse.tags[i] = "acl", "VBG"


def _member_before_adjective(parse: Parse, i: int) -> None:
    """Make a list of "a thick trunk and green leaves", where the trunk was read as a sort of leaves."""
    plural = parse.heads[i]
    if parse.deps[i] not in ("nmod", "compound") or parse.tags[i] != "NN" or parse.tags[plural] != "NNS":
        return
    joint, adjective = parse.child(i, "cc"), parse.child(i, "conj")
    article = next((j for j in parse.children[plural] if j < i and parse.words[j] in ("a", "an")), None)
    if None in (joint, article) or adjective is None or parse.tags[adjective] != "JJ" or not i < adjective < plural:
        return
    head, dep = parse.heads[plural], parse.deps[plural]
    parse.hang(i, i if head == plural else head)
    parse.deps[i] = dep
    for j in [j for j in parse.children[plural] if j < i]:
        parse.hang(j, i)
    parse.hang(adjective, plural)
    parse.deps[adjective] = "amod"
    parse.hang(plural, i)
    parse.deps[plural] = "conj"


def _participle_in_list(parse: Parse, i: int) -> None:
    """Make a list member of "shops, lamps, and parked bicycles", where a present verb is joined to a past one."""
    verb, noun = parse.heads[i], parse.child(i, "dobj")
    if parse.deps[i] != "conj" or parse.tags[i] not in ("VBD", "VBN") or noun != i + 1 or parse.tags[noun] != "NNS":
        return
    objects = [j for j in parse.children[verb] if parse.deps[j] == "dobj" and j < i]
    if parse.tags[verb] not in ("VBZ", "VBP", "VBG") or not objects or len(parse.children[i]) > 1:
        return
    if parse.words[i - 1] not in ("and", "or"):
        return
    parse.hang(noun, parse.conjuncts(objects[-1])[-1])
    parse.hang(i - 1, parse.heads[noun])
    parse.deps[noun] = "conj"
    parse.hang(i, noun)
    parse.deps[i], parse.tags[i] = "amod", "VBN"


def _had(parse: Parse, i: int) -> None:
    """Read "has pointed ears" as having, where it was read as the perfect tense of pointing."""
    has = parse.child(i, "aux")
    if parse.tags[i] != "VBN" or has != i - 1 or parse.words[has] not in ("has", "have") or i + 1 >= len(parse):
        return
    part = i + 1
    if parse.heads[part] != i or parse.deps[part] != "dobj" or parse.words[part] not in _PARTS:
        return
    head, dep = parse.heads[i], parse.deps[i]
    parse.hang(has, has if head == i else head)
    parse.deps[has], parse.tags[has] = dep, "VBZ" if parse.words[has] == "has" else "VBP"
    for j in [j for j in parse.children[i] if j != part]:
        parse.hang(j, has)
    parse.hang(part, has)
    parse.hang(i, part)
    parse.deps[i] = "amod"


def _subject_of_auxiliary(parse: Parse, i: int) -> None:
    """Hang a subject on the verb, where it hangs on an auxiliary: "A remote is placed near the couch"."""
    auxiliary = parse.heads[i]
    if parse.deps[i] in ("nsubj", "nsubjpass") and parse.deps[auxiliary] in ("aux", "auxpass"):
        passive = parse.deps[auxiliary] == "auxpass"
        parse.hang(i, parse.heads[auxiliary])
        parse.deps[i] = "nsubjpass" if passive else "nsubj"


def _may_be_misread(parse: Parse, i: int) -> bool:
    """Whether one of the repairs of single tokens may apply; most tokens are passed over at once."""
    dep, word = parse.deps[i], parse.words[i]
    herd = word in _ACTS and dep == "ROOT"
    modified = parse.tags[i] in _BARE_VERBS and i > 0 and parse.heads[i - 1] == i and parse.deps[i - 1] in _MODIFIERS
    return modified or dep in ("conj", "appos", "amod") or word == "can" or word in _LINE_VERBS or herd


def _goes_on(parse: Parse, i: int) -> bool:
    return any(parse.deps[j] in ("conj", "cc") for j in parse.children[i])


def _list_after(parse: Parse, head: int, i: int) -> bool:
    """Whether an apposition is a list member: the bridge in "a pond, a bridge, and a figure"."""
    later = [j for j in parse.children[head] if j > i]
    articled = any(parse.deps[j] == "det" and parse.words[j] in ("a", "an") for j in parse.children[i])
    return articled and {"cc", "conj"} <= {parse.deps[j] for j in later}


def _bare_list(parse: Parse, head: int, i: int) -> bool:
    """Whether a caption without a verb is a list: "a dog, a kite", or "the dog, the kite, the bench"."""
    first, end = parse.sentences[parse.sentence[i]]
    verbless = not any(parse.tags[j] in VERB_TAGS for j in range(first, end))
    articles = (any(parse.words[j] in ("a", "an") for j in parse.children[token]) for token in (head, i))
    the_three = all(parse.words[parse.subtree(token)[0]] == "the" for token in (head, i))
    the_three = the_three and parse.words[first:end].count("the") > 2 and parse.words[min(parse.subtree(i)) - 1] == ","
    return verbless and ((parse.deps[head] == "ROOT" and all(articles)) or the_three)


def _noun_after_or(parse: Parse, i: int) -> None:
    """Read the bare word after "or" as a noun, like the one before it: "a lamp or stand"."""
    head = parse.heads[i]
    alone = not parse.children[i] and i > 0 and parse.words[i - 1] == "or"
    if parse.tags[i] == "VB" and parse.deps[i] == "conj" and parse.tags[head] == "NN" and i - 2 == head and alone:
        parse.tags[i] = "NN"


def _noun_with_modifiers(parse: Parse, i: int) -> None:
    """Read a thing that an article or a noun stands before as a noun: "a Virgin train", "large glass windows"."""
    if parse.tags[i] not in _BARE_VERBS or concrete(singular(parse.words[i])) is None:
        return
    labels = {parse.deps[j] for j in parse.children[i]}
    before = i > 0 and parse.heads[i - 1] == i and parse.deps[i - 1] in _MODIFIERS
    if before and labels.isdisjoint(("nsubj", "nsubjpass", "dobj", "aux", "auxpass", "neg")):
        parse.tags[i] = "NNS" if parse.tags[i] == "VBZ" else "NN"


def _listed_noun(parse: Parse, i: int) -> None:
    """Read a bare thing after "and" as a noun, not as a verb: "features flames and smoke"."""
    verb = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in ("VB", "VBP") or i < 3:
        return
    noun = i - 2
    if parse.tags[verb] != "VBZ" and parse.deps[noun] != "pobj":
        return
    bare = parse.words[i - 1] in ("and", "or") and all(parse.deps[j] == "punct" for j in parse.children[i])
    above = parse.heads[noun]
    listed = parse.tags[noun] in _NOUNS and verb in (above, parse.heads[above], parse.heads[parse.first_conjunct(noun)])
    if bare and listed and concrete(parse.words[i]) is not None:
        parse.tags[i] = "NN"
        parse.hang(i - 1, noun)
        parse.hang(i, noun)


def _can(parse: Parse, i: int) -> None:
    """Read "can" as a noun after an article, with no verb behind it: "a silver can with a red design"."""
    start, end = parse.sentences[parse.sentence[i]]
    if parse.words[i] != "can" or parse.tags[i] != "MD" or i == start:
        return
    before, j = i - 1, i - 1
    while j > start and parse.tags[j] in ("JJ", "NN", "NNP", "VBN", "HYPH"):
        j -= 1
    after = next((k for k in range(i + 1, end) if parse.tags[k] != "RB"), i)
    verb_follows = parse.tags[after] in ("VB", "VBN", "VBP", "MD")  # "A car can also be seen", and "can been seen"
    if parse.tags[j] not in ("DT", "CD", "PRP$") or verb_follows or before == j:
        return
    parse.tags[i] = "NN"
    if parse.tags[before] in ("NN", "NNP") and i not in parse.chain(before):
        above, dep = parse.heads[before], parse.deps[before]
        parse.hang(i, i if above == before else above)
        parse.deps[i] = dep
        for child in list(parse.children[before]):
            parse.hang(child, i)
        parse.hang(before, i)
        parse.deps[before] = "compound"


def _person_after_things(parse: Parse, i: int) -> None:
    """List a person with the person before, not with what that one wears: "the man wearing a hat and the woman"."""
    thing = parse.heads[i]
    if parse.deps[i] != "conj" or parse.deps[thing] != "dobj" or category(singular(parse.words[i])) != "person":
        return
    verb = parse.heads[thing]
    owner = parse.heads[verb]
    if parse.deps[verb] != "acl" or parse.tags[verb] != "VBG" or parse.tags[owner] not in _NOUNS:
        return
    articled = any(parse.deps[j] == "det" for j in parse.children[i])
    same_kind = category(singular(parse.words[owner])) == "person" != category(singular(parse.words[thing]))
    if articled and same_kind:
        for joint in [j for j in parse.children[thing] if parse.deps[j] == "cc" and j < i]:
            parse.hang(joint, owner)
        for phrase in [j for j in parse.children[verb] if j > i and parse.deps[j] == "prep"]:
            parse.hang(phrase, i)
        parse.hang(i, owner)


def _line_verb(parse: Parse, i: int) -> None:
    """Read a word that is tagged as a noun as the verb: "gravestones dot the field"."""
    head = parse.heads[i]
    if parse.words[i] not in _LINE_VERBS or parse.tags[i] != "NN" or parse.deps[i] != "compound" or head < i:
        return
    subject = i - 1
    if subject < 0 or parse.tags[subject] != "NNS" or parse.heads[subject] != head or parse.tags[head] not in _NOUNS:
        return
    above, dep = parse.heads[head], parse.deps[head]
    parse.tags[i], parse.deps[i] = "VBP", dep
    if above == head:
        parse.children[head].remove(i)
        parse.heads[i] = i
    else:
        parse.hang(i, above)
    for j in [j for j in parse.children[head] if j < i]:
        parse.hang(j, i if parse.deps[j] in ("prep", "punct", "advmod") and j < subject else subject)
    parse.hang(subject, i)
    parse.hang(head, i)
    parse.deps[subject], parse.deps[head] = "nsubj", "dobj"


def _herd_verb(parse: Parse, i: int) -> None:
    """Read the verb after a plural without an ending: "Sheep graze in the foreground"."""
    herd = i - 1
    if parse.words[i] not in _ACTS or parse.tags[i] != "NN" or parse.heads[i] != i or herd < 0:
        return
    if parse.words[herd] in _HERDS and parse.deps[herd] == "compound" and parse.heads[herd] == i:
        parse.tags[i], parse.tags[herd], parse.deps[herd] = "VBP", "NNS", "nsubj"


def _out_of_phrase(parse: Parse, i: int) -> None:
    """List a noun with its own article beside the owner: in "a cap with stars, a coat", the coat beside the cap."""
    inner = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in _NOUNS or parse.deps[inner] != "pobj":
        return
    owner = parse.heads[parse.heads[inner]]
    first = min(parse.subtree(i))
    articled = any(parse.deps[j] == "det" for j in parse.children[i])
    plain = not any(parse.deps[j] in ("det", "cc") for j in parse.children[inner])
    goes_on = any(parse.deps[j] == "conj" and j > i for j in parse.children[owner])
    goes_on = goes_on or any(parse.deps[j] == parse.deps[owner] and j > i for j in parse.children[parse.heads[owner]])
    if articled and plain and goes_on and parse.words[first - 1] == "," and parse.tags[owner] in _NOUNS:
        parse.hang(i, owner)


def _out_of_place(parse: Parse, i: int) -> None:
    """List a new thing beside a new thing: in "a fan in the room, and a door", the door beside the fan."""
    place = parse.heads[i]
    if parse.deps[i] != "conj" or parse.tags[i] not in _NOUNS or parse.deps[place] != "pobj":
        return
    owner = parse.heads[parse.heads[place]]

    def is_new(noun: int) -> bool:
        return any(parse.deps[j] == "det" and parse.words[j] in ("a", "an") for j in parse.children[noun])

    joints = [j for j in parse.children[place] if parse.deps[j] == "cc" and j < i]
    set_off = len(joints) == 1 and parse.words[joints[0] - 1] == ","
    if set_off and is_new(i) and is_new(owner) and not is_new(place) and parse.deps[owner] in ("attr", "dobj"):
        parse.hang(joints[0], owner)
        parse.hang(i, owner)


def _listed_subject(parse: Parse, verb: int) -> None:
    """Make a list the subject, where the parser sees an apposition: "A hawk, a cat and an eagle sit"."""
    head = parse.heads[verb]
    if parse.deps[verb] != "appos" or not parse.tags[verb].startswith("VB") or parse.deps[head] != "ROOT":
        return
    subject = parse.child(verb, "nsubj")
    if (
        parse.tags[head] not in _NOUNS
        or subject is None
        or not any(parse.deps[j] == "conj" for j in parse.children[subject])
    ):
        return
    if parse.words[min(parse.subtree(subject)) - 1] != ",":
        return
    parse.make_root(verb, head)
    parse.hang(subject, head)
    parse.deps[subject] = "conj"


def _adjective_in_list(parse: Parse, i: int) -> None:
    """Read a word between an article and a comma as a noun: the scarf in "a hat, a scarf, and gloves"."""
    later = parse.heads[i]
    if parse.tags[i] != "JJ" or parse.deps[i] != "amod" or later < i + 2 or concrete(parse.words[i]) != "thing":
        return
    if parse.words[i - 1] not in ("a", "an") or parse.words[i + 1] != "," or parse.deps[later] not in ("appos", "conj"):
        return
    before = parse.heads[later]
    parse.tags[i] = "NN"
    for j in [j for j in parse.children[later] if j < i]:
        parse.hang(j, i)
    parse.hang(i, before)
    parse.hang(later, i)
    parse.deps[i] = parse.deps[later] = "conj"


def _verb_in_list(parse: Parse, i: int) -> None:
    """Read the verb after its subject, where the parser sees a compound: "A duck and a goose swim"."""
    subject, top = i - 1, parse.first_conjunct(i)
    if parse.deps[i] != "conj" or parse.words[i] not in _ACTS or parse.tags[i] != "NN" or parse.deps[top] != "ROOT":
        return
    first, end = parse.sentences[parse.sentence[i]]
    verbless = not any(parse.tags[j] in VERB_TAGS for j in range(first, end))
    named = category(parse.words[subject]) is not None or concrete(parse.words[subject]) == "thing"
    goes_on = i + 1 < end and parse.tags[i + 1] in ("IN", ".", "RB")
    if verbless and named and goes_on and parse.heads[subject] == i and parse.deps[subject] == "compound":
        for j in [j for j in parse.children[i] if j < subject]:
            parse.hang(j, subject)
        parse.tags[i], parse.deps[subject] = "VBP", "nsubj"


def _joined_subject(parse: Parse, verb: int) -> None:
    """Make a list the subject of a plural verb: in "A horse, a cow, and a pig stand", all three stand."""
    top = parse.first_conjunct(verb)
    if parse.deps[verb] != "conj" or parse.tags[verb] not in ("VB", "VBP") or parse.deps[top] != "ROOT":
        return
    subject = parse.child(verb, "nsubj")
    if subject is None or parse.tags[subject] != "NN" or parse.tags[top] not in _NOUNS:
        return
    joint = min(parse.subtree(subject)) - 1
    if parse.words[joint] not in ("and", "or"):
        return
    last = max(m for m in parse.conjuncts(top) if m < subject)
    parse.make_root(verb, top)
    parse.tags[verb] = "VBP"
    for j in (joint, subject):
        parse.hang(j, last)
    parse.deps[subject] = "conj"


def _doer(parse: Parse, i: int) -> int | None:
    """The noun that acts: in "a man with a backpack walking" the man, though the parser takes the backpack."""
    carried = parse.heads[i]
    if parse.deps[i] != "acl" or parse.tags[i] != "VBG" or parse.deps[carried] != "pobj" or i < carried:
        return None
    preposition = parse.heads[carried]
    owner = parse.heads[preposition]
    dressed = (
        parse.words[preposition] == "in" and parse.words[owner] in ("dressed", "clad") and parse.deps[owner] == "acl"
    )
    if dressed:
        owner = parse.heads[owner]
    if (
        not (dressed or parse.words[preposition] == "with")
        or parse.tags[owner] not in _NOUNS
        or parse.words[i] not in _ACTIONS
    ):
        return None
    return owner if _animate(parse.words[owner]) and not _animate(parse.words[carried]) else None


def _animate(word: str) -> bool:
    name = singular(word)
    return category(name) == "person" or "animal" in parents(name)


def _rehang(parse: Parse, i: int) -> None:
    joint = min(parse.subtree(i)) - 1
    before = joint - 1 if joint > 0 and parse.words[joint - 1] != "," else joint - 2
    if before < 0 or parse.words[joint] not in ("and", "or") or parse.deps[before] not in ("appos", "conj"):
        return
    if parse.tags[before] in _NOUNS and parse.sentence[before] == parse.sentence[i]:
        for token in (joint, i):
            parse.children[parse.heads[token]].remove(token)
            parse.heads[token] = before
            parse.children[before].append(token)
