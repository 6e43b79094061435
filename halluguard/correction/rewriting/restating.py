"""State lost objects again: "There is a red tent and a barn."

Only whole objects that were said to be there are stated, with their attributes. Matter, places, parts and what belongs
to somebody are not: "There is a finger." is grammatical, but says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from halluguard.correction.claims.mentions import Mention
from halluguard.correction.rewriting.token_editor import TokenEditor, article
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim
from halluguard.vocabulary import listing

_MASS = words("mass")
_SOME = _MASS | words("some of it")
_MEASURES = words("measures")
_NEVER = words("not restated") | _MEASURES | _MASS
_PREMODIFIERS = ("det", "amod", "nummod", "compound", "poss", "quantmod", "nmod", "predet", "advmod", "punct")
_LIMITING = ("only", "just", "even", "also", "neither", "either", "both")
_AFTER_NOUN = frozenset("of with in on near at from beside behind".split())
_INDEFINITE = frozenset(("a", "an", "some", "several", "many", "multiple", "various", "numerous"))
_NOT_THERE = frozenset(("for", "like", "as", "than", "about", "without", "into"))
"""Prepositions of comparison and purpose; what follows them need not be there."""
_PARTITIVE = frozenset(("of", "from", "including"))
_PLACES = frozenset("atop near beside behind above below under over along across on at by to through against".split())
_BUILT = frozenset("wall garden courtyard park path window door lake river".split())
_LONG_SENTENCE = 22
"""Number of tokens of a sentence; in a longer one, a thing counts as taken for granted."""
_LONGEST_PHRASE = 7
_LONGEST_ACTION = 12
MOST = 3
"""Largest number of lost objects that one sentence states again."""

_FRAME = re.compile(
    r"(?:(?:an?|the) )?(?:[\w-]+ ){0,3}(?:image|picture|photo|photograph|snapshot|scene|illustration|painting|drawing"
    r"|artwork|sketch|cartoon|render|screenshot|portrait|meme|collage|close-up|closeup|view|shot)"
    r" (?:of|with|featuring|showing|depicting)\b",
    re.IGNORECASE,
)
"""Opens a phrase that says what kind of image shows the things after it."""


def is_whole(parse: Parse, mention: Mention, claim: Claim | None) -> bool:
    """Whether a mention names a whole object that the text says is there."""
    if claim is not None and (claim.modality != "asserted" or claim.polarity != "asserted"):
        return False
    name = mention.name if mention.category and " " in mention.name else mention.name.split()[-1]  # "wine glass"
    named = any(parse.span(i, i)[:1].isupper() for i in range(mention.first, mention.last + 1) if not _opens(parse, i))
    if named and not parse.span(mention.first, mention.last).isupper() and not _folded(parse, mention.last):
        return False  # "San Francisco Bay"
    matter = name in _NEVER or (" " not in name and parse.words[mention.last] in _NEVER)
    matter = matter and not (mention.category is not None and name in _MASS)  # "some broccoli"
    if mention.part or (matter and not _is_built(parse, mention)):
        return False
    owned = any(parse.deps[j] == "poss" for j in parse.children[mention.last])
    if is_aside(parse, mention):
        return False
    partitive = _preposition(parse, mention) in _PARTITIVE and not _measured(parse, mention)
    return not owned and (not partitive or mention.category is not None)


def _measured(parse: Parse, mention: Mention) -> bool:
    """Whether the mention stands after a word of measure: the trees of "a dense assembly of trees"."""
    above = parse.heads[parse.heads[parse.first_conjunct(mention.last)]]
    return parse.words[above] in _MEASURES


def _is_built(parse: Parse, mention: Mention) -> bool:
    """Whether a place or part is a thing to name here: "a striking living wall"."""
    before = [j for j in parse.children[mention.last] if j < mention.last]
    introduced = any(parse.words[j] in ("a", "an") for j in before) and any(parse.deps[j] == "amod" for j in before)
    return introduced and parse.words[mention.last] in _BUILT


def can_be_stated(parse: Parse, mention: Mention) -> bool:
    """Whether "There is a barn." would claim no more than the text does."""
    counted = mention.plural or _counted(parse, mention)
    attached = parse.deps[mention.last] == "pobj" and parse.words[parse.heads[mention.last]] == "with"
    other = any(parse.words[j] == "other" for j in parse.children[mention.last])
    if mention.rule != "vocabulary" and (other or (attached and mention.plural)):
        return False  # "with branches and needles": parts of what it is with
    return counted and not _taken_for_granted(parse, mention) and not _is_predicate(parse, mention)


def is_placed(parse: Parse, mention: Mention) -> bool:
    """Whether a thing that was seen may be stated wherever it stands: "atop the spire", "a statue", "the man's"."""
    last = mention.last
    before = [parse.words[j] for j in parse.children[last] if j < last]
    if parse.tags[last] != "NN" or mention.rule == "stuff" or "other" in before:
        return False
    if parse.deps[last] == "poss":
        return mention.category == "person"
    if any(parse.deps[i] in ("ccomp", "pcomp", "advcl", "relcl", "xcomp") for i in parse.chain(last)):
        return False
    place = parse.deps[last] == "pobj" and parse.words[parse.heads[last]] in _PLACES and "the" in before
    return place or (("a" in before or "an" in before) and not _is_predicate(parse, mention))


def _taken_for_granted(parse: Parse, mention: Mention) -> bool:
    """Whether the text presupposes it: "close to the roots", "the buildings' history", "(the Tower)"."""
    last = mention.last
    if parse.deps[last] == "poss" or "(" in parse.words[max(0, mention.first - 2) : mention.first]:
        return True
    before = [parse.words[j] for j in parse.children[last] if j < last]
    definite = any(word in ("the", "these", "those", "this", "that") for word in before)
    in_relative = any(parse.deps[i] == "relcl" for i in parse.chain(last))
    first, end = parse.sentences[parse.sentence[last]]
    named_before = parse.sentence[last] == 0 or parse.words[last] in parse.words[:last]
    opens = named_before and parse.deps[last] in ("nsubj", "nsubjpass")
    purpose = any(parse.deps[i] == "pcomp" and parse.words[parse.heads[i]] == "for" for i in (last, *parse.chain(last)))
    in_maze = purpose or end - first > _LONG_SENTENCE
    each = in_maze or any(parse.words[i] in ("each", "every") for i in range(max(0, mention.first - 4), mention.first))
    if definite and in_relative:
        return True  # "the board the person is on"
    return mention.rule != "vocabulary" and ((definite and not opens) or in_relative or each)


def _counted(parse: Parse, mention: Mention) -> bool:
    """Whether an article or a number makes it one thing: a bare "seaweed" is matter, or was misread."""
    before = [j for i in parse.conjuncts(mention.last) for j in parse.children[i] if j < i]
    first, end = parse.sentences[parse.sentence[mention.last]]
    if mention.rule == "vocabulary":
        return True
    bare_text = _folded(parse, mention.last) or not any(tag in ("VBZ", "VBP", "VBD") for tag in parse.tags[first:end])
    return bare_text or any(parse.deps[j] in ("det", "nummod", "predet") for j in before)


def _is_predicate(parse: Parse, mention: Mention) -> bool:
    """Whether the noun describes another thing: "the cat on the right is an adult"."""
    verb = parse.heads[mention.last]
    subject = parse.child(verb, "nsubj")
    introduced = parse.child(verb, "expl") is not None
    return parse.deps[mention.last] == "attr" and subject not in (None, mention.last) and not introduced


def is_aside(parse: Parse, mention: Mention) -> bool:
    """Whether the mention only serves a comparison or a purpose: "for people who want to rest"."""
    top = parse.first_conjunct(mention.last)
    preposition = parse.heads[top]
    word = _preposition(parse, mention)
    before = preposition - 1 if preposition > 0 else preposition
    definite = any(parse.words[j] == "the" for j in parse.children[top] if j < top)
    if word == "than" and definite:
        return False  # "larger than the cow on the right"
    examples = (word == "as" and parse.words[before] == "such") or (word == "like" and parse.tags[before] == "NNS")
    return word in _NOT_THERE and not examples


def _preposition(parse: Parse, mention: Mention) -> str:
    top = parse.first_conjunct(mention.last)
    return parse.words[parse.heads[top]] if parse.deps[top] == "pobj" else ""


def _opens(parse: Parse, i: int) -> bool:
    return i == parse.sentences[parse.sentence[i]][0]


def _folded(parse: Parse, token: int) -> bool:
    """Whether capitals carry no meaning at the token, as in a title."""
    return bool(parse.leaves) and parse.block[token] in parse.folded


def phrase(editor: TokenEditor, mention: Mention, out: set[int]) -> str:
    """The noun phrase of a mention with its attributes, as a first mention: "a red tent", "two dogs".

    Args:
        editor: holds the words as they are now.
        out: tokens that must not be in the phrase.
    """
    parse, last = editor.parse, mention.last
    start = parse.sentences[parse.sentence[last]][0]
    first = mention.first
    premodifiers = {
        i for j in parse.children[last] if parse.deps[j] in _PREMODIFIERS and j < last for i in parse.subtree(j)
    }
    while first > start and first - 1 in premodifiers and first - 1 not in out and editor.alive(first - 1):
        first -= 1
    end = phrase_end(editor, last, out)
    while first < mention.first and (not editor.original(first)[:1].isalnum() or parse.words[first] in _LIMITING):
        first += 1
    opening = parse.words[first]
    plain = [
        i
        for i in range(first, mention.first)
        if parse.deps[i] in ("det", "predet", "preconj") or parse.words[i] in ("another", *_LIMITING)
    ]
    if opening in _INDEFINITE or parse.tags[first] == "CD":
        return _lowered(editor, first, end)
    noun_first = next((i for i in range(first, mention.last + 1) if i not in plain), mention.first)
    text = _lowered(editor, noun_first, end)
    many = mention.plural or parse.tags[last] in ("NNS", "NNPS")
    if many or mention.name.split()[-1] in _SOME:
        return text if parse.tags[noun_first] == "CD" else f"some {text}"
    return f"{article(text.lstrip('*_`'))} {text}"


def phrase_end(editor: TokenEditor, last: int, out: set[int]) -> int:
    """The last token of the noun phrase, with a short phrase after the noun: "near a tree", "driving down a road"."""
    return max(_with_place(editor, last, out), _with_action(editor, last, out))


def _with_place(editor: TokenEditor, last: int, out: set[int]) -> int:
    """The last token of the noun phrase, including a short phrase such as "near a tree" after the noun."""
    parse = editor.parse
    for j in parse.children[last]:
        inside = parse.subtree(j)
        fits = parse.deps[j] == "prep" and inside[0] == last + 1 and len(inside) <= _LONGEST_PHRASE
        contiguous = inside == list(range(inside[0], inside[-1] + 1))
        closed = inside[-1] + 1 >= len(parse) or parse.tags[inside[-1] + 1] not in ("VBN", "VBG", "VB", "RP")
        fits = fits and closed and not any(parse.words[i] in ("the", "its", "his", "her", "their") for i in inside)
        whole = contiguous and not out & set(inside) and all(map(editor.alive, inside))
        if fits and whole and parse.tags[inside[-1]] in ("NN", "NNS"):
            return inside[-1]
    return last


def _with_action(editor: TokenEditor, last: int, out: set[int]) -> int:
    """The last token of the noun phrase, including what the thing does: "a car driving down the road"."""
    parse = editor.parse
    for j in parse.children[last]:
        inside = parse.subtree(j)
        acts = parse.deps[j] == "acl" and parse.tags[j] == "VBG" and inside == list(range(last + 1, inside[-1] + 1))
        joint = next((i for i in inside if parse.deps[i] == "cc"), inside[-1] + 1)
        inside = inside[: inside.index(joint)] if joint in inside else inside
        if not inside:
            continue
        short = len(inside) <= _LONGEST_ACTION and parse.tags[inside[-1]] in ("NN", "NNS", "RB", "RP", "VBG")
        known = not out & set(inside) and all(map(editor.alive, inside))
        if acts and short and known and not any(parse.tags[i] in ("PRP", "PRP$") for i in inside):
            return inside[-1]
    return last


def _lowered(editor: TokenEditor, first: int, last: int) -> str:
    text = editor.written(first, last)
    opens = first == editor.parse.sentences[editor.parse.sentence[first]][0]
    if opens and not text.isupper() and len(text) > 1 and not text[1].isupper():
        return text[0].lower() + text[1:]
    return text


def framed(editor: TokenEditor, sentence: int, out: set[int], things: str) -> str:
    """The list of things in the frame of the phrase that named them: "A close-up of a couch"; "" where it has none.

    Args:
        out: tokens that must not be in the frame.
        things: the list, as in "a couch and two chairs".
    """
    first, end = editor.parse.sentences[sentence]
    text = editor.parse.span(first, end - 1)
    frame = _FRAME.match(text)
    start = editor.parse.starts[first]
    if frame is None or any(start <= editor.parse.starts[i] < start + frame.end() for i in out if first <= i < end):
        return ""
    return f"{frame[0]} {things}"


def statement(phrases: Sequence[str]) -> str:
    """The sentence that states the phrases: "There is a dog and a cat."; in capitals where they are."""
    opening = phrases[0].lower().split()
    of_many = opening[1:2] and opening[1] in ("few", "couple", "number", "variety", "lot")
    one = opening[0] in ("a", "an", "one") and not of_many
    noun = next((opening[n - 1] for n, word in enumerate(opening) if n > 1 and word in _AFTER_NOUN), opening[-1])
    one = one or (opening[0] == "some" and noun in _SOME)
    text = f"There {'is' if one else 'are'} {listing(phrases)}."
    return text.upper() if listing(phrases).isupper() and len(listing(phrases)) > 3 else text


def outermost(parse: Parse, mentions: Iterable[tuple[int, Mention]], spans: dict[int, int]) -> list[int]:
    """Mentions that do not stand inside the phrase of an earlier one."""
    kept: list[int] = []
    reach = -1
    for n, mention in sorted(mentions, key=lambda pair: pair[1].first):
        if mention.last > reach:
            kept.append(n)
            reach = spans[n]
    return kept
