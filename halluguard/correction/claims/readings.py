"""Other readings of a concrete noun: a proper name, a colour, a figure of speech, a verb, talk about the image."""

from __future__ import annotations

import re

from halluguard.correction.claims import homographs
from halluguard.correction.text.lexicon import NOUN_TAGS, concrete, phrases, words
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import FORMS, category, parents, singular

_COLOURS = words("colours") | words("colour things")
_COLOUR_THINGS = words("colour things")
_COLOUR_TALK = words("colour talk")
_FIGURES = words("figures")
_IMAGE_TALK = words("image talk")
_ON_SCREENS = words("on screens")
_TABLE_TALK = words("table talk")
_PRICED = re.compile(r"[-–—:]\s*(?:[€$£¥]\s?\d|\d+(?:[.,]\d+)?\s*(?:€|\$|£|¥|EUR|USD|rubles?))")
_SCREEN_TALK = words("screen talk")
_LABELS = ("camera", "lens", "aperture", "film", "flash")
_TREE_WORDS = words("tree words")
_NAMED_PLACES = words("named places")
_DEMONYMS = words("demonyms")
_IDIOMS: dict[str, list[tuple[str, ...]]] = {}
for _phrase in phrases("idioms"):
    _IDIOMS.setdefault(_phrase[0], []).append(_phrase)
_ANIMAL_TOO = words("animal too")
_OTHER_THINGS = {name: words(f"makes another {name}") for name in ("bed", "bowl", "player", "seat")}
_DETERMINERS = ("a", "an", "the", "this", "that", "these", "those", "one", "two", "three", "some", "another", "each")
_ARTICLES = ("a", "an", "one", "this", "that", "another", "each", "every")


def idioms(parse: Parse) -> set[int]:
    """Tokens inside a figure of speech of several words ("a fork in the road")."""
    silent: set[int] = set()
    for i, word in enumerate(parse.words):
        for phrase in _IDIOMS.get(word, ()):
            if tuple(parse.words[i : i + len(phrase)]) == phrase:
                silent.update(range(i, i + len(phrase)))
    return silent


def scare_quoted(parse: Parse) -> set[int]:
    """Tokens in quotation marks that name a thing all the same: 'a large "living wall" or vertical garden'."""
    names = set[int]()
    for i in sorted(parse.quoted):
        if i - 1 in parse.quoted or i < 2:
            continue
        described = parse.tags[i - 2] in ("DT", "JJ") and parse.words[i - 2] not in ("the", "word")
        if not described:
            continue
        end = i
        while end in parse.quoted:
            end += 1
        after = parse.tags[end + 1] if end + 1 < len(parse) else ""
        if end - i <= _LONGEST_SCARE_QUOTE and after not in NOUN_TAGS and parse.text[parse.starts[i]].islower():
            names.update(range(i, end))
    return names


_LONGEST_SCARE_QUOTE = 3


def on_screen(parse: Parse) -> set[int]:
    """Tokens that name parts of a screen or chart, in a text that speaks of one."""
    tables = {i for i, word in enumerate(parse.words) if word in ("table", "tables")}
    tables = tables if len(_TABLE_TALK.intersection(parse.words)) > 1 else set()
    if _SCREEN_TALK.isdisjoint(parse.words):
        return tables
    talk = sum(word in _SCREEN_TALK for word in parse.words)
    start = parse.sentences[min(1, len(parse.sentences) - 1)][1]
    opens = any(word in _SCREEN_TALK for word in parse.words[:start])
    if talk < _LEAST_SCREEN_TALK and not opens:
        return tables
    return tables | {i for i, word in enumerate(parse.words) if singular(word) in _ON_SCREENS}


_LEAST_SCREEN_TALK = 3


def priced(parse: Parse) -> set[int]:
    """Tokens of the entries of a price list ("Marinara - 5,00€"): what is offered is not seen."""
    leaves = {
        n
        for n, leaf in enumerate(parse.leaves)
        if leaf.end - leaf.start < _LONGEST_ENTRY and _PRICED.search(parse.text, leaf.start, leaf.end)
    }
    return {i for i, leaf in enumerate(parse.block) if leaf in leaves} if leaves else set()


_LONGEST_ENTRY = 60


def physical(parse: Parse, i: int) -> bool:
    """Whether a word of sport or speech names a thing here: "a basketball", "in front of a backdrop"."""
    word = parse.words[i]
    if word in _BALLS:
        return (
            parse.tags[i] == "NN"
            and any(parse.words[j] in ("a", "two") for j in parse.children[i])
            and (parse.deps[i] in ("pobj", "dobj", "nsubj", "nsubjpass", "attr", "conj", "ROOT"))
        )
    if word not in SPORT_OR_SPEECH:
        return False
    above = parse.heads[parse.heads[i]]
    stands = parse.deps[i] == "pobj" and parse.words[above] == "front"
    return stands or any(parse.words[j : j + 3] == ["front", "of", "a"] for j in range(i - 3))


_BALLS = ("basketball", "football", "baseball", "volleyball")
SPORT_OR_SPEECH = frozenset((*_BALLS, "backdrop"))
"""Words that `physical` reads as things."""


def names_nothing(parse: Parse, first: int, last: int) -> bool:
    """Whether the words, though they could name a thing, are read otherwise here."""
    return (
        _proper_name(parse, first, last)
        or (first == last and any(reading(parse, last) for reading in _ONE_WORD_READINGS))
        or _abstract_use(parse, last)
    )


def capital(parse: Parse, i: int) -> bool:
    """Whether the token begins with a capital that says something: not the first of its sentence, not in a title."""
    if not parse.text[parse.starts[i]].isupper() or (parse.block and parse.block[i] in parse.folded):
        return False
    return i != parse.sentences[parse.sentence[i]][0]


def _proper_name(parse: Parse, first: int, last: int) -> bool:
    """Whether the words are a proper name for something else: "a bottle of Grey Goose", "Donald Duck".

    A capitalised name that ends in a kind of place ("Arundel Cathedral") names a thing, and so do breeds.
    """
    if not capital(parse, last):
        return False
    word = parse.words[last]
    if first < last:
        return capital(parse, first) and " ".join(parse.words[first : last + 1]) not in FORMS
    if word in _NAMED_PLACES:
        return False
    before = last - 1 if last > 0 and parse.sentence[last - 1] == parse.sentence[last] else None
    after = last + 1 if last + 1 < len(parse) and parse.sentence[last + 1] == parse.sentence[last] else None
    named_before = before is not None and parse.text[parse.starts[before]].isupper() and _names(parse, before)
    if after is not None and parse.words[after] in ("'s", "’s") and after + 1 < len(parse):
        after += 1  # "Bishop's Stortford"
    named_after = after is not None and capital(parse, after) and parse.tags[after] in ("NNP", "NNPS")
    if named_before and before is not None and parse.words[before] in _DEMONYMS and "animal" in parents(singular(word)):
        start = before - 1
        return start < 0 or parse.words[start] not in _DETERMINERS
    if named_before or named_after:
        return True
    if parse.words[last - 1] == "the" and capital(parse, last - 1):
        return True  # "The Cock", a pub
    determined = any(parse.words[j] in _DETERMINERS or parse.tags[j] == "PRP$" for j in parse.children[last])
    return not determined and singular(word) == word and parse.tags[last] in ("NNP", "NNPS")


def _names(parse: Parse, i: int) -> bool:
    """Whether a capitalised token belongs to a name: it does not merely open the sentence."""
    opens = i == parse.sentences[parse.sentence[i]][0]
    return parse.tags[i] in ("NNP", "NNPS") or (not opens and parse.tags[i] in ("JJ", *NOUN_TAGS))


def _colour(parse: Parse, i: int) -> bool:
    """Whether the word is a colour here: "in shades of teal and gold", "painted in orange", "it is gold"."""
    if parse.words[i] == "greens":
        return any(parse.words[j].removesuffix("s") in _COLOURS for j in parse.conjuncts(i) if j != i)
    if parse.words[i] not in _COLOUR_THINGS or parse.tags[i] == "NNS":
        return False
    if parse.leaves and parse.leaf(i).kind in ("term", "cell") and homographs.alone(parse, i):  # type: ignore[union-attr]
        return True
    if any(parse.words[j] in _DETERMINERS or parse.deps[j] in ("nummod", "poss") for j in parse.children[i]):
        return False
    if any(j != i and parse.words[j] in _COLOURS for j in parse.conjuncts(i)):
        return True
    top = parse.first_conjunct(i)
    head = parse.heads[top]
    if parse.deps[top] == "pobj":
        return parse.words[head] == "in" or parse.words[parse.heads[head]] in _COLOUR_TALK
    return parse.deps[top] in ("acomp", "attr", "oprd", "amod")


def _figure(parse: Parse, i: int) -> bool:
    """Whether the word is a figure of speech: "a sea of umbrellas", "a blanket of snow"."""
    if singular(parse.words[i]) not in _FIGURES or i + 2 >= len(parse) or parse.words[i + 1] != "of":
        return False
    if parse.words[i] == "forest" and any(parse.words[j] in _TREE_WORDS for j in parse.subtree(i + 1)):
        return False
    return parse.words[i + 2] not in ("the", "a", "an", "his", "her", "its", "their", "this")


def _image_talk(parse: Parse, i: int) -> bool:
    """Whether the word is about taking the image: "facing the camera", "Camera: ..." above its data."""
    leaf = parse.leaf(i)
    if leaf is not None and leaf.kind == "label" and parse.words[i] in _LABELS:
        return True
    if parse.words[i] not in ("camera", "lens") or i < 2 or parse.words[i - 1] != "the":
        return False
    return parse.words[i - 2] in _IMAGE_TALK


_ONE_WORD_READINGS = (_colour, _figure, _image_talk, *homographs.READINGS)


def _abstract_use(parse: Parse, i: int) -> bool:
    """Whether the word is used abstractly: "a sign of spring", "on display", "in the distance stands"."""
    word = parse.words[i]
    after = parse.words[i + 1] if i + 1 < len(parse) else ""
    subject = parse.child(parse.heads[i], "nsubj") if parse.deps[i] == "attr" else None
    if subject is not None and parse.words[subject] in ("image", "picture", "photo", "photograph"):
        return True  # "The image is a valuable document"
    if word in ("sign", "signs", "display", "displays") and after == "of":
        return True
    return (
        word in ("display", "board", "hand", "foot", "head")
        and i > 0
        and parse.words[i - 1] in ("on", "by", "in", "at")
    )


def verb_after_noun(parse: Parse, i: int) -> bool:
    """Whether an "-s" form right after "a kite" is its verb, as in "a kite flies", where the parser sees a compound."""
    word = parse.words[i]
    if parse.tags[i] != "NNS" or not word.endswith("s") or i == 0 or singular(word) == word:
        return False
    subject = i - 1
    known = parse.words[subject] in FORMS or concrete(parse.words[subject]) == "thing"
    noun = known or parse.tags[subject] in ("NN", "NNP")
    if not noun or parse.sentence[subject] != parse.sentence[i]:
        return False
    start = parse.sentences[parse.sentence[i]][0]
    j = subject
    while j > start and (j == subject or parse.tags[j] in ("NN", "NNP", "JJ", "VBN", "VBD", "VBG", "HYPH", ",")):
        j -= 1
    return parse.words[j] in _ARTICLES and parse.words[j + 1] not in ("few", "couple", "dozen", "hundred", "thousand")


def renamed(parse: Parse, i: int, name: str) -> str:
    """The name of what a homograph stands for here.

    Among birds a kite is a bird; beside an animal a male, a baby or a calf is an animal; a truck bed, a flower bed, a
    skate park's bowl and a record player are things that no category covers.
    """
    if name == "kite" and any(category(singular(parse.words[j])) == "bird" for j in parse.conjuncts(i) if j != i):
        return "bird"
    if name in _ANIMAL_TOO and _beside_animal(parse, i, name):
        return "animal"
    return _with_modifier(parse, i, name)


def _beside_animal(parse: Parse, i: int, name: str) -> bool:
    """Whether the text names an animal of another kind; for words such as "baby", it must name no person."""
    young_or_sex = category(name) in (None, "person")
    first, end = parse.sentences[parse.sentence[i]] if young_or_sex else (0, len(parse))
    others = {singular(parse.words[j]) for j in range(first, end) if j != i} - _ANIMAL_TOO
    if any("animal" in parents(other) and category(other) != category(name) for other in others):
        return not young_or_sex or not any(category(other) == "person" for other in others)
    return False


def _with_modifier(parse: Parse, i: int, name: str) -> str:
    """The whole name where the word before, or "of" behind, makes it another thing: "truck bed"."""
    makers = _OTHER_THINGS.get(name)
    if makers is None:
        return name
    before = parse.words[i - 1] if i > 0 and parse.sentence[i - 1] == parse.sentence[i] else ""
    if before == "-" and i > 1:
        before = parse.words[i - 2]
    of = [k for k in parse.children[i] if parse.words[k] == "of"]
    behind = [parse.words[j] for k in of for j in parse.subtree(k) if parse.tags[j] in NOUN_TAGS]
    for word in map(singular, (before, *behind)):
        if word in makers or not makers.isdisjoint(parents(word)):
            return f"{word} {name}"
    return name
