"""Build pairs of captions that differ in one object, which the image shows in one caption and not in the other.

Half of the pairs replace a named object by an absent one that often occurs with it (LURE, Zhou et al. 2023, arXiv
2310.00754; POVID). The other half insert an object at the same place of both captions: a present and an absent one.
Both captions have the same number of words, at most one edit of a few words is made, and every name is as often the
true word as the false one. So neither length nor words reveal which caption is chosen; only the image does.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from halluguard import vocabulary
from halluguard.tuning.annotations import Annotated, Companions
from halluguard.tuning.edge_balance import balanced
from halluguard.tuning.question_templates import TEMPLATES, noun, with_article
from halluguard.tuning.rows import PreferenceRow, Truth, row_seed

PROMPTS = TEMPLATES["caption prompts"]

_CANDIDATES = 10  # likeliest absent objects, of which balance takes one


@dataclass(frozen=True)
class _Edit:
    """`caption[start:end]` becomes a phrase about `true` in the chosen caption, about `false` in the rejected one."""

    item: Annotated
    caption: str
    start: int
    end: int
    true: str
    false: str
    kind: str
    lead: str  # the word directly before the name: "a", "A", "two"
    plural: bool = False
    prefix: str = ""

    def text(self, name: str) -> str:
        """The caption with `name` at the place of the edit."""
        if self.lead.lower() in ("a", "an"):
            phrase = with_article(name)
            phrase = phrase.capitalize() if self.lead[0].isupper() else phrase
        else:
            phrase = f"{self.lead} {vocabulary.plural(name) if self.plural else name}"
        return self.caption[: self.start] + self.prefix + phrase + self.caption[self.end :]


def hallucinated_captions(
    items: Sequence[Annotated],
    *,
    seed: int,
    prompts: Sequence[str] = PROMPTS,
    captions: Callable[[Annotated], Sequence[str]] | None = None,
) -> Iterator[PreferenceRow]:
    """At most one pair per image, kinds "caption-replace" and "caption-insert" in nearly equal numbers.

    Args:
        items: images with captions and boxes. Only names of the same number of words are exchanged, and only after
            an article or a numeral ("a dog", "two dogs").
        seed: the same seed gives the same rows.
        prompts: the user's messages; one is drawn for each row.
        captions: function that gives the true captions of an image, in place of `item.captions`.

    Yields:
        Rows with `minimal_edit` set, whose `truth` holds the name in each caption. Images without a possible edit, and
        images that balance does not need, give no row.

    Raises:
        InputError: no object is annotated at all.
    """
    companions = Companions(items)
    edits: dict[str, list[_Edit]] = {"caption-replace": [], "caption-insert": []}
    surplus: dict[str, Counter[str]] = {kind: Counter() for kind in edits}  # true minus false so far
    for item in items:
        rng = random.Random(row_seed(seed, "caption", item.image_id))
        texts = item.captions if captions is None else tuple(captions(item))
        possible = [e for text in texts for e in (*_replacements(item, text), *_insertions(item, text))]
        for kind in sorted(edits, key=lambda kind: len(edits[kind])):
            edit = _draw([e for e in possible if e.kind == kind], companions, surplus[kind], rng)
            if edit is not None:
                surplus[kind][edit.true] += 1
                surplus[kind][edit.false] -= 1
                edits[kind].append(edit)
                break
    kept = [[made[i] for i in balanced([(e.true, e.false) for e in made], seed)] for made in edits.values()]
    for edit in _equal_numbers(kept, seed):
        yield _row(edit, seed, prompts)


def _row(edit: _Edit, seed: int, prompts: Sequence[str]) -> PreferenceRow:
    own = row_seed(seed, edit.kind, edit.item.image_id, edit.caption, edit.start)
    return edit.item.preference(
        random.Random(own).choice(prompts),
        edit.text(edit.true),
        edit.text(edit.false),
        kind=edit.kind,
        seed=own,
        truth=Truth((edit.true,), (edit.false,)),
        minimal_edit=True,
    )


def _equal_numbers(kept: Sequence[list[_Edit]], seed: int) -> list[_Edit]:
    """Equally many insertions and replacements; whole cycles of the larger kind go, so names stay balanced."""
    small, large = sorted(kept, key=len)
    chosen: list[_Edit] = []
    for cycle in _cycles(large, seed):
        if len(chosen) + len(cycle) <= len(small):
            chosen += cycle
    edits = [*small, *chosen]
    random.Random(row_seed(seed, "caption order")).shuffle(edits)
    return edits


def _cycles(edits: Sequence[_Edit], seed: int) -> list[list[_Edit]]:
    """Balanced edits as closed walks true -> false -> ..., the longest first; each is balanced by itself."""
    following: dict[str, list[_Edit]] = {}
    for edit in edits:
        following.setdefault(edit.true, []).append(edit)
    rng = random.Random(row_seed(seed, "cycles"))
    for options in following.values():
        rng.shuffle(options)
    cycles = []
    for start in sorted(following):
        while following[start]:
            walk: list[_Edit] = []
            at = start
            while True:
                walk.append(following[at].pop())
                at = walk[-1].false
                names = [edit.true for edit in walk]
                if at in names:  # a cycle has closed: cut it off and continue from there
                    cycles.append(walk[names.index(at) :])
                    walk = walk[: names.index(at)]
                if not walk:
                    break
    return sorted(cycles, key=len, reverse=True)


def _draw(edits: Sequence[_Edit], companions: Companions, surplus: Counter[str], rng: random.Random) -> _Edit | None:
    """An edit with `false` filled in: of the likeliest absent objects, the name with the largest surplus as true."""
    order = list(edits)
    rng.shuffle(order)
    order.sort(key=lambda edit: surplus[edit.true])
    for edit in order:
        words = len(noun(edit.true).split())
        absent = [
            name
            for name in companions.names
            if len(noun(name).split()) == words and edit.item.lacks(name) and noun(name) == name
        ]
        likely = companions.expected(edit.item.names, absent)[:_CANDIDATES]
        if likely:
            false = max(likely, key=lambda name: (surplus[name], rng.random()))
            return replace(edit, false=false)
    return None


_COUNTED = r"(a|an|one|two|three|four|five|six|several|some)"


def _replacements(item: Annotated, caption: str) -> Iterator[_Edit]:
    """Places where a name of the image stands directly after an article or numeral, and nowhere else in the caption."""
    for name in item.names:
        if noun(name) != name:
            continue
        forms = f"(?:{re.escape(name)}|{re.escape(vocabulary.plural(name))})"
        counted = list(re.finditer(rf"\b{_COUNTED} ({forms})\b", caption, re.IGNORECASE))
        if len(counted) != 1 or len(re.findall(rf"\b{forms}\b", caption, re.IGNORECASE)) != 1:
            continue
        match = counted[0]
        lead, plural = match[1], match[2].lower() != name
        if (lead.lower() in ("a", "an", "one")) != plural:
            yield _Edit(item, caption, match.start(), match.end(), name, "", "caption-replace", lead, plural)


def _insertions(item: Annotated, caption: str) -> Iterator[_Edit]:
    """The end of each sentence that names an object of the image, for an object that the caption does not name yet."""
    unnamed = [name for name in item.names if noun(name) == name and not _names(caption, name)]
    named = [form for name in item.names for form in (name, vocabulary.plural(name)) if _names(caption, name)]
    for match in re.finditer(r"[^.!?]+(?=[.!?]|$)", caption):
        sentence = match[0].rstrip()
        if not any(re.search(rf"\b{re.escape(form)}\b", sentence, re.IGNORECASE) for form in named):
            continue
        at = match.start() + len(sentence)
        prefix = " and " if sentence.lower().endswith(tuple(named)) else " with "
        for name in unnamed:
            yield _Edit(item, caption, at, at, name, "", "caption-insert", "a", prefix=prefix)


def _names(caption: str, name: str) -> bool:
    """Whether `caption` names the object, in the singular or the plural."""
    return any(re.search(rf"\b{re.escape(form)}\b", caption, re.IGNORECASE) for form in (name, vocabulary.plural(name)))
