"""Compare the parse of an edited sentence with the parse of the draft: words that stay must keep their part in it.

A cut can leave words that form a sentence by their letters and say something else: "a stone bridge arches over it"
without "stone bridge", "elements of the body, particularly the spine" without "the body". Read again, such words have
another part of speech, another head, or lack what they had.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

from halluguard.correction.claims import mentions
from halluguard.correction.rewriting import deletions
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

_MODIFIERS = ("relcl", "acl", "appos", "amod", "nummod", "compound")
_COMPLETED_BY = {
    "dobj": ("dobj", "obj"), "attr": ("attr", "acomp", "advmod", "agent"),
    "acomp": ("attr", "acomp", "prep", "advmod"), "agent": ("agent",), "pobj": ("pobj", "pcomp", "prep"),
}  # fmt: skip
"""Relation -> relations; a word that had the first must keep one of the others."""
_NEEDS_CLAUSE = frozenset(
    """
    easy easier hard difficult possible impossible able unable likely ready comparable similar equivalent identical
    related due based characteristic reminiscent suitable responsible indicative typical capable compatible consistent
    """.split()
)
_STAND_INS = ("one", "ones", "other", "others", "another", "second", "third")
_SEEMING = frozenset("look looks looked looking seem seems seemed appear appears appeared sounds feels".split())
_MIXES = ("mix", "mixture", "combination", "blend", "fusion")
_NEGATIONS = ("no", "not", "n't", "never", "neither", "nor", "without", "none", "cannot")
_DENYING_PRONOUNS = ("nobody", "none", "nothing")
_NARROWING = ("prep", "acl", "relcl", "dobj", "advcl")
_BEFORE_NOUN = ("JJ", "JJR", "JJS", "RB", "RBR", "VBN", "VBG", "HYPH")
_PLURAL_ONLY = frozenset(("are", "were", "have", "do"))
_SINGULAR_ONLY = frozenset(("is", "was", "has", "does"))


def misread(plan: EditPlan, sentence: int, after: Parse) -> str:
    """The reason why an edited sentence, read again, is not what is left of the draft; "" when it is.

    Args:
        after: parse of the edited sentence alone.
    """
    disagreement = _disagrees(plan.parse, sentence, after) or _begins_with_verb(plan.parse, sentence, after)
    if disagreement or _only_shortened(plan, sentence) or _only_list_members(plan, sentence):
        return disagreement
    return _changes_part(plan, _aligned(plan, sentence, after), after) or _loses_object(plan, sentence, after)


def _begins_with_verb(before: Parse, sentence: int, after: Parse) -> str:
    first = before.sentences[sentence][0]
    finite = ("VBZ", "VBD", "VBP")
    if after.tags and after.tags[0] in finite and after.deps[0] == "ROOT" and before.tags[first] not in finite:
        return "it would begin with its verb"
    return ""


def _only_list_members(plan: EditPlan, sentence: int) -> bool:
    """Whether only members of lists were deleted, of which others stay, and words at the end of the sentence."""
    parse, alive = plan.parse, plan.editor.alive
    tokens = range(*parse.sentences[sentence])
    last = max((i for i in tokens if alive(i) and parse.words[i].isalnum()), default=tokens.start)
    for i in range(tokens.start, last):
        if alive(i) or not parse.words[i].isalnum() or parse.deps[i] == "cc":
            continue
        top = next((j for j in (i, *parse.chain(i)) if len(parse.conjuncts(j)) > 1), None)
        if top is None or parse.tags[top] not in NOUN_TAGS or alive(top) or not any(map(alive, parse.conjuncts(top))):
            return False
    return True


def _only_shortened(plan: EditPlan, sentence: int) -> bool:
    """Whether only the end of the sentence was deleted, so that the part before it reads as it did."""
    tokens = range(*plan.parse.sentences[sentence])
    first_cut = next((i for i in tokens if plan.editor.changed(i)), tokens.stop)
    return not any(plan.editor.alive(i) and plan.parse.words[i].isalnum() for i in range(first_cut, tokens.stop))


def _aligned(plan: EditPlan, sentence: int, after: Parse) -> dict[int, int]:
    """Token of the draft -> the same token in the edited sentence."""
    alive = [i for i in range(*plan.parse.sentences[sentence]) if plan.editor.alive(i)]
    matcher = SequenceMatcher(None, [plan.parse.words[i] for i in alive], after.words, autojunk=False)
    return {alive[block.a + n]: block.b + n for block in matcher.get_matching_blocks() for n in range(block.size)}


def _changes_part(plan: EditPlan, kept: Mapping[int, int], after: Parse) -> str:
    """The reason if a kept word is now another part of speech or belongs to another word, or ""."""
    before = plan.parse
    first_cut = next((i for i in range(min(kept, default=0), len(before)) if plan.editor.changed(i)), len(before))
    for i, j in kept.items():
        becomes_verb = before.tags[i] in NOUN_TAGS and after.tags[j] in VERB_TAGS
        becomes_noun = before.tags[i] in VERB_TAGS and after.tags[j] in NOUN_TAGS
        has_subject = any(before.deps[k] in SUBJECTS and k in kept for k in before.children[i])
        if becomes_verb or (becomes_noun and not has_subject):
            return f"{before.words[i]!r} would be read as another part of speech"
        head = kept.get(before.heads[i])
        moved = head is not None and after.heads[j] != head and before.heads[i] != i
        moved = moved and not _listed_now(before.deps[i], after, j) and max(i, before.heads[i]) >= first_cut
        if moved and before.deps[i] in ("nsubj", "nsubjpass", "dobj", "attr", "pobj", "det", "poss", "aux", "auxpass"):
            return f"{before.words[i]!r} would belong to another word"
    return ""


def _listed_now(relation: str, after: Parse, token: int) -> bool:
    """Whether a token goes on with a list that stands in the relation it had: a subject among subjects."""
    top = after.first_conjunct(token)
    return top != token and after.deps[top] == relation


def _disagrees(before: Parse, sentence: int, after: Parse) -> str:
    """The reason if a verb or an article no longer fits its noun, or ""."""
    new = _disagreements(after, range(len(after))) - _disagreements(before, range(*before.sentences[sentence]))
    return f"{min(new)!r} would not agree" if new else ""


def _disagreements(parse: Parse, tokens: range) -> set[str]:
    words = set[str]()
    for i in tokens:
        head = parse.heads[i]
        if parse.deps[i] == "det" and parse.words[i] in ("a", "an") and parse.tags[head] == "NNS" and head == i + 1:
            words.add(parse.words[i])
        if parse.deps[i] not in ("nsubj", "nsubjpass") or parse.tags[i] not in ("NN", "NNS") or head < i:
            continue
        many = parse.tags[i] == "NNS" or len(parse.conjuncts(i)) > 1
        helping = next((j for j in parse.children[head] if parse.deps[j] in ("aux", "auxpass")), head)
        verb, tag = parse.words[helping], parse.tags[helping]
        if (many and (verb in _SINGULAR_ONLY or tag == "VBZ")) or (
            not many and (verb in _PLURAL_ONLY or tag in ("VBP", "VB"))
        ):
            words.add(verb)
    return words


def _loses_object(plan: EditPlan, sentence: int, after: Parse) -> str:
    """The reason if words of a supported object stay but no longer name it, or ""."""
    first, end = plan.parse.sentences[sentence]
    named = {name.split()[-1] for mention in mentions.find(after) for name in (mention.name, after.words[mention.last])}
    for n, mention in enumerate(plan.mentions):
        stays = first <= mention.last < end and plan.protected(n) and plan.editor.alive(mention.last)
        if stays and not {mention.name.split()[-1], plan.parse.words[mention.last]} & named:
            return f"{mention.name!r} would not be read any more"
    return ""


def incomplete(plan: EditPlan, sentence: int, spared: frozenset[int] = frozenset()) -> str:
    """The reason why a kept word has lost a complement that it needs, by the parse of the draft; "" if none has.

    Args:
        spared: negations that an earlier step took away on purpose.
    """
    parse, alive = plan.parse, plan.editor.alive
    for i in range(*parse.sentences[sentence]):
        if alive(i):
            if parse.deps[i] in _MODIFIERS and not alive(parse.heads[i]) and not _shared(plan, i):
                return f"{parse.words[i]!r} would describe something else"
            if parse.words[i] in ("a", "an") and _article_alone(plan, i):
                return f"{parse.words[i]!r} would have no noun"
            if parse.deps[i] in ("nsubj", "nsubjpass") and _verbless(plan, i):
                return f"{parse.words[i]!r} would have no verb"
            if parse.words[i] == "of" and parse.words[parse.heads[i]] in _MIXES and _one_left(plan, i, plural=True):
                return f"a {parse.words[parse.heads[i]]} needs two"
            if parse.deps[i] == "attr" and parse.tags[i] == "NNS" and _one_is_left(plan, i):
                return f"{parse.words[i]!r} would not agree"
            if i not in spared and _denies_more(plan, i):
                return f"{parse.words[i]!r} would deny more than it does"
            if parse.words[i] == "which" and parse.words[i - 1] == "of" and _of_gone(plan, i):
                return "'which' would point at nothing"
            if parse.deps[i] in ("dobj", "pobj") and parse.tags[i] == "NN" and _shares_its_noun(plan, i):
                return f"{parse.words[i]!r} would lose its noun"
            if parse.deps[i] == "conj" and _took_over(plan, i):
                return f"{parse.words[i]!r} would stand for something else"
            if parse.deps[i] == "ccomp" and _splices(plan, i):
                return "a comma would join two sentences"
            if parse.deps[i] == "prep" and not parse.children[i] and i and not alive(i - 1):
                return f"{parse.words[i]!r} would lack what it needs"  # "with a statue atop"
            if parse.words[i] in ("between", "among") and _one_left(plan, i):
                return f"{parse.words[i]!r} needs two"
            if parse.words[i] in _STAND_INS and _says_nothing(plan, i):
                return f"{parse.words[i]!r} would say nothing"
            bare = parse.words[i] in _NEEDS_CLAUSE and _bare_now(plan, i)
            if bare or (parse.words[i] in _SEEMING and _seems_nothing(plan, i)):
                return f"{parse.words[i]!r} would lack what it needs"
            for relation, substitutes in _COMPLETED_BY.items():
                if _bereft(plan, i, relation, substitutes):
                    return f"{parse.words[i]!r} would lack what it needs"
        elif parse.words[i] in _NEGATIONS and i not in spared and alive(parse.heads[i]):
            return "a denial would become a claim"
    return ""


def _of_gone(plan: EditPlan, pronoun: int) -> bool:
    """Whether the things of "some of which" were deleted: "a village with houses, some of which have lights"."""
    parse, first = plan.parse, plan.parse.sentences[plan.parse.sentence[pronoun]][0]
    several = parse.words[pronoun - 2] in ("some", "all", "many", "most", "both", "each", "several", "few", "two")
    plurals = [i for i in range(first, pronoun) if parse.tags[i] in ("NNS", "NNPS")]
    return several and bool(plurals) and not plan.editor.alive(plurals[-1])


def _took_over(plan: EditPlan, noun: int) -> bool:
    """Whether a word that names no thing would stand where a thing was: "A [building with a top and a] blue hue"."""
    parse = plan.parse
    first = parse.first_conjunct(noun)
    phrase = parse.heads[first] == first and first in plan.by_head and noun not in plan.by_head
    return phrase and parse.tags[noun] in NOUN_TAGS and not plan.editor.alive(first)


def _splices(plan: EditPlan, verb: int) -> bool:
    """Whether the last of three clauses goes with its "and": "a is b, c is d[, and e is f]"."""
    parse, alive = plan.parse, plan.editor.alive
    root, joined = parse.heads[verb], parse.child(verb, "mark") is not None
    if verb >= root or not alive(root) or joined or parse.child(verb, "nsubj") is None:
        return False
    gone = [j for j in parse.children[root] if parse.deps[j] == "conj" and parse.tags[j] in VERB_TAGS and not alive(j)]
    return bool(gone) and parse.words[max(parse.subtree(verb)) + 1] == ","


def _shares_its_noun(plan: EditPlan, noun: int) -> bool:
    """Whether a deleted noun may be the head of a bare one before it, too: the warmers of "arm and leg warmers"."""
    parse, alive = plan.parse, plan.editor.alive
    bare = not any(parse.deps[j] in ("det", "poss", "nummod") for j in parse.children[noun])
    gone = [j for j in parse.children[noun] if parse.deps[j] == "conj" and parse.tags[j] == "NNS" and not alive(j)]
    parts = [i for j in gone for i in parse.children[j] if parse.deps[i] == "compound"]
    return bare and any(parse.words[i - 1] in ("and", "or") for i in parts)


def _denies_more(plan: EditPlan, negation: int) -> bool:
    """Whether a denial has lost what narrows it: "no one at the table", "nobody sits on the bench"."""
    parse, alive = plan.parse, plan.editor.alive
    if parse.words[negation] in ("not", "n't", "never") and parse.deps[negation] == "neg":
        return _negates_more(plan, parse.heads[negation])
    determines = parse.words[negation] in ("no", "neither") and parse.deps[negation] in ("det", "preconj")
    noun = parse.heads[negation] if determines else negation
    if noun == negation and parse.words[negation] not in _DENYING_PRONOUNS:
        return False
    verb = parse.heads[noun] if parse.deps[noun] in SUBJECTS else noun
    mention = next((n for n, m in enumerate(plan.mentions) if m.last == noun), None)
    if mention in plan.rightly_denied:
        return False
    narrowing = [j for k in {noun, verb} if alive(k) for j in parse.children[k] if parse.deps[j] in _NARROWING]
    narrowing += [k for j in narrowing if alive(j) for k in parse.children[j] if parse.deps[k] == "prep"]
    return any(j > noun and not alive(j) for j in narrowing)


def _article_alone(plan: EditPlan, article: int) -> bool:
    """Whether only adjectives follow an article that had a noun: "a light-colored, possibly yellow(, shirt)"."""
    parse, alive = plan.parse, plan.editor.alive
    noun = parse.heads[article]
    if noun < article or alive(noun) or parse.tags[noun] not in NOUN_TAGS:
        return False
    end = parse.sentences[parse.sentence[article]][1]
    left = (i for i in range(article + 1, end) if alive(i) and parse.words[i].isalnum())
    following = next((i for i in left if parse.tags[i] not in _BEFORE_NOUN), None)
    return following is None or parse.tags[following] not in (*NOUN_TAGS, "CD")


def _negates_more(plan: EditPlan, verb: int) -> bool:
    """Whether "not" has lost what narrows it: "does not sit (on the bench)", "has no text (that names it)"."""
    parse, alive = plan.parse, plan.editor.alive
    if parse.child(verb, "acomp") is not None:
        return False  # "is not ideal near the dam": what is said is that it is not ideal
    named = {m.last: n for n, m in enumerate(plan.mentions)}
    objects = [j for j in parse.children[verb] if parse.deps[j] in ("dobj", "attr") and j > verb]
    objects = [m for j in objects for m in parse.conjuncts(j) if named.get(m) not in plan.rightly_denied]
    narrowing = [j for k in (verb, *objects) if alive(k) for j in parse.children[k] if parse.deps[j] in _NARROWING[:3]]
    return any(j > verb and not alive(j) and parse.words[min(parse.subtree(j)) - 1] != "," for j in narrowing)


def _verbless(plan: EditPlan, subject: int) -> bool:
    """Whether a subject stays without its verb, and no verb joined to that one stays."""
    parse, verb = plan.parse, plan.parse.heads[subject]
    clause = parse.deps[verb] in ("conj", "advcl", "parataxis") and parse.tags[verb] in VERB_TAGS
    return clause and not any(map(plan.editor.alive, parse.conjuncts(verb)[1:])) and not plan.editor.alive(verb)


def _one_is_left(plan: EditPlan, attribute: int) -> bool:
    """Whether one thing is left of several that a plural describes: "a dog and a cat are pets"."""
    subject = plan.parse.child(plan.parse.heads[attribute], *SUBJECTS)
    listed = plan.parse.conjuncts(subject) if subject is not None else []
    return len(listed) > 1 and sum(map(plan.editor.alive, listed)) == 1


def _bare_now(plan: EditPlan, adjective: int) -> bool:
    """Whether "easy" has lost what was easy: "making it easy for people to see the time"."""
    parse = plan.parse
    had = [j for j in parse.children[adjective] if j > adjective and parse.words[j].isalnum()]
    had += [j for j in parse.children[parse.heads[adjective]] if j > adjective and parse.deps[j] in ("advcl", "prep")]
    return bool(had) and not any(map(plan.editor.alive, had))


def _seems_nothing(plan: EditPlan, verb: int) -> bool:
    """Whether "looks" or "seems" has lost all that followed it: "It looks (like there is a dog)."."""
    parse = plan.parse
    had = [j for j in parse.children[verb] if j > verb and parse.words[j].isalnum()]
    return parse.tags[verb] in VERB_TAGS and bool(had) and not any(map(plan.editor.alive, had))


def _says_nothing(plan: EditPlan, noun: int) -> bool:
    """Whether a stand-in has lost all that was said of it: "one is waiting and the other (holds a cup)"."""
    parse = plan.parse
    said = [j for j in parse.children[noun] if j > noun and parse.deps[j] in ("acl", "relcl", "prep")]
    last = parse.tags[min(noun + 1, len(parse) - 1)] not in NOUN_TAGS
    return last and bool(said) and not any(map(plan.editor.alive, said)) and parse.deps[noun] not in SUBJECTS


def _one_left(plan: EditPlan, preposition: int, *, plural: bool = False) -> bool:
    """Whether only one of several things after "between" is left; `plural` counts a plural as one, too."""
    parse, alive = plan.parse, plan.editor.alive
    listed = [m for j in parse.children[preposition] if parse.deps[j] == "pobj" for m in parse.conjuncts(j)]
    left = [m for m in listed if alive(m)]
    return len(listed) > len(left) == 1 and (plural or parse.tags[left[0]] not in ("NNS", "NNPS"))


def _shared(plan: EditPlan, modifier: int) -> bool:
    """Whether the modifier serves another member of its noun's list: "dogs and cats lying here"."""
    parse = plan.parse
    head = parse.heads[modifier]
    return any(plan.editor.alive(m) for m in parse.conjuncts(head) if m != head)


def _bereft(plan: EditPlan, word: int, relation: str, substitutes: tuple[str, ...]) -> bool:
    """Whether all complements of a relation were deleted from a word, with no substitute left."""
    parse, alive = plan.parse, plan.editor.alive
    had = [j for j in parse.children[word] if parse.deps[j] == relation]
    if not had or any(alive(m) for j in had for m in parse.conjuncts(j)):
        return False
    if relation == "agent" and (parse.deps[word] == "ROOT" or deletions.is_passive(parse, word)):
        return False
    if relation == "dobj" and any(parse.deps[j] in SUBJECTS for j in had):
        return False
    return not any(alive(j) for j in parse.children[word] if parse.deps[j] in substitutes and j > word)
