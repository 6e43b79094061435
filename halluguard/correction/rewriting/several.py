"""Words that need several things, after a cut that leaves one: "side by side", "each", "the latter".

A car and a truck are parked side by side.          without the truck, the car is parked
A sofa and a chair, each with a cushion.            without the chair, "each" has no others
One cat sleeps and the other is awake.              without the first, "the other" is other than nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from halluguard.correction.text.lexicon import NOUN_TAGS, VERB_TAGS

if TYPE_CHECKING:
    from halluguard.correction.rewriting.edit_plan import EditPlan

_PLACED = (("side", "by", "side"), ("back", "to", "back"), ("face", "to", "face"), ("hand", "in", "hand"))
_NEEDING = (*_PLACED, ("each", "other"), ("one", "another"), ("the", "two"), ("the", "latter"), ("the", "former"))
_ALONE = ("each", "respectively")


def trim(plan: EditPlan, sentence: int) -> None:
    """Delete "side by side" after a verb that can stand without it, and a last phrase that begins with "each"."""
    parse, editor = plan.parse, plan.editor
    end = parse.sentences[sentence][1]
    for first, last in _left_alone(plan, sentence):
        why = set[int]().union(*(editor.why[i] for i in range(*parse.sentences[sentence])))
        after = last + 1
        closes = after >= end or not parse.words[after].isalnum()
        words = tuple(parse.words[first:after])
        hyphens = tuple(word for word in words if word != "-")
        if hyphens in _PLACED and closes and parse.tags[first - 1] in VERB_TAGS:
            editor.delete(range(first, after), why)
            plan.trimmed.update(range(first, after))
        elif words[0] in ("each", "the") and parse.words[first - 1] == ",":
            stop = end - (parse.words[end - 1] in ".!?")
            if not any(parse.words[i] in (",", ";") for i in range(first, stop)):
                editor.delete(range(first - 1, stop), why)
                plan.trimmed.update(range(first - 1, stop))


def left_alone(plan: EditPlan, sentence: int) -> str:
    """The reason why one thing that is left of several cannot be all that such a word stands for, or ""."""
    found = next((pair for pair in _left_alone(plan, sentence) if plan.editor.alive(pair[0])), None)
    if found is not None:
        return f"{' '.join(plan.parse.words[found[0] : found[1] + 1])!r} needs several"
    return _other_than_nothing(plan, sentence)


def _left_alone(plan: EditPlan, sentence: int) -> list[tuple[int, int]]:
    """First and last token of each word for several things that stands after a list of which one thing is left."""
    parse, alive = plan.parse, plan.editor.alive
    first, end = parse.sentences[sentence]
    found: list[tuple[int, int]] = []
    for top in range(first, end):
        listed = parse.conjuncts(top)
        if parse.tags[top] not in NOUN_TAGS or listed[0] != top or len(listed) < 2:
            continue
        left = [m for m in listed if alive(m)]
        if len(left) != 1 or parse.tags[left[0]] not in ("NN", "NNP") or left[0] not in plan.by_head:
            continue
        for i in range(listed[0] + 1, end):
            if alive(i) and i != left[0] and parse.tags[i] in ("NNS", "NNPS"):
                break  # these are several
            size = _size(parse.words[i:end], parse.deps[i])
            if size and alive(i):
                found.append((i, i + size - 1))
    return found


def _size(words: list[str], relation: str) -> int:
    """Number of tokens of a word for several things that begins here; 0 where none does."""
    for phrase in _NEEDING:
        hyphenated = [part for word in phrase for part in (word, "-")][:-1]
        for form in (list(phrase), hyphenated):
            if words[: len(form)] == form:
                return len(form)
    return 1 if words[0] in _ALONE and relation not in ("det", "pobj") else 0


def _other_than_nothing(plan: EditPlan, sentence: int) -> str:
    """The reason if "the other" stays without the "one" that stood before it in the sentence, or ""."""
    parse, alive = plan.parse, plan.editor.alive
    tokens = range(*parse.sentences[sentence])
    ones = [i for i in tokens if parse.words[i] == "one"]
    for i in tokens:
        others = parse.words[i] in ("other", "others") and parse.words[i - 1] == "the" and alive(i)
        before = [j for j in ones if j < i]
        if others and before and not any(map(alive, before)):
            return "the other would have no one beside it"
    return ""
