"""Correct a text by its verdicts: the smallest edits that leave sentences and lose no true object.

    flip yes or no  <  another number, colour or side  <  a list member  <  a phrase or clause  <  the sentence

Only contradicted claims are edited. Everything works on one parse, every edit names the verdicts that caused it, and
bytes outside the edits stay as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from halluguard.correction import kinds
from halluguard.correction.rewriting import hedging_and_annotation
from halluguard.correction.rewriting.block_edits import BlockEditor
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.sentences import correct_sentences
from halluguard.correction.rewriting.token_editor import Span
from halluguard.correction.rewriting.yes_no import YesNoRewriter
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.reading import parse_many, readable
from halluguard.errors import SettingsError
from halluguard.records import Claim, Edit, Verdict

if TYPE_CHECKING:
    from spacy.language import Language

FALLBACK = "Nothing that the answer named could be confirmed in the picture."
Style = Literal["delete", "hedge", "annotate"]


def rewrite(
    text: str,
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    *,
    style: Style = "delete",
    fallback: str = FALLBACK,
    parse: Parse | None = None,
    nlp: Language | None = None,
) -> tuple[str, list[Edit]]:
    """The corrected text and the edits that lead to it; the text itself and no edits when nothing is contradicted.

    Args:
        text: the answer that the claims were read from.
        claims, verdicts: from `extract` and `verify`; `verdict.claim` indexes the claims.
        style: "delete" removes and repairs; "hedge" writes "possibly" before what is contradicted; "annotate" leaves
            the words alone and writes after each object where it was found, in pixels, or that it was not found.
        fallback: the text of an answer of which no sentence is left.
        parse: the parse of the text, if at hand.
        nlp: a spaCy pipeline; default the best one installed.

    Returns:
        `(corrected, edits)` with `apply_edits(text, edits) == corrected`.

    Raises:
        SettingsError: unknown style.
    """
    if style not in get_args(Style):
        raise SettingsError(f"style must be one of {get_args(Style)}, got {style!r}")
    contradicted = tuple(i for i, v in enumerate(verdicts) if v.decision == "contradicted")
    if not contradicted and style != "annotate":
        return text, []
    parse = parse or next(parse_many([readable(text)], nlp=nlp))
    plan = EditPlan(parse, claims, verdicts)
    blocks: BlockEditor | None = None
    if style == "annotate":
        hedging_and_annotation.annotate(plan)
    elif style == "hedge":
        hedging_and_annotation.hedge(plan)
    else:
        blocks = _delete(plan, nlp)
    spans: list[Span] = []
    if blocks is not None:
        blocks.remove_empty()
        if blocks.nothing_left():
            blocks.put_fallback(fallback, contradicted)
        spans = blocks.spans()
    corrected, edits = plan.editor.edits(spans)
    if blocks is None and not any(ch.isalnum() for ch in corrected) and edits:
        return fallback, [Edit(0, len(text), text, fallback, contradicted, "no sentence was left")]
    edits = [replace(edit, reason=_reason(edit, verdicts)) for edit in edits]
    return corrected, sorted([*edits, *_apart(plan.flags, edits)], key=lambda edit: (edit.start, edit.end))


def _apart(flags: Sequence[Edit], edits: Sequence[Edit]) -> list[Edit]:
    """The flags that overlap neither an edit nor an earlier flag."""
    apart: list[Edit] = []
    for flag in flags:
        if all(flag.end <= other.start or other.end <= flag.start for other in [*edits, *apart]):
            apart.append(flag)
    return apart


def _reason(edit: Edit, verdicts: Sequence[Verdict]) -> str:
    return "; ".join(dict.fromkeys(verdicts[i].reason for i in edit.verdicts))


def _delete(plan: EditPlan, nlp: Language | None) -> BlockEditor | None:
    """Make all edits of style "delete" but those of blocks that are left empty."""
    settled = YesNoRewriter(plan).settle()
    cuts: dict[int, int] = {}
    for i in plan.wrong:
        index = plan.verdicts[i].claim
        claim = plan.claims[index]
        if index in settled or claim.modality == "question":
            continue
        repair = kinds.KINDS[claim.kind].repair
        if repair is not None:
            cuts |= repair(plan, i)
    heads = plan.doomed() | cuts
    blocks = BlockEditor(plan, plan.parse.document, heads) if plan.parse.document is not None else None
    settled = blocks.remove_named() if blocks is not None else set()
    correct_sentences(plan, heads, nlp, settled)
    return blocks
