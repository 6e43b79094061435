"""Instructions and advice: what the reader is to do, with things that the image need not show.

Follow the road signs.                       an order
Visitors should bring comfortable shoes.     advice
It is best to store apples in a cool place.  advice
Notice the dog on the left.                  of the image: read as usual
"""

from __future__ import annotations

from halluguard.correction.claims.clauses import SEEING, SUBJECTS, is_kind, of_the_image, own_clause, untied
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse

_DESCRIBING = words("describing")
_ORDERS = words("orders")
_ADVISABLE = words("advisable")
_ADVISING = ("recommend", "suggest", "advise")
_DUTIES = ("should", "must", "ought", "shall")
_AFTER_ORDERS = (
    "the",
    "a",
    "an",
    "your",
    "all",
    "any",
    "it",
    "them",
    "on",
    "off",
    "with",
    "left",
    "right",
    "up",
    "down",
)
_IMAGES = ("image", "picture", "photo", "scene")
_ADVISED = ("advised", "recommended", "required", "reminded", "urged")
_PLURAL = ("NNS", "PRP", "NNPS")


def tokens(parse: Parse) -> set[int]:
    """Tokens of clauses that instruct or advise."""
    found = set[int]()
    for verb in range(len(parse)):
        tag = parse.tags[verb]
        if (tag[:2] == "VB" or parse.words[verb] in _ORDERS) and _orders(parse, verb):
            found |= _ordered(parse, verb)
        elif tag[:2] == "VB" and _advises(parse, verb):
            found |= untied(parse, verb)
        elif tag[:2] == "VB" and _recommends(parse, verb):
            found |= own_clause(parse, verb) - _doers(parse, verb)
    return found


def _orders(parse: Parse, verb: int) -> bool:
    """Whether the verb tells the reader to do something: "Wash the car", "To avoid accidents, follow the signs"."""
    leaf = parse.leaf(verb)
    first, end = parse.sentences[parse.sentence[verb]]
    if parse.words[verb : verb + 2] == ["make", "sure"] and verb == first:
        return True
    if (leaf is not None and leaf.kind != "prose") or parse.words[verb] in SEEING | _DESCRIBING:
        return False
    if any(parse.deps[j] in SUBJECTS or parse.tags[j] in ("MD", "TO") for j in parse.children[verb]):
        return False
    after = parse.words[verb + 1] if verb + 1 < end else ""
    opens = verb == first or (parse.words[first] == "to" and parse.words[verb - 1] == ",")
    if parse.words[verb] in _ORDERS and opens and after in _AFTER_ORDERS:
        return True
    if parse.tags[verb] != "VB" or parse.deps[verb] != "ROOT":
        return False
    if any(not _may_precede(parse, i, verb) for i in range(first, verb) if parse.heads[i] == verb):
        return False
    thing = parse.child(verb, "dobj")
    if thing is None:
        return parse.words[verb] in _ORDERS or parse.child(verb, "prt") is not None
    return parse.tags[thing] in _PLURAL or parse.child(thing, "det", "poss", "nummod", "predet", "prep") is not None


def _ordered(parse: Parse, verb: int) -> set[int]:
    """Tokens of an order; without the verbs of recipes and guides, things with "the" may be those of the image."""
    shown = any(parse.words[i] in _IMAGES and parse.words[i - 1] in ("the", "this") for i in parse.subtree(verb))
    if parse.words[verb] not in _ORDERS or shown:
        return untied(parse, verb)
    return own_clause(parse, verb) if parse.tags[verb] == "VB" else set(range(*parse.sentences[parse.sentence[verb]]))


def _may_precede(parse: Parse, i: int, verb: int) -> bool:
    """Whether the token may stand before the verb of an order: "please", "do not", "to avoid accidents,"."""
    polite = parse.tags[i] in ("RB", "UH") or parse.words[i] in ("please", "do", "don't", "then", "first")
    clause = parse.deps[i] == "advcl" and parse.tags[i][:2] == "VB"
    return polite or clause or parse.deps[i] in ("punct", "neg", "mark", "prep", "advmod", "dep") or i == verb


def _advises(parse: Parse, verb: int) -> bool:
    """Whether the verb says what anybody should do: "Cyclists must give way to pedestrians"."""
    duty = any(parse.tags[j] == "MD" and parse.words[j] in _DUTIES for j in parse.children[verb])
    advised = parse.words[verb] in _ADVISED and any(_to_do(parse, j) for j in parse.children[verb])
    if not duty and not (advised and parse.tags[verb] == "VBN"):
        return False
    subject = parse.child(verb, *SUBJECTS)
    if subject is None or subject > verb:
        return False
    anybody = parse.words[subject] in ("you", "one", "we") or is_kind(parse, subject)
    return anybody and parse.words[verb] not in SEEING and not of_the_image(parse, verb)


def _recommends(parse: Parse, verb: int) -> bool:
    """Whether the clause recommends: "I recommend a warm jacket", "It is important to check the tires"."""
    subject = parse.child(verb, *SUBJECTS)
    if subject is None:
        return False
    if parse.words[verb] in _ADVISING:
        return parse.words[subject] in ("i", "we")
    said = [j for j in parse.children[verb] if parse.deps[j] == "acomp" or parse.words[j] == "idea"]
    if parse.tags[verb] == "VBN":
        said.append(verb)
    return parse.words[subject] == "it" and any(
        parse.words[j] in _ADVISABLE and any(_to_do(parse, k) for k in (*parse.children[j], *parse.children[verb]))
        for j in said
    )


def _doers(parse: Parse, verb: int) -> set[int]:
    """Those whom the advice is for, who may be seen: "it is advisable for drivers to slow down"."""
    return {i for i in parse.subtree(verb) if i > verb and parse.deps[i] in SUBJECTS and parse.tags[i] == "NNS"}


def _to_do(parse: Parse, verb: int) -> bool:
    """Whether the clause is "to" and a verb that is no verb of seeing."""
    named = parse.tags[verb] == "VB" and parse.words[verb] not in SEEING | _DESCRIBING
    return named and any(parse.tags[j] == "TO" for j in parse.children[verb])
