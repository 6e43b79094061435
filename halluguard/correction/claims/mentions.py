"""Mentions: the words that name things which could be in the image, by positive evidence.

A word names a thing when the vocabulary or the inventory of concrete nouns says so. The tagger decides only about
words with a second meaning ("watch", "plant"), the parser only whether a noun merely modifies another ("clock tower",
"horse-drawn"). Written words, proper names, colours, figures of speech and talk about the image name nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from halluguard.correction.claims import brands, general, readings
from halluguard.correction.text.lexicon import (
    BEFORE_NOUN_TAGS,
    NOUN_TAGS,
    VERB_TAGS,
    concrete,
    joined_things,
    words,
)
from halluguard.correction.text.parse import Parse, once
from halluguard.vocabulary import FORMS, category, singular

_AMBIGUOUS = words("ambiguous")
_GENERIC = words("generic")
_STUFF = words("stuff")
_SCENERY_THINGS = words("scenery things")
_PARTS = words("parts")
_ABSTRACT = words("abstract modifiers")
_ADJECTIVES = words("adjectives before nouns")
_ING_THINGS = words("things in ing")
_COLOURS = words("colours")
_NO_PART_OF_NAME = _COLOURS | words("shades") | words("materials") | words("patterns") | words("states")
_SHOWN_BY = words("shown by")
_NAMES = ("term", "label", "cell")
_PREFIXES = ("mid", "fore", "back", "under", "non", "semi", "pre", "post", "multi")
_PLURAL_MODIFIERS = frozenset("sports clothes glasses goods greens arms brass lights games".split())


@dataclass(frozen=True, slots=True)
class Mention:
    """Words that name a thing: tokens first..last, both included; `last` heads the noun phrase.

    Args:
        name: lower case, singular ("fire hydrant").
        category: the COCO category that covers it, or None.
        plural: whether the words are plural.
        rule: "vocabulary", "noun" (any other concrete noun), "brand" (a "Ford Mustang" is a car), "scenery" (trees,
            houses: scenery that can be counted) or "stuff" (sky, grass, street: never counted or related).
        part: whether the last noun is a part of the thing ("car door": the modifier names the car, which is there).
    """

    first: int
    last: int
    name: str
    category: str | None
    plural: bool
    rule: str
    part: bool = False


_ACTIVITIES = ("construction", "mining", "excavation", "production", "cultivation")
_STARTS = frozenset(form.split()[0] for form in FORMS if " " in form)
_LONGEST = max(form.count(" ") + 1 for form in FORMS)


@once
def find(parse: Parse) -> list[Mention]:
    """All mentions of a parse, in reading order."""
    mentions, i, n = [], 0, len(parse)
    silent = (
        (parse.quoted - readings.scare_quoted(parse))
        | readings.idioms(parse)
        | readings.on_screen(parse)
        | readings.priced(parse)
    )
    silent = silent | general.silent(parse)
    while i < n:
        if i in silent or not _may_name(parse.words[i]):
            i += 1
            continue
        if brand := _branded(parse, i):
            mentions.append(brand)
            i = brand.last + 1
            continue
        mention = _from_vocabulary(parse, i) or _from_inventory(parse, i)
        if mention is None or readings.names_nothing(parse, mention.first, mention.last):
            i += 1 if mention is None else mention.last + 1 - i
            continue
        mentions.append(mention)
        i = mention.last + 1
    return mentions


@lru_cache(maxsize=65536)
def _may_name(word: str) -> bool:
    """Whether a mention may begin with the word; most words are passed over at once."""
    return (
        word in FORMS
        or word in _STARTS
        or word in joined_things()
        or concrete(singular(word)) is not None
        or concrete(word) is not None
        or brands.may_begin(word)
        or word in readings.SPORT_OR_SPEECH
    )


def _branded(parse: Parse, i: int) -> Mention | None:
    """The mention of a brand: "a Ford Mustang" names a car."""
    brand = brands.find(parse, i)
    if brand is None:
        return None
    last, name = brand
    return Mention(i, last, name, category(name), parse.tags[last] in ("NNS", "NNPS"), "brand")


def _from_vocabulary(parse: Parse, i: int) -> Mention | None:
    joined = _joined(parse, i)
    if joined:
        last, form = joined
        return _gated(parse, i, last, form)
    single = FORMS.get(parse.words[i])
    return _gated(parse, i, i, single) if single else None


def _joined(parse: Parse, i: int) -> tuple[int, tuple[str, bool]] | None:
    """The longest name of several words that begins at a token; hyphens may join them ("teddy-bear")."""
    if parse.words[i] not in _STARTS:
        return None
    ends, name, j = list[tuple[int, str]](), parse.words[i], i + 1
    while len(ends) < _LONGEST - 1 and j < len(parse) and parse.sentence[j] == parse.sentence[i]:
        if parse.words[j] == "-" and parse.ends[j - 1] == parse.starts[j]:
            j += 1
            continue
        name = f"{name} {parse.words[j]}"
        ends.append((j, name))
        j += 1
    return next(((j, FORMS[name]) for j, name in reversed(ends) if name in FORMS), None)


def _gated(parse: Parse, first: int, last: int, form: tuple[str, bool]) -> Mention | None:
    """The mention, unless these words do not name a thing here."""
    word = parse.words[last]
    if first == last and singular(word) in _AMBIGUOUS and not _is_noun(parse, last):
        return None
    if word == "orange" and modified(parse, last) is not None:
        return None  # "an orange beak"
    if _hyphenated(parse, first, last):
        return None
    head = modified(parse, last)
    person = category(form[0]) == "person"  # "a pedestrian area" shows none
    if person and head is not None and parse.words[head] in _SHOWN_BY:
        return None
    part = head is not None and (parse.words[head] not in _SHOWN_BY)
    if part and (parse.words[head or 0] not in _PARTS or word == "ski"):
        return None
    if _other_thing(parse, first, word):
        return None
    name, many = form
    name = readings.renamed(parse, last, name)
    return Mention(first, last, name, category(name), many, "vocabulary", part)


def _other_thing(parse: Parse, first: int, word: str) -> bool:
    """Whether the word names another thing here: a toilet seat is no chair, railroad ties are no neckties."""
    if word in ("seat", "seats"):
        return "toilet" in parse.words
    return word in ("tie", "ties") and first > 0 and parse.words[first - 1] in ("railroad", "railway", "train", "track")


def _is_noun(parse: Parse, i: int) -> bool:
    if parse.words[i] in ("orange", "remote", "adult", "female", "male", "light"):
        return (parse.tags[i] in NOUN_TAGS and not _colour_like(parse, i)) or _stands_as_noun(parse, i)
    if parse.tags[i] in NOUN_TAGS:
        return not readings.verb_after_noun(parse, i)
    before = i > 0 and parse.tags[i - 1] in BEFORE_NOUN_TAGS and parse.sentence[i - 1] == parse.sentence[i]
    after = i + 1 < len(parse) and parse.tags[i + 1] in (*NOUN_TAGS, "JJ", "DT", "PRP$")
    return before and not after


def _stands_as_noun(parse: Parse, i: int) -> bool:
    """Whether the words around make it a noun, as in "with a remote beside it"."""
    ends = i + 1 == parse.sentences[parse.sentence[i]][1] or parse.tags[i + 1] in ("IN", ",", ".", "WDT", "VBZ")
    if parse.words[i - 1] == "another" and parse.heads[i] <= i:
        return ends or parse.tags[i + 1] in ("RB", "RBR")  # "another remote further away"
    return parse.deps[i] in ("pobj", "dobj", "nsubj", "attr") and parse.words[i - 1] in ("a", "an", "another") and ends


def _colour_like(parse: Parse, i: int) -> bool:
    """Whether the word modifies another, whatever its tag: "an orange and white cat", "remote area"."""
    return parse.deps[i] in ("amod", "nmod", "acomp") or (
        i + 2 < len(parse) and parse.words[i + 1] in ("and", "or", "/", "-") and parse.tags[i + 2] == "JJ"
    )


def _hyphenated(parse: Parse, first: int, last: int) -> bool:
    """Whether a hyphen joins the words to the next word or the one before: "horse-drawn", "high-key lighting"."""
    text, n = parse.text, len(parse)
    follows = last + 2 < n and parse.words[last + 1] in ("-", "–") and parse.ends[last] == parse.starts[last + 1]
    if follows and parse.ends[last + 1] == parse.starts[last + 2]:
        return parse.words[last + 2] not in _PARTS
    tail = first > 1 and parse.words[first - 1] in ("-", "–") and parse.ends[first - 2] == parse.starts[first] - 1
    if tail and (parse.words[first - 2] in _PREFIXES or _before_its_noun(parse, last)):
        return True  # "mid-ground", "high-key lighting"
    return last + 1 < n and parse.ends[last] == parse.starts[last + 1] and text[parse.starts[last + 1]] == "@"


def _before_its_noun(parse: Parse, i: int) -> bool:
    """Whether the next word is the noun that token i modifies."""
    return parse.heads[i] == i + 1 and parse.tags[i + 1] in NOUN_TAGS and parse.deps[i] in ("compound", "nmod", "amod")


def modified(parse: Parse, i: int) -> int | None:
    """The noun that token i merely modifies ("tower" in "clock tower"), or None."""
    if parse.deps[i] == "conj":
        return _listed_modifier(parse, i)
    head = parse.heads[i]
    if parse.deps[i] not in ("compound", "nmod", "amod") or head <= i or parse.tags[head] not in NOUN_TAGS:
        return None
    between = parse.tags[i + 1 : head]
    if any(tag not in (*NOUN_TAGS, "HYPH", "JJ", "VBG", "VBN") for tag in between) or _loosely_listed(parse, i):
        return None
    if readings.verb_after_noun(parse, head):
        return None
    # "a zebra standing in the grass" is now and then read as a compound headed by "standing".
    word = parse.words[head]
    return None if word.endswith("ing") and word not in _ING_THINGS and concrete(word) != "thing" else head


def _listed_modifier(parse: Parse, i: int) -> int | None:
    """The noun right after a list of adjectives: "a blue and white lattice pattern"."""
    top = parse.first_conjunct(i)
    head = parse.heads[top]
    return head if parse.deps[top] == "amod" and parse.tags[top] == "JJ" and head == i + 1 else None


def _loosely_listed(parse: Parse, i: int) -> bool:
    """Whether the noun stands for itself in a list without commas: "a dog a cat sofa"."""
    first, end = parse.sentences[parse.sentence[i]]
    if i - 2 < first or parse.words[i - 1] not in ("a", "an") or parse.tags[i - 2] not in NOUN_TAGS:
        return False
    return not any(parse.tags[j] in VERB_TAGS for j in range(first, end))


def _from_inventory(parse: Parse, i: int) -> Mention | None:
    """A concrete noun of the inventory, with the nouns compounded before it."""
    joined = _joined_thing(parse, i)
    last = i if joined is None else joined
    word, one = parse.words[last], singular(parse.words[last])
    whole = " ".join([*parse.words[i:last], one])
    evidence = concrete(whole) or (concrete(word) if last == i else None)
    if readings.physical(parse, last):
        evidence = "thing"
    elif evidence is None or len(word) < 2 or (last == i and word in _GENERIC):
        return None
    if not _named_alone(parse, i, last) and (
        _verb(parse, last) or (evidence == "tagged" and word not in _ING_THINGS and not _is_noun(parse, last))
    ):
        return None
    head = modified(parse, last)
    if _hyphenated(parse, i, last) or (head is not None and parse.words[head] not in _SHOWN_BY):
        return None
    activity = word in _ACTIVITIES or category(one) == "person"  # "a construction area", "a pedestrian area"
    if head is not None and (readings.capital(parse, last) or activity):
        return None  # "the Space Mountain ride"
    first = _first_of_name(parse, i, last)
    if any(word in _ABSTRACT for word in parse.words[first:last]):
        return None
    head_word = one if concrete(whole) else word
    name = " ".join([*parse.words[first:last], head_word])
    rule = "stuff" if first == last and (one in _STUFF or word in _STUFF) else "noun"
    if rule == "stuff" and word in _SCENERY_THINGS:
        rule = "scenery"
    return Mention(first, last, name, category(name), one != word or parse.tags[last] == "NNS", rule)


def _named_alone(parse: Parse, first: int, last: int) -> bool:
    """Whether the words fill a term or label, where the tagger lacks context; "modern" still names nothing."""
    leaf = parse.leaf(last)
    if leaf is None or leaf.kind not in _NAMES or parse.sentences[parse.sentence[last]] != (first, last + 1):
        return False
    return parse.tags[last] not in ("JJ", "RB")


def _joined_thing(parse: Parse, i: int) -> int | None:
    """The last word of the longest concrete noun of several words that begins at a token ("fire escape")."""
    most = joined_things().get(parse.words[i], 0)
    for last in range(min(i + most, len(parse)) - 1, i, -1):
        name = " ".join([*parse.words[i:last], singular(parse.words[last])])
        if concrete(name) and parse.sentence[last] == parse.sentence[i] and parse.words[last] not in _COLOURS:
            return last
    return None


def _verb(parse: Parse, i: int) -> bool:
    """Whether the token is a verb here, whatever it could name."""
    if parse.tags[i] == "MD" and i + 1 < len(parse) and parse.tags[i + 1] in ("VB", "RB"):
        return True  # "This can be seen"
    if parse.tags[i] not in ("VB", "VBP", "VBZ", "VBD", "VBG", "VBN", "MD"):
        return readings.verb_after_noun(parse, i)
    if parse.words[i] in _ING_THINGS and i > 0 and parse.words[i - 1] in _NO_PART_OF_NAME:
        return parse.child(i, "dobj", "nsubj") is not None  # "a silver railing"
    if parse.words[i] in _ING_THINGS and parse.deps[i] in ("conj", "dobj", "pobj", "nsubj", "attr"):
        return not any(parse.deps[j] in ("det", "poss", "nummod", "compound") for j in parse.children[i])
    before = i - 1 if i > parse.sentences[parse.sentence[i]][0] else None
    if before is None or parse.child(i, "nsubj", "nsubjpass", "dobj") is not None:
        return True
    return parse.tags[before] not in BEFORE_NOUN_TAGS and parse.words[before] not in ("is", "are", "of", "with")


def _first_of_name(parse: Parse, first: int, last: int) -> int:
    """The first of the nouns compounded before a noun that belong to its name; colours and proper names do not."""
    while first > 0 and parse.deps[first - 1] == "compound" and parse.heads[first - 1] == last:
        word = parse.words[first - 1]
        if not word.isalpha() or word in _NO_PART_OF_NAME or readings.capital(parse, first - 1):
            break
        hyphenated = (
            first > 1 and parse.words[first - 2] in ("-", "–") and parse.ends[first - 2] == parse.starts[first - 1]
        )
        if first - 1 in parse.quoted or word in _ADJECTIVES or hyphenated or _is_subject(parse, first - 1):
            break
        first -= 1
    return first


def _is_subject(parse: Parse, i: int) -> bool:
    """Whether a noun read as part of a compound is a plural thing: in "gravestones dot fields" it is the subject."""
    word, one = parse.words[i], singular(parse.words[i])
    return one != word and (one in FORMS or concrete(one) == "thing") and word not in _PLURAL_MODIFIERS
