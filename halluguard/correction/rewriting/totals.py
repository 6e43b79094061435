"""Correct totals of what a text lists: "So there are three animals in total" after one of three was deleted.

A total is a number of a word for many kinds ("animals", "objects") with "in total", "altogether" or the like. It is
corrected if it was the sum of what is named before it, and flagged if it was not but something of it was deleted.
"""

from __future__ import annotations

from halluguard.correction.claims import counts
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.text.lexicon import NOUN_TAGS
from halluguard.records import Edit
from halluguard.vocabulary import category, parents, same, singular

_SUMMING = ("in total", "in all", "altogether", "all together", "total of", "overall", "total number", "in the list")
_ANY_KIND = frozenset("object item thing element entity being".split())


def correct_totals(plan: EditPlan) -> None:
    """Correct or flag each total of the text, after its sentences were edited."""
    parse = plan.parse
    for sentence, (first, end) in enumerate(parse.sentences):
        words = " ".join(parse.words[first:end])
        if not any(cue in words for cue in _SUMMING):
            continue
        for noun in range(first, end):
            amount = counts.quantity(parse, noun) if parse.tags[noun] in NOUN_TAGS and plan.editor.alive(noun) else None
            if amount is not None and amount.bound == "exact" and amount.first == amount.last:
                _correct(plan, sentence, noun, amount)


def _correct(plan: EditPlan, sentence: int, noun: int, amount: counts.Quantity) -> None:
    announces = plan.parse.words[noun + 1 : noun + 2] == [":"]
    listed = range(noun + 1, plan.parse.sentences[sentence][1]) if announces else range(amount.first)
    before, after, causes = _sums(plan, singular(plan.parse.words[noun]), listed)
    if not causes:
        return
    if before == amount.count and after > 1:
        in_digits = plan.parse.words[amount.first].isdecimal()
        plan.editor.replace(amount.first, str(after) if in_digits else counts.spelled(after), causes)
        return
    start, stop = plan.parse.starts[amount.first], plan.parse.ends[noun]
    words = plan.parse.text[start:stop]
    reason = f"{plan.verdicts[min(causes)].reason}; the total was left as it was"
    plan.flags.append(Edit(start, stop, words, words, tuple(sorted(causes)), reason, "flagged"))


def _sums(plan: EditPlan, kind: str, listed: range) -> tuple[int, int, set[int]]:
    """Number of things of a kind named by some tokens, in the draft and after the edits, and what caused deletions."""
    before, after, causes = dict[str, int](), dict[str, int](), dict[str, set[int]]()
    for n, mention in enumerate(plan.mentions):
        name = category(mention.name) or same(mention.name)
        of_kind = kind in _ANY_KIND or kind in parents(name) or kind in parents(mention.name)
        if mention.last not in listed or not of_kind or mention.part or n not in plan.decision:
            continue
        amount = counts.quantity(plan.parse, mention.last)
        number = amount.count if amount is not None else 1
        before[name] = max(number, before.get(name, 0))
        if plan.editor.alive(mention.last):
            after[name] = max(number, after.get(name, 0))
        else:
            causes.setdefault(name, set()).update(plan.editor.why[mention.last])
    gone = set[int]().union(*(why for name, why in causes.items() if name not in after))
    return sum(before.values()), sum(after.values()), gone
