"""Check the edits of a text at the end: withdraw those that touch another block, and flag what is false and remains.

Thinking, code, other languages and the special tokens of chat templates are not edited. An edit that
reaches into one is withdrawn with all edits of its block. A name that was not found may also stand in words that were
not read as a claim ("the skyscraper towers" taken for towers): it is flagged, so that no false name passes without a
mark. A false claim that no edit touches ("the photo lacks people") is flagged for the same reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from halluguard.correction.rewriting import final_check
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.lexicon import NOUN_TAGS
from halluguard.records import Edit, apply_edits
from halluguard.vocabulary import singular

_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:bos|eos|s|/s|pad|end_of_turn|start_of_turn)>")
_SHORTEST_NAME = 3
_MOST_TRIED = 50
"""Number of edits of a text that are left out one by one to find the one that breaks its structure."""


def withdrawn(text: str, document: Document, edits: Sequence[Edit]) -> list[Edit]:
    """The edits; flags replace those that reach into protected text or break the structure."""
    blocks = document.root.children
    unread = (block.outer for block in blocks if not block.reads and block.outer[0] < block.outer[1])
    protected = [*unread, *(match.span() for match in _SPECIAL.finditer(text))]
    torn = {edit for block in blocks for edit in _tearing(_inside(block, edits), protected)}
    kept = [edit for edit in edits if edit not in torn]
    flags = [
        _flag(text, edit, "it would reach into another block or tear a quotation") for edit in edits if edit not in kept
    ]
    reason = final_check.breaks_structure(text, apply_edits(text, kept))
    if reason:
        breaking = _breaking(text, kept)
        flags += [_flag(text, edit, reason) for edit in breaking]
        kept = [edit for edit in kept if edit not in breaking]
    return sorted([*kept, *flags], key=lambda edit: (edit.start, edit.end))


def _tearing(edits: Sequence[Edit], protected: Sequence[tuple[int, int]]) -> Sequence[Edit]:
    """The edits of a block that tear something: those that do so alone, or all where they only do it together."""
    if not _is_torn(edits, protected):
        return []
    alone = [edit for edit in edits if _is_torn([edit], protected)]
    return alone if not _is_torn([edit for edit in edits if edit not in alone], protected) else edits


def _breaking(text: str, edits: Sequence[Edit]) -> Sequence[Edit]:
    """The edits that break the structure of a text: one, if the others leave it whole, else all."""
    for edit in edits[:_MOST_TRIED]:
        others = [other for other in edits if other is not edit]
        if not final_check.breaks_structure(text, apply_edits(text, others)):
            return [edit]
    return edits


def _inside(block: Block, edits: Sequence[Edit]) -> list[Edit]:
    return [edit for edit in edits if edit.start < block.outer[1] and block.outer[0] < edit.end]


def _is_torn(edits: Sequence[Edit], protected: Sequence[tuple[int, int]]) -> bool:
    """Whether the edits of a block reach into what is protected, or leave a quotation mark without its partner."""
    reaches = any(edit.start < end and start < edit.end for edit in edits for start, end in protected)
    cut, added = "".join(edit.before for edit in edits), "".join(edit.after for edit in edits)
    odd = (cut.count('"') - added.count('"')) % 2
    opened = cut.count("“") - cut.count("”") != added.count("“") - added.count("”")
    return reaches or bool(odd) or opened


def _flag(text: str, edit: Edit, reason: str) -> Edit:
    words = text[edit.start : edit.end]
    return Edit(edit.start, edit.end, words, words, edit.verdicts, f"left as it was: {reason}", "flagged")


def left_over(plan: EditPlan) -> Iterator[Edit]:
    """Flags for words that still name what was not found, where no claim was read from them."""
    parse = plan.parse
    absent = {
        plan.mentions[mention].name: plan.cause[mention]
        for mention, decision in plan.decision.items()
        if decision == "contradicted" and len(plan.mentions[mention].name) >= _SHORTEST_NAME
    }
    names = set(absent)
    absent |= {name.split()[-1]: why for name, why in absent.items() if " " in name}
    named = {i for mention in plan.mentions for i in range(mention.first, mention.last + 1)} | parse.quoted
    for i, tag in enumerate(parse.tags):
        free = plan.editor.alive(i) and i not in named and tag in NOUN_TAGS
        if free and not _hyphenated(plan, i) and not parse.span(i, i)[:1].isupper():
            whole = singular(parse.words[i])
            definite = any(parse.words[j] in ("the", "this", "these") for j in parse.children[i])
            cause = absent.get(whole) if whole in names or definite else None
            if cause is not None:
                start, end = parse.starts[i], parse.ends[i]
                words = parse.text[start:end]
                note = f"{plan.verdicts[cause].reason}; left as it was: no claim was read from these words"
                yield Edit(start, end, words, words, (cause,), note, "flagged")


def unedited(plan: EditPlan, settled: Collection[int], edits: Sequence[Edit]) -> Iterator[Edit]:
    """Flags for contradicted claims that no edit or flag touches: "the photo lacks people", a number without a better.

    What is claimed of a false object has its edit or flag.

    Args:
        settled: claims that a turned yes or no takes care of.
    """
    marked = {n for edit in edits for n in edit.verdicts}
    for n in plan.wrong:
        index = plan.verdicts[n].claim
        claim = plan.claims[index]
        ends = [end for end in (claim.subject, claim.other) if end is not None]
        of_false = any(plan.decision.get(plan.by_claim.get(end, -1)) == "contradicted" for end in ends)
        of_false = of_false or any(plan.claims[end].modality != "asserted" for end in ends)  # "on benches or chairs"
        touched = any(edit.start < claim.end and claim.start < edit.end for edit in edits)
        if n in marked or index in settled or touched or of_false or claim.modality == "question":
            continue
        words = plan.parse.text[claim.start : claim.end]
        note = f"{plan.verdicts[n].reason}; left as it was: no sound edit takes it away"
        yield Edit(claim.start, claim.end, words, words, (n,), note, "flagged")


def _hyphenated(plan: EditPlan, i: int) -> bool:
    text, start, end = plan.parse.text, plan.parse.starts[i], plan.parse.ends[i]
    return text[end : end + 1] in ("-", "–") or (start > 0 and text[start - 1] in ("-", "–"))
