"""Find true clauses that a sentence takes with it when it is dropped.

The cyclist wears sunglasses, and she has blond hair.    her hair is there without the sunglasses
A dog sleeps, and its tail hangs down.                   the tail goes with the dog
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from halluguard.correction.claims import coreference
from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

if TYPE_CHECKING:
    from halluguard.correction.rewriting.edit_plan import EditPlan

_CLAUSES = ("ROOT", "conj", "ccomp", "parataxis")
_PERSONAL = frozenset("he she it they".split())
_IN_CONTRAST = ("while", "whereas")


def true_clause(plan: EditPlan, sentence: int, heads: Collection[int]) -> str:
    """The subject of a clause that tells only of what is there, beside a false clause of its sentence; "" if none.

    Args:
        heads: tokens that are false.
    """
    parse = plan.parse
    verbs = [verb for verb in range(*parse.sentences[sentence]) if _is_clause(parse, verb)]
    if len(verbs) < 2:
        return _true_title(plan, sentence, heads)
    false_before = False
    for verb in verbs:
        subject = parse.child(verb, *SUBJECTS)
        if subject is None:
            continue
        others = {i for other in verbs if other != verb and verb in parse.chain(other) for i in parse.subtree(other)}
        core = set(parse.subtree(verb)) - others
        is_false = _is_false(plan, core, heads)
        if not is_false and _is_true(plan, subject, after_false=false_before):
            return parse.words[subject]
        false_before = false_before or any(m in heads for m in parse.conjuncts(subject))
    return ""


def _true_title(plan: EditPlan, sentence: int, heads: Collection[int]) -> str:
    """The thing that a phrase without a verb describes: "A tall glass building, situated in a city street"."""
    parse = plan.parse
    root = next((i for i in range(*parse.sentences[sentence]) if parse.heads[i] == i), None)
    if root is None:
        return ""
    described = any(parse.deps[j] == "amod" for j in parse.children[root])
    whole = root in plan.by_head and root not in heads and described and parse.tags[root] in NOUN_TAGS
    return parse.words[root] if whole and _is_true(plan, root, after_false=False) else ""


def _is_clause(parse: Parse, verb: int) -> bool:
    """Whether a verb with a subject makes a statement of its own."""
    mark = parse.child(verb, "mark")
    contrast = parse.deps[verb] == "advcl" and mark is not None and parse.words[mark] in _IN_CONTRAST
    purpose = any(parse.words[j] == "to" and parse.deps[j] == "aux" for j in parse.children[verb])
    joined = parse.deps[verb] in _CLAUSES and mark is None and not purpose  # not "allow guests to rest"
    inside = any(parse.deps[i] in ("relcl", "acl", "advcl", "pcomp") for i in (*parse.chain(verb),))
    return parse.tags[verb] in VERB_TAGS and (joined or contrast) and not inside


def _is_false(plan: EditPlan, core: set[int], heads: Collection[int]) -> bool:
    """Whether a clause tells of something false, or of what belongs to it; relative clauses do not count."""
    parse = plan.parse
    aside = {
        i
        for clause in core
        if parse.deps[clause] == "relcl"
        for i in parse.subtree(clause)
        if parse.heads[clause] in core
    }
    return any(i in heads or _stands_for_false(plan, i) for i in core - aside)


def _stands_for_false(plan: EditPlan, token: int) -> bool:
    antecedent = plan.antecedent(token)
    return antecedent is not None and plan.decision.get(antecedent) == "contradicted"


def _is_true(plan: EditPlan, subject: int, *, after_false: bool) -> bool:
    """Whether a subject is a thing that the text may keep, or a pronoun for one."""
    if plan.parse.tags[subject] == "PRP":
        antecedent = plan.links.get(subject)
        known = antecedent is not None or not after_false
        empty = coreference.expletive(plan.parse, subject)  # "it is hard to tell"
        return plan.parse.words[subject] in _PERSONAL and known and not empty
    return any(
        m.last == subject and plan.decision.get(n) in ("supported", "unsure", "unverifiable")
        for n, m in enumerate(plan.mentions)
    )
