"""Mentions: the words that name things which could be in the image, by vocabulary first, then by the parser's nouns.

A word that is only a modifier names nothing ("clock tower", "train station", "horse-drawn"), nor do the words of the
image and of place ("the left side of the image").
"""

from __future__ import annotations

from dataclasses import dataclass

from halluguard.correction.text.lexicon import BEFORE_NOUN_TAGS, NOUN_TAGS, words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import FORMS, category, singular

_ABSTRACT_ENDINGS = ("ness", "tion", "sion", "ity", "ance", "ence", "ism", "hood", "dom", "ment")
_AMBIGUOUS = words("ambiguous")
_GENERIC = words("generic")
_STUFF = words("stuff")
_PARTS = words("parts")
_CONCRETE = words("concrete")
_ING_THINGS = words("things in ing")


@dataclass(frozen=True, slots=True)
class Mention:
    """Words that name a thing: tokens first..last, both included; `last` heads the noun phrase.

    Args:
        name: lower case, singular ("fire hydrant").
        category: the COCO category that covers it, or None.
        plural: whether the words are plural.
        rule: "vocabulary", "noun" (any other concrete noun) or "stuff" (sky, grass, street).
        part: the noun heads a part of this thing ("car door": the car is there, named by a modifier).
    """

    first: int
    last: int
    name: str
    category: str | None
    plural: bool
    rule: str
    part: bool = False


_STARTS = frozenset(form.split()[0] for form in FORMS if " " in form)
_LONGEST = max(form.count(" ") + 1 for form in FORMS)


def find(parse: Parse) -> list[Mention]:
    """All mentions of a parse, in reading order."""
    mentions, i, n = [], 0, len(parse)
    while i < n:
        mention = _from_vocabulary(parse, i) or _from_parser(parse, i)
        if mention is None:
            i += 1
        else:
            mentions.append(mention)
            i = mention.last + 1
    return mentions


def _from_vocabulary(parse: Parse, i: int) -> Mention | None:
    words = parse.words
    if words[i] in _STARTS:
        for length in range(min(_LONGEST, len(words) - i), 1, -1):
            form = FORMS.get(" ".join(words[i : i + length]))
            if form and parse.sentence[i] == parse.sentence[i + length - 1]:
                return _gated(parse, i, i + length - 1, form)
    form = FORMS.get(words[i])
    return _gated(parse, i, i, form) if form else None


def _gated(parse: Parse, first: int, last: int, form: tuple[str, bool]) -> Mention | None:
    """The mention, unless these words do not name a thing here."""
    word = parse.words[last]
    if first == last and singular(word) in _AMBIGUOUS and not _is_noun(parse, last):
        return None
    if _hyphenated(parse, first, last):
        return None
    head = modified(parse, last)
    if head is not None and (parse.words[head] not in _PARTS or word == "ski"):
        return None
    if _other_thing(parse, first, word):
        return None
    name, many = form
    return Mention(first, last, name, category(name), many, "vocabulary", head is not None)


def _other_thing(parse: Parse, first: int, word: str) -> bool:
    """The seat of a toilet is no chair, the ties under a railroad are no neckties."""
    if word in ("seat", "seats"):
        return "toilet" in parse.words
    return word in ("tie", "ties") and first > 0 and parse.words[first - 1] in ("railroad", "railway", "train", "track")


def _is_noun(parse: Parse, i: int) -> bool:
    if parse.words[i] in ("orange", "remote", "adult", "female", "male", "light"):
        return parse.tags[i] in NOUN_TAGS and not _colour_like(parse, i)
    if parse.tags[i] in NOUN_TAGS:
        return True
    before = i > 0 and parse.tags[i - 1] in BEFORE_NOUN_TAGS and parse.sentence[i - 1] == parse.sentence[i]
    after = i + 1 < len(parse) and parse.tags[i + 1] in (*NOUN_TAGS, "JJ", "DT", "PRP$")
    return before and not after


def _colour_like(parse: Parse, i: int) -> bool:
    """ "an orange and white cat", "remote area": a modifier whatever the tag says."""
    return parse.deps[i] in ("amod", "nmod", "acomp") or (
        i + 2 < len(parse) and parse.words[i + 1] in ("and", "or", "/", "-") and parse.tags[i + 2] == "JJ"
    )


def _hyphenated(parse: Parse, first: int, last: int) -> bool:
    """ "horse-drawn", "kite-flying", "desk-like": joined to what follows, or the tail of a hyphenated adjective."""
    text, n = parse.text, len(parse)
    follows = last + 2 < n and parse.words[last + 1] in ("-", "–") and parse.ends[last] == parse.starts[last + 1]
    if follows and parse.ends[last + 1] == parse.starts[last + 2]:
        return parse.words[last + 2] not in _PARTS
    return last + 1 < n and parse.ends[last] == parse.starts[last + 1] and text[parse.starts[last + 1]] == "@"


def modified(parse: Parse, i: int) -> int | None:
    """The noun that token i merely modifies ("tower" in "clock tower"), or None."""
    head = parse.heads[i]
    if parse.deps[i] not in ("compound", "nmod", "amod") or head <= i or parse.tags[head] not in NOUN_TAGS:
        return None
    between = parse.tags[i + 1 : head]
    if any(tag not in (*NOUN_TAGS, "HYPH", "JJ", "VBG", "VBN") for tag in between):
        return None
    # "a zebra standing in the grass" is now and then read as a compound headed by "standing".
    return None if parse.words[head].endswith("ing") and parse.words[head] not in _ING_THINGS else head


def _from_parser(parse: Parse, i: int) -> Mention | None:
    """A concrete noun that the vocabulary does not know, with the nouns compounded before it."""
    word = parse.words[i]
    if parse.tags[i] not in ("NN", "NNS") or not word.isalpha() or len(word) < 2 or parse.deps[i] == "compound":
        return None
    if modified(parse, i) is not None or _hyphenated(parse, i, i):
        return None
    one = singular(word)
    if one in _GENERIC or word in _GENERIC or _abstract(one):
        return None
    first = i
    while first > 0 and parse.deps[first - 1] == "compound" and parse.heads[first - 1] == i:
        if not parse.words[first - 1].isalpha():
            break
        first -= 1
    name = " ".join([*parse.words[first:i], one])
    rule = "stuff" if one in _STUFF or word in _STUFF else "noun"
    return Mention(first, i, name, category(name), parse.tags[i] == "NNS" and one != word, rule)


def _abstract(word: str) -> bool:
    if word.endswith("ing"):
        return word not in _ING_THINGS
    return word.endswith(_ABSTRACT_ENDINGS) and word not in _CONCRETE
