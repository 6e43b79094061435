"""Find cuts that remove a word and leave a grammatical sentence, smallest first.

    a list member  <  a phrase or clause that only modifies  <  one of two joined clauses  <  the sentence

A cut is a set of tokens. From the word upwards to the root of its sentence, each constituent is tried: an adjunct can
be cut if its governor is complete without it; a subject or an object is cut together with its clause.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import pairwise

from halluguard.correction.rewriting import segments
from halluguard.correction.text.lexicon import FINITE_TAGS, NOUN_TAGS, VERB_TAGS, words
from halluguard.correction.text.parse import SUBJECTS, Parse
from halluguard.vocabulary import category, parents, singular

_STAND_ALONE = words("stand alone") | words("intransitive")
_NEEDS_PHRASE = words("needs its phrase")
_NEEDS_PREPOSITION = words("needs its preposition")
_MEASURES = words("measures")
_GENERIC = words("generic")
_COMPLEMENTS = frozenset(
    ("dobj", "obj", "attr", "acomp", "xcomp", "ccomp", "prep", "agent", "oprd", "advcl", "dative", "advmod", "npadvmod")
)
_HEDGES = words("hedges")
_MASS = words("mass") | words("not restated")
_PARTS = words("not restated")
_FOR_ANY_NUMBER = frozenset(("the", "its", "his", "her", "their", "some", "any"))
_PLACED = frozenset("situated located placed positioned set mounted perched nestled displayed arranged laid".split())
_POSTURES = frozenset(
    "sit sits sat sitting stand stands stood standing rest rests rested resting lie lies lay lying".split()
)
_CLAD = frozenset("dressed clad garbed attired clothed".split())
_ASIDES = (",", "(", "-", "–", "—", ";")
_NO_PLACE = frozenset("with by for during like as without".split())
_NEEDS_CLAUSE = frozenset("way fact moment time place manner reason extent point sense impression feeling".split())
_DONE_BY = frozenset(
    """
    completed dominated characterized characterised surrounded filled accompanied followed flanked framed lined bordered
    topped marked defined highlighted complemented accentuated enhanced
    """.split()
)
"""Participles that need what does it."""
_OF_ALL = frozenset(
    "standing sitting lying grazing walking running resting sleeping parked seated placed situated located".split()
)
"""Participles that tell of all things of a list before them."""
_GROUNDS = frozenset(("background", "foreground", "distance"))
_OF_TWO = frozenset(
    """
    contrast difference juxtaposition distance relationship connection interaction bond balance similarity space gap
    comparison transition tension boundary
    """.split()
)
"""Nouns that say nothing without the two things "between" which they are."""
_KEEPING = frozenset("has have having had keeps keep keeping kept rests rest holds hold places place".split())
_SCENES = frozenset("scene setting view environment landscape atmosphere backdrop".split())
_SIDES = frozenset("left right far near other opposite".split())
"""Words that say which side it is without "of the road"."""
_BE = frozenset(("is", "are", "was", "were", "be", "been", "being", "'s", "'re"))

Out = Callable[[int], bool]


def member_tokens(parse: Parse, member: int) -> list[int]:
    """The tokens of one list member, without later members, the marks between, and what follows the list."""
    after = [j for j in parse.children[member] if parse.deps[j] == "conj"]
    end = min(after, default=len(parse))
    own = [member]
    for child in parse.children[member]:
        if child in after or child > end or parse.deps[child] in ("cc", "preconj") or parse.words[child] in ",;.:":
            continue
        own += parse.subtree(child)
    return list(range(min(own), max(own) + 1))


def cuts(parse: Parse, token: int, out: Out, things: Collection[int] = ()) -> list[set[int]]:
    """Sets of tokens whose removal takes `token` away, smallest first; the last one is its whole sentence.

    Args:
        out: whether a token is deleted or must be deleted.
        things: heads of noun phrases that name a thing, which can stand without an "of" phrase or a modifier.
    """
    options = [segments.with_gloss(parse, cut) for cut in _constituents(parse, token, out, things)]

    def needed(i: int) -> bool:
        if parse.tags[i] in ("VBG", "VBN") and is_pose(parse, i - 1):
            return True
        return parse.deps[i] == "prep" and _needed(parse, i, out)

    for segment in segments.segments(parse, token, needed):
        if segment not in options:
            options.insert(next((n for n, cut in enumerate(options) if len(cut) > len(segment)), len(options)), segment)
    return [*options, set(range(*parse.sentences[parse.sentence[token]]))]


def _constituents(parse: Parse, token: int, out: Out, things: Collection[int]) -> Iterator[set[int]]:
    """The cuts that follow the parse, from the word upwards; not the whole sentence."""
    first, end = parse.sentences[parse.sentence[token]]
    node, seen = token, set[int]()
    while node not in seen:
        seen.add(node)
        cut = None if _completes(parse, node, things) else _cut(parse, node, out)
        if cut and token in cut:
            cut = {i for i in cut if first <= i < end}
            rest = [i for i in range(first, end) if i not in cut and parse.words[i] not in ".!?:"]
            yield cut - {end - 1} if rest and parse.words[end - 1] in ".!?:" else cut
        node = parse.heads[node]
    segment = _segment(parse, token, first, end)
    if segment:
        yield segment


def _completes(parse: Parse, node: int, things: Collection[int]) -> bool:
    """Whether a noun that is not a thing needs this phrase: "a glimpse of a hand", "elements of a body"."""
    head = parse.heads[node]
    if parse.deps[node] == "poss":
        return not _own_thing(parse, node, things)
    if parse.words[node] == "between" and parse.words[head] in _OF_TWO:
        return True
    of_noun = parse.words[node] == "of" and parse.tags[head] in NOUN_TAGS
    modifier = parse.deps[node] in ("compound", "nmod") and parse.tags[head] in NOUN_TAGS and head > node
    if modifier and parse.words[head] in _SCENES and any(parse.deps[j] == "amod" for j in parse.children[head]):
        return False  # "a picturesque [beach] scene"
    return (of_noun or modifier) and head not in things and parse.words[head] not in _GENERIC


def _own_thing(parse: Parse, owner: int, things: Collection[int]) -> bool:
    """Whether the owned thing can be there without its owner: "the man's dog"; not "the door's presence"."""
    name, owned = singular(parse.words[owner]), parse.heads[owner]
    living = category(name) == "person" or "animal" in parents(category(name) or name)
    return living and owned in things and parse.words[owned] not in _PARTS


def _segment(parse: Parse, token: int, first: int, end: int) -> set[int] | None:
    """The part of the sentence up to the next semicolons, when every other part is a clause of its own."""
    signs = [i for i in range(first, end) if parse.words[i] == ";"]
    if not signs:
        return None
    bounds = [first - 1, *signs, end - (parse.words[end - 1] in ".!?")]
    parts = list(pairwise(bounds))
    own = next((part for part in parts if part[0] < token < part[1]), None)
    others = [range(a + 1, b) for a, b in parts if (a, b) != own]
    if own is None or not all(any(_finite_clause(parse, i) for i in part) for part in others):
        return None
    start, stop = own
    return set(range(start, stop)) if start >= first else set(range(first, stop + 1))


def _finite_clause(parse: Parse, verb: int) -> bool:
    has_subject = any(parse.deps[j] in SUBJECTS for j in parse.children[verb])
    return parse.tags[verb] in VERB_TAGS and has_subject and parse.deps[verb] not in ("relcl", "acl", "pcomp")


def is_clause(parse: Parse, sentence: int) -> bool:
    """Whether a sentence has a finite verb, or closes like a sentence; a caption's fragment does neither."""
    first, end = parse.sentences[sentence]
    return parse.words[end - 1] in (".", "!", "?") or any(parse.tags[i] in FINITE_TAGS for i in range(first, end))


def has_main_verb(parse: Parse, sentence: int) -> bool:
    """Whether a finite verb of the sentence stands outside relative clauses: not in "a view of a tree that grows"."""
    first, end = parse.sentences[sentence]
    root_is_noun = any(parse.deps[i] == "ROOT" and parse.tags[i] in NOUN_TAGS for i in range(first, end))
    finite = (i for i in range(first, end) if parse.tags[i] in FINITE_TAGS)
    return any(
        not root_is_noun or all(parse.deps[j] not in ("relcl", "acl") for j in (i, *parse.chain(i))) for i in finite
    )


def fragment(parse: Parse, sentence: int, alive: Out) -> set[int]:
    """The tokens left incomplete by a cut: a clause whose subject was cut, or a sentence without a verb."""
    first, end = parse.sentences[sentence]
    left = [i for i in range(first, end) if alive(i)]
    verbs = [i for i in left if parse.tags[i] in VERB_TAGS]
    if not any(parse.words[i].isalnum() for i in left):
        return set()
    if not verbs and has_main_verb(parse, sentence):
        return set(left)
    for verb in verbs:
        subjects = [j for j in parse.children[verb] if parse.deps[j] in SUBJECTS]
        if subjects and not any(alive(m) for j in subjects for m in parse.conjuncts(j)):
            clause = set(parse.subtree(verb))
            joints = _joints(parse, verb) if parse.deps[verb] == "conj" else set()
            minor = parse.deps[verb] in ("conj", "advcl", "relcl", "acl", "ccomp", "parataxis") and clause != set(left)
            return (clause | joints if minor else set(range(first, end))) & set(left)
    return set()


def _cut(parse: Parse, node: int, out: Out) -> set[int] | None:
    """The tokens to delete with this constituent, or None if the rest would be incomplete."""
    dep, head = parse.deps[node], parse.heads[node]
    if parse.tags[node] not in VERB_TAGS:
        listed = parse.conjuncts(node)
        if len(listed) > 1:
            if any(not out(m) for m in listed if m != node):
                if _under_denial(parse, node, listed):
                    return None
                return _member_cut(parse, node, listed, out)
            if node != listed[0]:
                return None
    if dep == "prep" and parse.words[head] in ("apart", "aside") and head == node - 1:
        return _phrase(parse, head)  # "[Apart from two boats,] the harbor is empty"
    if dep in ("prep", "agent", "advmod", "npadvmod"):
        if _needed(parse, node, out) or _all_that_is_done(parse, node):
            return None
        with_state = _with_state(parse, node)
        if with_state is not None:
            return with_state
        return segments.with_partners(parse, node, _phrase(parse, node))
    if dep in ("acl", "relcl", "appos", "advcl", "parataxis"):
        sign = parse.words[max(0, min(parse.subtree(node)) - 1)]
        if sign == ":" or (dep == "appos" and sign not in _ASIDES):
            return None  # "Description: a wall" without the wall describes nothing; "a coaching inn" is one name
        if dep == "acl" and is_pose(parse, head):
            return None
        if dep in ("acl", "relcl") and parse.words[head] in _NEEDS_CLAUSE:
            return None
        return _phrase(parse, node) | (_told_of_subject(parse, node) if dep == "advcl" else set())
    if dep == "poss":
        owner = parse.subtree(node)
        return {i for i in owner if parse.deps[i] != "det"} | {
            i for i in parse.children[node] if parse.words[i] == "'s"
        }
    if dep in ("compound", "nmod") and parse.tags[head] in NOUN_TAGS:
        own = parse.subtree(node)
        after_comma = parse.words[min(own) - 1] == "," and min(own) > 0
        return {i for i in own if not (after_comma and parse.deps[i] == "amod")}  # "a quiet, natural [park] area"
    if dep == "ccomp" and parse.tags[node] in ("VBG", "VBN"):
        return _participle_cut(parse, node)
    if parse.tags[node] in VERB_TAGS:
        return _verb_cut(parse, node, out)
    return None


def _all_that_is_done(parse: Parse, node: int) -> bool:
    """Whether a participle would be left that says nothing alone: "a car parked", "the scene is dominated"."""
    verb = parse.heads[node]
    if parse.tags[verb] != "VBN":
        return False
    if parse.deps[verb] != "acl":
        return parse.deps[node] == "agent" and parse.words[verb] in _DONE_BY
    return node > verb and not any(j != node and parse.deps[j] != "punct" for j in parse.children[verb])


def _told_of_subject(parse: Parse, clause: int) -> set[int]:
    """The last words of a sentence that tell of a clause's subject: "while a cat watches[, seemingly unimpressed]"."""
    last = max(parse.subtree(clause))
    comma = last if parse.words[last] == "," else last + 1
    end = parse.sentences[parse.sentence[clause]][1]
    end -= parse.words[end - 1] in ".!?"
    tail = range(comma + 1, end)
    if parse.child(clause, *SUBJECTS) is None or comma >= end or parse.words[comma] != ",":
        return set()
    adverbs = all(parse.tags[i] == "RB" for i in tail[:-1])
    return {comma, *tail} if tail and adverbs and parse.tags[tail[-1]] in ("JJ", "VBN") else set()


def _with_state(parse: Parse, phrase: int) -> set[int] | None:
    """A phrase with the participle that tells how its thing is: "with his hand also pressed against the glass"."""
    noun = parse.child(phrase, "pobj")
    if parse.words[phrase] != "with" or noun is None:
        return None
    behind = max(parse.subtree(phrase)) + 1
    end = parse.sentences[parse.sentence[phrase]][1]
    state = behind
    while state < end and parse.tags[state] == "RB":
        state += 1
    definite = any(parse.deps[j] == "poss" or parse.words[j] == "the" for j in parse.children[noun])
    if not definite or state >= end or parse.tags[state] not in ("VBN", "VBG", "VBD"):
        return None
    said = [j for j in parse.children[state] if j > state and parse.deps[j] in ("prt", "prep", "advmod", "agent")]
    last = max((i for j in said for i in parse.subtree(j)), default=state)
    comma = min(parse.subtree(phrase)) - 1
    return {*parse.subtree(phrase), *range(behind, last + 1)} | ({comma} if parse.words[comma] == "," else set())


def is_pose(parse: Parse, part: int) -> bool:
    """Whether a part of a body needs the words that say how it is held: "with her hands pressed against the glass"."""
    after_with = parse.deps[part] == "pobj" and parse.words[parse.heads[part]] == "with"
    verb = parse.heads[part]
    had = parse.deps[part] == "dobj" and parse.words[verb] in _KEEPING
    had = had or (parse.deps[part] == "nsubj" and parse.words[parse.heads[verb]] in _KEEPING)
    owned = any(parse.deps[j] == "poss" for j in parse.children[part])
    return (after_with or had) and owned and parse.words[part] in _PARTS


def _under_denial(parse: Parse, node: int, listed: list[int]) -> bool:
    """Whether a list may not belong together: "no leaves on the trees and a grey sky" does not deny the sky."""
    if parse.deps[listed[0]] != "pobj" or node != listed[0]:
        return False
    governor = parse.heads[parse.heads[node]]
    denied = any(parse.words[j] in ("no", "few") for j in parse.children[governor])
    articles = [{parse.words[j] for j in parse.children[m] if parse.deps[j] == "det"} for m in listed[:2]]
    return denied and articles[0] == {"the"} and bool(articles[1] & {"a", "an"})


def _participle_cut(parse: Parse, verb: int) -> set[int] | None:
    """Cut a participle after its subject, which can stay: "The image shows two cats resting on a couch"."""
    subject = parse.child(verb, "nsubj", "nsubjpass")
    helping = parse.child(verb, "aux", "auxpass", "mark")
    if subject is None or helping is not None or subject > verb or is_pose(parse, subject):
        return None
    inside = set(parse.subtree(verb)) - set(parse.subtree(subject))
    return inside if min(inside) > max(parse.subtree(subject)) else None


def _member_cut(parse: Parse, node: int, listed: list[int], out: Out) -> set[int]:
    tokens = set(member_tokens(parse, node)) - _shared_place(parse, node, listed)
    heir = heir_of_article(parse, node, out)
    if heir is not None:
        tokens -= set(range(heir[0], node))
        tokens |= {
            j
            for j in range(heir[0], node)
            if parse.deps[j] in ("amod", "compound", "nmod") and parse.words[j] not in _HEDGES
        }
        tokens |= set(range(node + 1, min(parse.subtree(heir[1]))))
    return tokens


def _shared_place(parse: Parse, node: int, listed: list[int]) -> set[int]:
    """The place after a list of two, which both share: "a car and a cat in the background", "standing in a field"."""
    if len(listed) != 2 or node != listed[1] or parse.words[min(parse.subtree(node)) - 1] == ",":
        return set()
    after = [j for j in parse.children[node] if j > node]
    places = [j for j in after if parse.deps[j] == "prep" and parse.words[j] == "in"]
    inside = {i for j in places for i in parse.subtree(j)}
    placed = [j for j in after if parse.deps[j] == "acl" and parse.words[j] in _OF_ALL]
    shared = {i for j in placed for i in parse.subtree(j)}
    return shared | (inside if any(parse.words[i] in _GROUNDS for i in inside) else set())


def heir_of_article(parse: Parse, node: int, out: Out) -> tuple[int, int] | None:
    """The article that the next list member inherits ("a fork and knife" -> "a knife"), and that member."""
    later = [m for m in parse.conjuncts(node) if m > node]
    if not later or out(later[0]):
        return None
    heir = later[0]
    if parse.tags[heir] in ("NNP", "NNPS"):
        return None
    definite = any(parse.words[j] in _FOR_ANY_NUMBER for j in parse.children[node] if j < node)
    in_title = bool(parse.block) and parse.block[node] in parse.folded
    if (definite and in_title) or (not definite and parse.tags[node] != parse.tags[heir]):
        return None
    hedges = [j for j in parse.children[node] if parse.words[j] in _HEDGES and j < node]
    if parse.tags[node] != "NN" and not hedges and not definite:
        return None
    shared = [j for j in parse.children[node] if parse.deps[j] in ("det", "poss", "advmod") and j < node] + hedges
    bare_matter = parse.words[heir] in _MASS and not definite
    taken = ("det", "poss", "nummod", "amod") if bare_matter else ("det", "poss", "nummod")
    bare = not any(parse.deps[j] in taken for j in parse.children[heir])
    joined = all(parse.deps[j] == "cc" or parse.words[j] == "," for j in range(node + 1, min(parse.subtree(heir))))
    has_article = bool(hedges) or any(parse.deps[j] != "advmod" for j in shared)
    return (min(shared), heir) if has_article and bare and joined else None


def _phrase(parse: Parse, node: int) -> set[int]:
    """The constituent with the commas around it."""
    tokens = set(_before_aside(parse, node))
    first, last = min(tokens), max(tokens)
    start, end = parse.sentences[parse.sentence[node]]
    if first > start and last + 1 < end and parse.words[first - 1] == "," and parse.words[last + 1] == ",":
        listed = parse.deps[node] == "appos" and last + 2 < end and parse.words[last + 2] in ("the", "a", "an")
        clause = (
            last + 2 < end
            and parse.words[last + 2] in ("and", "but", "while", "along", "together")
            and parse.tags[node] != "NN"
        )
        says_more = last + 2 < end and parse.tags[last + 2] == "VBG" and parse.deps[last + 2] in ("advcl", "acl")
        joins_clause = listed or clause or says_more  # "The street is quiet, (with two dogs,) adding to the calm"
        tokens |= {first - 1} if joins_clause else {first - 1, last + 1}
    elif first > start and parse.words[first - 1] == "," and (last + 1 >= end or parse.words[last + 1] in ".!?;"):
        tokens.add(first - 1)
    elif first == start and last + 1 < end and parse.words[last + 1] == ",":
        tokens.add(last + 1)
    return tokens


def _before_aside(parse: Parse, node: int) -> list[int]:
    """The constituent up to a participle after a comma: "a bottle of juice" before ", held by a hand"."""
    tokens = parse.subtree(node)
    for i in tokens if parse.words[node] == "of" else ():
        aside = i > node and parse.words[i] == "," and i + 1 in tokens and parse.tags[i + 1] in ("VBN", "VBG")
        if aside and parse.deps[i + 1] in ("acl", "advcl"):
            return [j for j in tokens if j < i]
    return tokens


def _needed(parse: Parse, phrase: int, out: Out) -> bool:
    """Whether the governor cannot stand without this phrase: "placed [on a table]", "in addition [to a cup]"."""
    head = parse.heads[phrase]
    word, tag = parse.words[head], parse.tags[head]
    if tag in VERB_TAGS:
        if word in _CLAD and parse.words[phrase] == "in":
            return phrase == next(j for j in parse.children[head] if parse.words[j] == "in")
        if word in _BE and parse.words[phrase] in ("of", "about") and parse.child(head, "attr", "acomp") is None:
            return True  # "the image is of two cats"
        if _bare_participle(parse, phrase, out):
            return True
        if parse.deps[phrase] == "agent" and word not in _NEEDS_PHRASE and is_passive(parse, head):
            subject = parse.child(head, "nsubjpass")  # "is dismissed [by the man]"; not "this is indicated"
            return subject is not None and parse.words[subject] in ("this", "that", "it")
        aside = phrase > head + 1 and parse.words[min(parse.subtree(phrase)) - 1] == ","
        return not aside and not stands(parse, head, lambda i: out(i) or i == phrase)
    if word in _NEEDS_PREPOSITION and parse.words[phrase] in ("of", "to", "from", "with", "for"):
        sided = word == "side" and any(parse.words[j] in _SIDES for j in parse.children[head] if j < head)
        return not (sided and parse.words[phrase] == "of")
    if parse.words[phrase] == "of":
        return word in _MEASURES or word in _GENERIC or tag not in NOUN_TAGS
    if parse.deps[head] == "prep" and not any(parse.deps[j] in ("pobj", "pcomp") for j in parse.children[head]):
        return True
    return word in _NEEDS_PHRASE and tag not in NOUN_TAGS


def is_passive(parse: Parse, verb: int) -> bool:
    """Whether a verb, or the one it is joined to, has the "is" of a passive."""
    return any(parse.child(v, "auxpass") is not None for v in parse.conjuncts(verb))


def _bare_participle(parse: Parse, phrase: int, out: Out) -> bool:
    """Whether a participle set off by a comma would be left alone: "Standing [under a tree], a woman waits"."""
    verb = parse.heads[phrase]
    if parse.tags[verb] not in ("VBG", "VBN") or parse.deps[verb] != "advcl":
        return False
    behind = max(parse.subtree(phrase)) + 1
    if phrase == verb + 1 and parse.words[verb - 1] == "," and parse.words[behind : behind + 1] == [","]:
        return True  # "moored, adorned [with flags], against a backdrop"
    beside = [j for j in parse.children[verb] if j != phrase and parse.words[j].isalnum() and not out(j)]
    opens = verb == parse.sentences[parse.sentence[verb]][0]
    return not beside and (opens or parse.words[verb - 1] == ",")


def stands(parse: Parse, verb: int, out: Out) -> bool:
    """Whether a verb is complete with the complements that stay."""
    word = parse.words[verb]
    if parse.deps[verb] == "acomp" and word not in _NEEDS_PHRASE:
        return True  # "is multi-tiered"
    left = [j for j in parse.children[verb] if parse.deps[j] in _COMPLEMENTS and not out(j) and j > verb]
    left = [j for j in left if not (parse.deps[j] == "advcl" and word in _NEEDS_PHRASE)]
    if word in _BE:
        return bool(left) or any(parse.deps[j] in ("attr", "acomp") and not out(j) for j in parse.children[verb])
    if word in _POSTURES and not _lives(parse, verb):
        return bool(left)
    if word in _PLACED:
        had = [j for j in parse.children[verb] if parse.deps[j] == "prep" and parse.words[j] not in _NO_PLACE]
        if had and all(out(j) for j in had):
            return False
    if word in _CLAD and any(parse.words[j] == "in" for j in parse.children[verb]):
        return any(parse.words[j] == "in" for j in left)
    if word in _NEEDS_PHRASE:
        closed = [j for j in left if parse.words[min(parse.subtree(j)) - 1] != ","]  # "blanketed, with shrubs above"
        return any(parse.deps[j] in ("prep", "agent", "dobj", "xcomp") for j in closed)
    had_object = any(parse.deps[j] in ("dobj", "obj") for j in parse.children[verb])
    if had_object:
        return any(parse.deps[j] in ("dobj", "obj") for j in left)
    particle = any(parse.deps[j] == "prt" for j in parse.children[verb]) and word != "made"  # "curled up"
    return bool(left) or particle or word in _STAND_ALONE


def _lives(parse: Parse, verb: int) -> bool:
    """Whether the subject of a verb is a person, an animal or unknown; a thing that "sits" needs its place."""
    subject = parse.child(verb, "nsubj")
    if subject is None:
        return True
    name = singular(parse.words[subject])
    known = category(name)
    return known == "person" or "animal" in parents(known or name)


def _verb_cut(parse: Parse, verb: int, out: Out) -> set[int] | None:
    """Delete one of two joined verbs or clauses, with the word that joined it."""
    if parse.deps[verb] == "conj":
        tokens = set(parse.subtree(verb))
        own_subject = any(parse.deps[j] in SUBJECTS for j in parse.children[verb])
        # "preparing and eating the hot dogs": the object serves both verbs
        shared = not own_subject and not stands(parse, parse.heads[verb], lambda i: out(i) or i in tokens)
        return None if shared else tokens | _joints(parse, verb)
    heirs = [j for j in parse.children[verb] if parse.deps[j] == "conj" and parse.tags[j] in VERB_TAGS and not out(j)]
    if not heirs:
        return _while_stays(parse, verb, out)
    heir = heirs[0]
    kept = set(parse.subtree(heir))
    for other in heirs[1:]:
        kept |= set(parse.subtree(other)) | _joints(parse, other)
    own_subject = any(parse.deps[j] in SUBJECTS for j in parse.children[heir])
    if not own_subject:
        own_aux = any(parse.deps[j] in ("aux", "auxpass") for j in parse.children[heir])
        if not own_aux and parse.tags[heir] != parse.tags[verb]:
            return None
        for j in parse.children[verb]:
            if parse.deps[j] in SUBJECTS or (parse.deps[j] in ("aux", "auxpass") and not own_aux and j < verb):
                kept |= set(parse.subtree(j))
    joint = next((j for j in parse.children[verb] if parse.deps[j] == "cc" and verb < j < min(kept | {heir})), None)
    if joint is not None and own_subject:
        kept |= set(range(joint + 1, min(kept)))  # "and with a certain chance, the loss grows"
    end = parse.sentences[parse.sentence[verb]][1]
    last = end - 1
    if parse.words[last] in (".", "!", "?"):
        kept.add(last)
    return set(parse.subtree(verb)) - kept


def _while_stays(parse: Parse, verb: int, out: Out) -> set[int] | None:
    """Keep a second clause that can stand alone: "The cup is on the left, while the oven is on the right"."""
    for clause in parse.children[verb]:
        if parse.deps[clause] == "advcl" and clause > verb and _finite_clause(parse, clause) and not out(clause):
            mark = parse.child(clause, "mark")
            if mark is not None and parse.words[mark] in ("while", "whereas", "though", "although"):
                end = parse.sentences[parse.sentence[verb]][1]
                kept = set(parse.subtree(clause)) - {mark}
                for j in parse.children[verb]:  # "..., capturing a moment", after both clauses
                    if j > max(kept) and parse.deps[j] == "advcl" and parse.tags[j] == "VBG":
                        kept |= set(range(max(kept) + 1, max(parse.subtree(j)) + 1))
                kept |= {end - 1} if parse.words[end - 1] in ".!?" else set()
                return set(parse.subtree(verb)) - kept
    return None


def _joints(parse: Parse, conjunct: int) -> set[int]:
    """The "and" and the comma before a conjunct."""
    first = min(parse.subtree(conjunct))
    start = parse.sentences[parse.sentence[conjunct]][0]
    joints = set[int]()
    while first - 1 >= start and (parse.deps[first - 1] == "cc" or parse.words[first - 1] in (",", ";")):
        first -= 1
        joints.add(first)
    return joints
