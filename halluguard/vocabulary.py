"""Relate names of objects: the 80 COCO categories, their synonyms, wider and narrower words, plurals and articles.

Claim extraction recognises object words with this table, and detectors use it to know that a man is a person.
`metrics/` keeps its own frozen word rules, because a score must not move when this table improves.

    name      a singular, lower-case English name: "man", "dining table"
    category  the COCO category whose annotations cover the name ("man" -> "person", "desk" -> "dining table")
    parents   wider names, nearest first ("bus" -> "vehicle")

The categories and their groups are those of COCO (Lin et al. 2014). The everyday words of a category follow the usage
of the captioning literature (Rohrbach et al. 2018), with common words added. The words are in `vocabulary.txt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

# COCO's own order. Group -> categories.
COCO_GROUPS = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": (
        "frisbee",
        "skis",
        "snowboard",
        "sports ball",
        "kite",
        "baseball bat",
        "baseball glove",
        "skateboard",
        "surfboard",
        "tennis racket",
    ),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": (
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot dog",
        "pizza",
        "donut",
        "cake",
    ),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
}
COCO = tuple(name for names in COCO_GROUPS.values() for name in names)
_COCO = frozenset(COCO)


_AN_DESPITE = tuple("hour honest honor honour heir x-ray xbox suv mp3 f- hdtv 8 11 18".split())
_A_DESPITE = tuple("uni use usual utensil eu one once ukulele ufo u- ewe".split())
"""Beginnings of words that begin with another sound than their first letter suggests."""


def _read(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read sections of lines `name: word, word`; a line that starts with two spaces continues the previous line."""
    sections: dict[str, dict[str, tuple[str, ...]]] = {}
    for line in text.replace("\n  ", " ").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, words = line.partition(":")
            section[name] = tuple(word.strip() for word in words.split(","))
    return sections


_TABLES = _read(Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8"))
_SAME_AS = {word: name for name, words in _TABLES["same"].items() for word in words}
_KIND_OF = {word: name for name, words in _TABLES["kinds"].items() for word in words}
_PARENTS: dict[str, list[str]] = {word: [name] for word, name in _KIND_OF.items()}
for _wide, _names in _TABLES["above"].items():
    for _name in _names:
        _PARENTS.setdefault(_name, []).append(_wide)
_PLURAL = {one: many[0] for one, many in _TABLES["plurals"].items()}
_SINGULAR = {many: one for one, words in _TABLES["plurals"].items() for many in words}
_LOOSE = frozenset(_TABLES["loose"]["words"])
MODIFIERS = frozenset(_TABLES["modifiers"]["words"])
"""Words before a name that describe the object and do not change its kind."""
UNFILED = frozenset(_TABLES["unfiled"]["words"])
"""Names of objects that COCO need not annotate with their category: a desk need not be labelled as a dining table."""
COMMON = tuple(dict.fromkeys((*COCO, *_TABLES["common"]["words"])))
"""COCO's categories and everyday things beside them, for detectors that take any phrase."""
OFTEN_MISSED = frozenset(_TABLES["often missed"]["words"])
"""Categories that detectors often miss."""
_ENDS_IN_S = frozenset(_TABLES["ends in s"]["words"])
_IES = frozenset(
    ("movies", "cookies", "zombies", "hoodies", "brownies", "ties", "pies", "selfies", "smoothies", "doggies")
)
NAMES = frozenset(COCO).union(
    *({name, *words} for key in ("same", "kinds", "above") for name, words in _TABLES[key].items())
)


def plural(name: str) -> str:
    """The plural of a singular English name; only the last word changes.

    >>> plural("fire hydrant"), plural("knife"), plural("bench"), plural("sheep")
    ('fire hydrants', 'knives', 'benches', 'sheep')
    """
    head, space, word = name.rpartition(" ")
    if word in _PLURAL:
        many = _PLURAL[word]
    elif word.endswith("man") and word not in ("human", "german", "caiman"):
        many = word[:-3] + "men"
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        many = word + "es"
    elif word.endswith("y") and len(word) > 1 and word[-2] not in "aeiou":
        many = word[:-1] + "ies"
    else:
        many = word + "s"
    return head + space + many


def article(word: str) -> str:
    """ "a" or "an" before a word, by its sound.

    >>> article("apple"), article("unicorn"), article("hour"), article("dog")
    ('an', 'a', 'an', 'a')
    """
    word = word.lower()
    if word.startswith(_AN_DESPITE) and not word.startswith("80"):
        return "an"
    return "an" if word[:1] in tuple("aeiou") and not word.startswith(_A_DESPITE) else "a"


def listing(phrases: Sequence[str]) -> str:
    """Join phrases into one list for a sentence.

    >>> listing(["a dog", "a cat", "a bird"])
    'a dog, a cat and a bird'
    """
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


@lru_cache(maxsize=65536)
def singular(word: str) -> str:
    """The singular of one lower-case English word; a singular is returned unchanged.

    >>> singular("benches"), singular("skies"), singular("knives"), singular("glass"), singular("horses")
    ('bench', 'sky', 'knife', 'glass', 'horse')
    """
    if word in _SINGULAR:
        return _SINGULAR[word]
    if word in _PLURAL or word in _ENDS_IN_S or len(word) < 4 or not word.endswith("s"):
        return word[:-3] + "man" if word.endswith("men") and len(word) > 4 and word != "specimen" else word
    if word.endswith(("ss", "us", "is")) and not word.endswith(("menus", "emus", "gnus", "skis", "taxis", "bikinis")):
        return word
    if word.endswith("ies") and word not in _IES:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zzes")) and word not in ("aches", "headaches", "caches", "axes"):
        return word[:-2]
    if word.endswith("oes") and word not in ("shoes", "canoes", "toes", "horseshoes", "hoes", "tiptoes"):
        return word[:-2]
    return word[:-1]


def _forms() -> dict[str, tuple[str, bool]]:
    forms: dict[str, tuple[str, bool]] = {}
    for name in NAMES:
        for many in (plural(name), *_TABLES["plurals"].get(name, ())):
            forms.setdefault(many, (name, many != name))
    forms |= {name: (name, False) for name in NAMES}
    forms |= {name.replace(" ", ""): (name, False) for name in COCO if " " in name}  # "pottedplant", as VOC writes it
    return forms | {many: (forms[many][0], True) for many in ("skis", "scissors", "cattle", "oxen", "people")}


FORMS = _forms()
"""Written form in lower case -> (name, True if the form is a plural)."""


@lru_cache(maxsize=65536)
def normal(phrase: str) -> str:
    """The name that a phrase stands for: lower case, singular, single spaces, no article, no punctuation.

    >>> normal("  The Dining-Tables. ")
    'dining table'
    """
    words = phrase.lower().replace("-", " ").replace("_", " ").strip(" .,;:!?\"'").split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    if not words:
        return ""
    whole = " ".join(words)
    return FORMS[whole][0] if whole in FORMS else " ".join([*words[:-1], singular(words[-1])])


def same(name: str) -> str:
    """The common name of synonyms: "sofa" -> "couch"; other names are returned unchanged."""
    return _SAME_AS.get(name, name)


def identity(name: str) -> str:
    """What a name stands for, whatever its words: its category, else the name that its synonyms share.

    >>> identity("puppy"), identity("pink balloon")
    ('dog', 'pink balloon')
    """
    return category(name) or same(name)


@lru_cache(maxsize=65536)
def category(name: str) -> str | None:
    """The COCO category whose annotations cover `name`, or None.

    >>> category("man"), category("sofa"), category("unicorn"), category("vehicle")
    ('person', 'couch', None, None)
    """
    if name in _COCO:
        return name
    if name in _LOOSE:
        return None
    known = _KIND_OF.get(name) or _SAME_AS.get(name)
    return known if known in _COCO else None


@lru_cache(maxsize=65536)
def parents(name: str) -> tuple[str, ...]:
    """Wider names, nearest first: "puppy" -> ("dog", "animal", "pet")."""
    wider: list[str] = []
    queue = [same(name)]
    while queue:
        for parent in _PARENTS.get(queue.pop(0), ()):
            if parent not in wider:
                wider.append(parent)
                queue.append(parent)
    return tuple(wider)


@lru_cache(maxsize=65536)
def children(name: str) -> tuple[str, ...]:
    """Narrower names, one or more steps below: "vehicle" -> ("bicycle", "car", ..., "taxi", ...)."""
    return tuple(sorted(_narrower().get(same(name), ())))


@lru_cache(maxsize=1)
def _narrower() -> dict[str, list[str]]:
    """Name -> all names below it."""
    narrower: dict[str, list[str]] = {}
    for child in NAMES:
        for parent in parents(child):
            narrower.setdefault(parent, []).append(child)
    return narrower


@lru_cache(maxsize=65536)
def related(claimed: str, detected: str) -> Literal["same", "kind", "wider", ""]:
    """Relation of a detected name to a claimed one: "same", "kind" (a kind of the claimed), "wider" or "" (unrelated).

    >>> related("man", "person"), related("vehicle", "bus"), related("sofa", "couch"), related("dog", "cat")
    ('wider', 'kind', 'same', '')
    """
    a, b = same(claimed), same(detected)
    if a == b:
        return "same"
    if a in parents(b):
        return "kind"
    return "wider" if b in parents(a) else ""
