"""Hallucinated captions: two captions that differ in one object, which is there in the one and not in the other.

Half of the pairs replace a named object by an absent one that often keeps its company (LURE, Zhou et al. 2023, arXiv
2310.00754; POVID). The other half add an object to the same place of both: one that is there and one that is not. Both
captions have the same number of words, at most one edit of a few words is made, and every name is as often the true
word as the false one: neither length nor words tell which caption is chosen, only the picture does.
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
from halluguard.tuning.question_templates import noun, with_article
from halluguard.tuning.rows import PreferenceRow, Truth, row_seed

PROMPTS = (
    "Describe the image.",
    "Describe this image in one or two sentences.",
    "What does the picture show?",
    "Please describe what you see in this photo.",
    "Give a short description of the scene.",
    "Write a caption for the image.",
)

_CANDIDATES = 10  # absent companions among which balance chooses


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
    lead: str  # what stands directly before the thing: "a", "A", "two"
    many: bool = False
    prefix: str = ""

    def text(self, name: str) -> str:
        """The caption with `name` in the place of the edit."""
        if self.lead.lower() in ("a", "an"):
            phrase = with_article(name)
            phrase = phrase.capitalize() if self.lead[0].isupper() else phrase
        else:
            phrase = f"{self.lead} {vocabulary.plural(name) if self.many else name}"
        return self.caption[: self.start] + self.prefix + phrase + self.caption[self.end :]


def hallucinated_captions(
    items: Sequence[Annotated],
    *,
    seed: int,
    prompts: Sequence[str] = PROMPTS,
    captions: Callable[[Annotated], Sequence[str]] | None = None,
) -> Iterator[PreferenceRow]:
    """One pair per picture at most, kinds "caption-replace" and "caption-insert" in equal numbers, up to one or two.

    Args:
        items: pictures with captions and boxes. Only names of the same number of words are exchanged, and only where
            an article or a numeral comes directly before ("a dog", "two dogs").
        seed: the same seed gives the same rows.
        prompts: what the user asks; drawn per row.
        captions: gives true captions of a picture, in place of `item.captions`.

    Yields:
        Rows with `minimal_edit` set, `truth` the one name on each side. Pictures in which nothing can be edited so, or
        that balance does not need, are passed over.

    Raises:
        InputError: no object is annotated at all.
    """
    companions = Companions(items)
    found: dict[str, list[_Edit]] = {"caption-replace": [], "caption-insert": []}
    surplus: dict[str, Counter[str]] = {kind: Counter() for kind in found}  # true minus false so far
    for item in items:
        rng = random.Random(row_seed(seed, "caption", item.image_id))
        texts = item.captions if captions is None else tuple(captions(item))
        edits = [e for text in texts for e in (*_replacements(item, text), *_insertions(item, text))]
        fewest = sorted(found, key=lambda kind: len(found[kind]))
        for kind in fewest:
            edit = _draw([e for e in edits if e.kind == kind], companions, surplus[kind], rng)
            if edit is not None:
                surplus[kind][edit.true] += 1
                surplus[kind][edit.false] -= 1
                found[kind].append(edit)
                break
    kept = {
        kind: [edits[i] for i in balanced([(e.true, e.false) for e in edits], seed)] for kind, edits in found.items()
    }
    for edit in _equal_numbers(kept, seed):
        yield _row(edit, seed, prompts)


def _row(edit: _Edit, seed: int, prompts: Sequence[str]) -> PreferenceRow:
    own = row_seed(seed, edit.kind, edit.item.image_id, edit.caption, edit.start)
    return PreferenceRow(
        (edit.item.image,),
        random.Random(own).choice(prompts),
        edit.text(edit.true),
        edit.text(edit.false),
        image_id=edit.item.image_id,
        kind=edit.kind,
        source=edit.item.source,
        seed=own,
        truth=Truth((edit.true,), (edit.false,)),
        license=edit.item.license,
        minimal_edit=True,
    )


def _equal_numbers(kept: dict[str, list[_Edit]], seed: int) -> list[_Edit]:
    """As many insertions as replacements, names still balanced: whole cycles of the larger kind are taken out."""
    small, large = sorted(kept.values(), key=len)
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
                if at in names:  # a loop has closed: cut it off and go on from there
                    cycles.append(walk[names.index(at) :])
                    walk = walk[: names.index(at)]
                if not walk:
                    break
    return sorted(cycles, key=len, reverse=True)


def _draw(edits: Sequence[_Edit], companions: Companions, surplus: Counter[str], rng: random.Random) -> _Edit | None:
    """Fill in `false`: of the likeliest absent companions, the one most in need of being false."""
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
    """Places where a name of the picture stands directly after an article or numeral, once in the caption."""
    for name in item.names:
        if noun(name) != name:
            continue
        many = vocabulary.plural(name)
        found = list(re.finditer(rf"\b{_COUNTED} ({re.escape(name)}|{re.escape(many)})\b", caption, re.IGNORECASE))
        mentions = re.findall(rf"\b(?:{re.escape(name)}|{re.escape(many)})\b", caption, re.IGNORECASE)
        if len(found) != 1 or len(mentions) != 1:
            continue
        match = found[0]
        lead, several = match[1], match[2].lower() != name
        if (lead.lower() in ("a", "an", "one")) == (not several):
            yield _Edit(item, caption, match.start(), match.end(), name, "", "caption-replace", lead, several)


def _insertions(item: Annotated, caption: str) -> Iterator[_Edit]:
    """The end of each sentence that names something of the picture, for a thing that the caption does not name yet."""
    unsaid = [name for name in item.names if noun(name) == name and not _said(name, caption)]
    said = [form for name in item.names for form in (name, vocabulary.plural(name)) if _said(name, caption)]
    for match in re.finditer(r"[^.!?]+(?=[.!?]|$)", caption):
        sentence = match[0].rstrip()
        if not any(re.search(rf"\b{re.escape(form)}\b", sentence, re.IGNORECASE) for form in said):
            continue
        at = match.start() + len(sentence)
        prefix = " and " if sentence.lower().endswith(tuple(said)) else " with "
        for name in unsaid:
            yield _Edit(item, caption, at, at, name, "", "caption-insert", "a", prefix=prefix)


def _said(name: str, caption: str) -> bool:
    return any(re.search(rf"\b{re.escape(form)}\b", caption, re.IGNORECASE) for form in (name, vocabulary.plural(name)))
