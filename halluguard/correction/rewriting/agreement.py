"""Repair the grammar after a cut: commas and "and" in lists, and the agreement of verbs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from halluguard.correction.claims.counts import spelled
from halluguard.correction.rewriting import deletions
from halluguard.correction.rewriting.token_editor import TokenEditor
from halluguard.correction.text.parse import Parse
from halluguard.vocabulary import FORMS, singular

_TO_SINGULAR = {"are": "is", "were": "was", "have": "has", "'re": "'s", "do": "does"}
_TO_PLURAL = {one: many for many, one in _TO_SINGULAR.items()}
_GLOSSES = ("particularly", "especially", "including", "notably", "namely", "specifically", "such")
_LONG_JOINTS = ("as", "well", "along", "together", "with")
"""Words of "as well as" and "along with", which go when a member beside them goes."""
_PAIRING = ("both", "either", "neither")


def relist(editor: TokenEditor, listed: list[int], adopted: Mapping[int, int]) -> None:
    """Put commas and "and" where members of a list were deleted, in the list's own style; the rest of the list stays.

    Args:
        listed: heads of all members, in reading order.
        adopted: member -> first token of the article that it takes over from a deleted member.
    """
    parse = editor.parse
    left = [m for m in listed if editor.alive(m)]
    spans = {m: deletions.member_tokens(parse, m) for m in listed}
    spans |= {m: list(range(adopted[m], spans[m][-1] + 1)) for m in listed if m in adopted}
    gone = [m for m in listed if not editor.alive(m) and not any(adopted.get(heir, m + 1) <= m < heir for heir in left)]
    if not gone and not editor.alive(listed[0]) and len(left) > 1:
        gone = [listed[0]]  # the next member took its article; two of three are left
    if not gone:
        return
    joints = [parse.words[j] for m in listed for j in parse.children[m] if parse.deps[j] == "cc"]
    joints = [word for word in joints if word not in _LONG_JOINTS] or ["and"] * bool(joints)
    oxford = len(listed) > 2 and parse.words[max(0, _last_joint(parse, listed) - 1)] == ","
    why = set().union(*(editor.why[i] for m in listed for i in spans[m]))
    for before, after in itertools.pairwise(left):
        final = after == left[-1] and bool(joints)
        beside_cut = any(before < m < after for m in gone)
        new_final = final and (gone[-1] > after or (len(left) == 2 and oxford))
        if _explained(parse, spans[before], spans[after]) or not (beside_cut or new_final):
            continue
        between = range(spans[before][-1] + 1, min(spans[after]))
        stands = final and not beside_cut and len(left) > 2 and any(parse.deps[i] == "cc" for i in between)
        if stands and all(map(editor.alive, between)):
            continue  # "a lake, a man, and trees [and bushes]" had two joints
        sign = f" {joints[0]} " if final else ", "
        if final and len(left) > 2 and oxford:
            sign = f", {joints[0]} "
        editor.link(
            max(i for i in spans[before] if editor.alive(i)),
            min(i for i in spans[after] if editor.alive(i)),
            sign,
            why,
        )
    if left:
        _trim_ends(editor, listed, left, gone, spans, why)
    if len(left) < 2:
        pairing = [
            j
            for m in listed
            for j in parse.children[m]
            if parse.deps[j] in ("cc", "preconj") or parse.words[j] in _PAIRING
        ]
        editor.delete([i for j in pairing for i in parse.subtree(j)], why)


def _explained(parse: Parse, before: list[int], after: list[int]) -> bool:
    """Whether the second member explains the first, after a colon, a bracket, a dash or a word such as "including"."""
    marked = any(parse.words[i] in (":", "(", "—", "–") for i in range(before[-1] + 1, after[0]))
    return marked or parse.words[min(after)] in _GLOSSES


def _trim_ends(
    editor: TokenEditor, listed: list[int], left: list[int], gone: list[int], spans: dict[int, list[int]], why: set[int]
) -> None:
    """Delete the joints and commas that stand before the first member left, and after the last."""
    parse = editor.parse
    if gone[0] < left[0]:
        editor.delete([j for j in parse.children[left[0]] if parse.words[j] == "other"], why)  # "and other decor"
    outside = [*range(min(spans[listed[0]]), min(spans[left[0]])), *range(max(spans[left[-1]]) + 1, listed[-1])]
    editor.delete([i for i in outside if parse.deps[i] == "cc" or parse.words[i] in (",", ";")], why)
    long_joint = any(parse.words[j] in _LONG_JOINTS for m in listed for j in parse.children[m] if parse.deps[j] == "cc")
    if long_joint and gone[0] == listed[0]:
        behind = max(spans[left[-1]]) + 1  # the comma that closed the aside: ", along with a cat and a bird, sits"
        editor.delete([i for i in (behind,) if i < len(parse) and parse.words[i] == ","], why)


def _last_joint(parse: Parse, listed: list[int]) -> int:
    joints = [j for m in listed for j in parse.children[m] if parse.deps[j] == "cc"]
    return max(joints, default=0)


def agree(editor: TokenEditor, listed: list[int]) -> None:
    """Make the verb of a list, or the verb after "there", agree in number with the members that are left."""
    parse = editor.parse
    left = [m for m in listed if editor.alive(m)]
    top = listed[0]
    if not left:
        return
    verb = parse.heads[top]
    there = any(parse.deps[j] == "expl" for j in parse.children[verb])
    if parse.deps[top] == "attr" and parse.child(verb, "attr") != top:
        return  # "there are no people, only a dog"
    if parse.deps[top] == "attr" and not there:
        _one_of_kind(editor, verb, left)
    if parse.deps[top] not in ("nsubj", "nsubjpass") and not (parse.deps[top] == "attr" and there):
        return
    plural = len(left) > 1 or is_plural(parse, left[0])
    if there and len(left) > 1:
        plural = is_plural(parse, left[0]) or parse.words[verb] in _TO_SINGULAR
    number(editor, verb, plural=plural, why=set().union(*(editor.why[m] for m in listed)))


def _one_of_kind(editor: TokenEditor, verb: int, left: list[int]) -> None:
    """Put a subject in the singular that only one member is left of: "The animals are a dog (and a cat)"."""
    parse = editor.parse
    subject = parse.child(verb, "nsubj")
    if len(left) != 1 or is_plural(parse, left[0]) or subject is None or not is_plural(parse, subject):
        return
    determiners = {parse.words[j] for j in parse.children[subject] if j < subject and parse.deps[j] != "amod"}
    if determiners <= {"the"} and parse.tags[subject] == "NNS":
        why = editor.why[left[0]].union(*(editor.why[m] for m in parse.conjuncts(left[0])))
        editor.replace(subject, singular(parse.words[subject]), why)
        number(editor, verb, plural=False, why=why)


def recount(editor: TokenEditor, listed: list[int]) -> None:
    """Correct the number before a list: "three animals: a cat, a dog and a horse" without the dog has two."""
    parse, top = editor.parse, listed[0]
    noun = top if any(parse.deps[j] == "nummod" for j in parse.children[top]) else parse.heads[top]
    number_word = next((j for j in parse.children[noun] if parse.deps[j] == "nummod"), None)
    members = [m for m in listed if m > noun]
    if number_word is None or not members or ":" not in parse.words[noun : members[0]]:
        return
    left = sum(map(editor.alive, members))
    if parse.words[number_word] == spelled(len(members)) and 1 < left < len(members):
        why = set().union(*(editor.why[m] for m in members))
        editor.replace(number_word, spelled(left), why)


def is_plural(parse: Parse, noun: int) -> bool:
    """Whether a noun is plural; the vocabulary knows "oxen" and "people", the tagger the rest."""
    form = FORMS.get(parse.words[noun])
    return parse.tags[noun] in ("NNS", "NNPS") or (form is not None and form[1])


def number(editor: TokenEditor, verb: int, *, plural: bool, why: set[int]) -> None:
    """Make the finite verb, or its auxiliary, plural or singular."""
    parse = editor.parse
    aux = [j for j in parse.children[verb] if parse.deps[j] in ("aux", "auxpass") and editor.alive(j)]
    finite = aux[0] if aux else verb
    if not editor.alive(finite):
        return
    word, tag = parse.words[finite], parse.tags[finite]
    if plural and word in _TO_PLURAL:
        editor.replace(finite, _TO_PLURAL[word], why)
    elif not plural and word in _TO_SINGULAR:
        editor.replace(finite, _TO_SINGULAR[word], why)
    elif plural and tag == "VBZ" and finite == verb:
        editor.replace(finite, bare(word), why)
    elif not plural and tag in ("VBP", "VB") and finite == verb and word not in ("am", "is"):
        editor.replace(finite, third_person(word), why)


_IRREGULAR_PAST = {
    "have": "had", "see": "saw", "show": "showed", "find": "found", "hold": "held", "wear": "wore", "ride": "rode",
    "sit": "sat", "stand": "stood", "lie": "lay", "take": "took", "make": "made", "give": "gave", "keep": "kept",
    "stop": "stopped", "run": "ran", "eat": "ate", "fit": "fitted", "get": "got", "come": "came", "go": "went",
}  # fmt: skip


def past(verb: str) -> str:
    """The past tense of a verb.

    >>> past("include"), past("contain"), past("carry"), past("see")
    ('included', 'contained', 'carried', 'saw')
    """
    if verb in _IRREGULAR_PAST:
        return _IRREGULAR_PAST[verb]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb.endswith("y") and verb[-2:-1] not in "aeiou" else verb + "ed"


def third_person(word: str) -> str:
    """The third person singular of a verb.

    >>> third_person("carry"), third_person("watch"), third_person("have")
    ('carries', 'watches', 'has')
    """
    if word == "have":
        return "has"
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else word + "s"


def bare(word: str) -> str:
    """The plain form of a verb in the third person singular."""
    if word == "has":
        return "have"
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "zes", "ches", "shes", "oes")) else word[:-1]
