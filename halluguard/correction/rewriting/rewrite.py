"""Correct a text by its verdicts: the smallest edits that leave sentences and lose no true object.

    flip yes or no  <  another number, colour or side  <  a list member  <  a phrase or clause  <  the sentence

Only contradicted claims are edited. Everything works on one parse, every edit names the verdicts that caused it, and
bytes outside the edits stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from halluguard.correction import kinds
from halluguard.correction.rewriting import hedging_and_annotation, withdrawals
from halluguard.correction.rewriting.block_edits import BlockEditor
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.rewriting.other_languages import OtherLanguages
from halluguard.correction.rewriting.sentences import SentenceEdits
from halluguard.correction.rewriting.token_editor import Span
from halluguard.correction.rewriting.totals import correct_totals
from halluguard.correction.rewriting.yes_no import YesNoRewriter
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.reading import parse_each, parse_many, readable
from halluguard.errors import HalluguardError, SettingsError
from halluguard.records import Claim, Edit, Verdict, apply_edits

if TYPE_CHECKING:
    from spacy.language import Language

FALLBACK = "Nothing that the answer named could be confirmed in the picture."
Style = Literal["delete", "drop", "hedge", "annotate"]
_WIDER = 3
"""Number of cuts of a sentence that are read again, from the smallest up, before it is cut in part or given up."""


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
        style: "delete" removes and repairs, and flags a sentence that cannot be corrected without losing something
            true; "drop" deletes such a sentence and states its other objects again; "hedge" writes "possibly" before
            what is contradicted; "annotate" leaves the words alone and writes after each object where it was found,
            in pixels, or that it was not found.
        fallback: the text of an answer of which no sentence is left.
        parse: the parse of the text, if available.
        nlp: a spaCy pipeline; default the best one installed.

    Returns:
        `(corrected, edits)` with `apply_edits(text, edits) == corrected`.

    Raises:
        SettingsError: unknown style.
        BudgetError: the budget of the parse is used up.
    """
    contradicted = any(verdict.decision == "contradicted" for verdict in verdicts)
    if style in get_args(Style) and not contradicted and style != "annotate":
        return text, []
    parse = parse or next(parse_many([readable(text)], nlp=nlp))
    (rewritten,) = rewrite_many([parse], [claims], [verdicts], style=style, fallbacks=[fallback], nlp=nlp)
    return rewritten


def rewrite_many(
    parses: Sequence[Parse],
    claims: Sequence[Sequence[Claim]],
    verdicts: Sequence[Sequence[Verdict]],
    *,
    style: Style = "delete",
    fallbacks: Sequence[str] | None = None,
    nlp: Language | None = None,
) -> list[tuple[str, list[Edit]]]:
    """`rewrite` for N texts, faster than one by one: the edited texts are read again together.

    Args:
        fallbacks: N texts, each for an answer of which no sentence is left; see `correction.emptied`.
    """
    rewritten = rewrite_each(parses, claims, verdicts, style=style, fallbacks=fallbacks, nlp=nlp)
    for one in rewritten:
        if isinstance(one, HalluguardError):
            raise one
    return [one for one in rewritten if not isinstance(one, HalluguardError)]


def rewrite_each(
    parses: Sequence[Parse],
    claims: Sequence[Sequence[Claim]],
    verdicts: Sequence[Sequence[Verdict]],
    *,
    style: Style = "delete",
    fallbacks: Sequence[str] | None = None,
    nlp: Language | None = None,
) -> list[tuple[str, list[Edit]] | HalluguardError]:
    """`rewrite_many`, with the error in the place of a text that takes longer than its budget."""
    if style not in get_args(Style):
        raise SettingsError(f"style must be one of {get_args(Style)}, got {style!r}; choose one")
    begun = [
        _begun(parse, of_text, judged, style, fallback)
        for parse, of_text, judged, fallback in zip(
            parses, claims, verdicts, fallbacks or [FALLBACK] * len(parses), strict=True
        )
    ]
    for tries_left in reversed(range(-1, _WIDER)):
        texts = begun
        previews = parse_each(
            ((words, text.budget) for text in texts if isinstance(text, _Rewriting) for words in text.previews),
            nlp=nlp,
            english=True,
        )
        begun = [
            _checked(text, previews, try_wider=tries_left > 0) if isinstance(text, _Rewriting) else text
            for text in texts
        ]
    return [_finished(text) if isinstance(text, _Rewriting) else text for text in begun]


def _begun(
    parse: Parse, claims: Sequence[Claim], verdicts: Sequence[Verdict], style: Style, fallback: str
) -> _Rewriting | HalluguardError:
    budget = parse.budget.copy()
    try:
        with budget.running():
            return _Rewriting(replace(parse, budget=budget), claims, verdicts, style, fallback)
    except HalluguardError as error:
        return error


def _checked(
    text: _Rewriting, previews: Iterator[Parse | HalluguardError], *, try_wider: bool
) -> _Rewriting | HalluguardError:
    read = [next(previews) for _ in text.previews]
    for one in read:
        if isinstance(one, HalluguardError):
            return one
    try:
        with text.budget.running():
            text.check([one for one in read if isinstance(one, Parse)], try_wider=try_wider)
    except HalluguardError as error:
        return error
    return text


def _finished(text: _Rewriting) -> tuple[str, list[Edit]] | HalluguardError:
    try:
        with text.budget.running():
            return text.finish()
    except HalluguardError as error:
        return error


class _Rewriting:
    """One text under correction: its edits are made, read again, and kept or withdrawn.

    Args:
        previews: edited sentences that are to be read again.
    """

    def __init__(
        self, parse: Parse, claims: Sequence[Claim], verdicts: Sequence[Verdict], style: Style, fallback: str
    ) -> None:
        self.parse, self.fallback, self.budget = parse, fallback, parse.budget
        self.contradicted = tuple(i for i, v in enumerate(verdicts) if v.decision == "contradicted")
        self.blocks: BlockEditor | None = None
        self.sentences: SentenceEdits | None = None
        self.previews: list[str] = []
        self.plan: EditPlan | None = None
        self.settled: set[int] = set()  # claims that a turned yes or no takes care of
        if not self.contradicted and style != "annotate":
            return
        self.others = OtherLanguages(parse, claims, verdicts)
        self.verdicts = verdicts
        self.plan = EditPlan(parse, claims, self.others.english(), careful=style == "delete")
        if style == "annotate":
            hedging_and_annotation.annotate(self.plan)
        elif style == "hedge":
            hedging_and_annotation.hedge(self.plan)
        else:
            self._delete(self.plan)

    def _delete(self, plan: EditPlan) -> None:
        """Make the edits of style "delete", except for blocks that end up empty."""
        self.settled = YesNoRewriter(plan).settle()
        cuts: dict[int, int] = {}
        for i in plan.wrong:
            index = plan.verdicts[i].claim
            claim = plan.claims[index]
            repair = kinds.KINDS[claim.kind].repair
            if index not in self.settled and claim.modality != "question" and repair is not None:
                cuts |= repair(plan, i)
        plan.affirmed = frozenset(i for i in range(len(self.parse)) if not plan.editor.alive(i))
        heads = plan.doomed() | cuts
        proper = {token: why for token, why in heads.items() if plan.proper(token)}
        for sentence in sorted({self.parse.sentence[token] for token in proper}):
            plan.flag(sentence, proper, "it is part of a name")
        heads = {token: why for token, why in heads.items() if token not in proper}
        gone = set[int]()
        if self.parse.document is not None:
            self.blocks = BlockEditor(plan, self.parse.document, heads)
            gone = self.blocks.remove_named()
            self.blocks.gone += self.others.gone
            self.blocks.causes += self.others.causes
        self.sentences = SentenceEdits(plan, heads, gone)
        self.previews = list(self.sentences.previews.values())

    def check(self, previews: Sequence[Parse], *, try_wider: bool) -> None:
        """Withdraw the cuts that do not read well; `previews` are then those of wider cuts.

        Args:
            previews: the parses of `previews`.
            try_wider: whether wider cuts will be read again, too.
        """
        if self.sentences is not None:
            self.sentences.check(previews, try_wider=try_wider)
            self.previews = list(self.sentences.previews.values())

    def finish(self) -> tuple[str, list[Edit]]:
        """The corrected text and its edits."""
        text, plan = self.parse.text, self.plan
        if plan is None:
            return text, []
        if self.sentences is not None:
            self.sentences.finish()
            correct_totals(plan)
        spans: list[Span] = []
        if self.blocks is not None:
            self.blocks.remove_empty()
            if self.blocks.nothing_left():
                self.blocks.put_fallback(self.fallback, self.contradicted)
            spans = sorted([*self.blocks.spans(), *self.others.spans], key=lambda span: span.start)
        corrected, edits = plan.editor.edits(spans)
        if self.blocks is None and not any(ch.isalnum() for ch in corrected) and edits:
            return self.fallback, [Edit(0, len(text), text, self.fallback, self.contradicted, "no sentence was left")]
        edits = [replace(edit, reason=_reason(edit, self.verdicts)) for edit in edits]
        flags = [*plan.flags, *self.others.flags] if self.sentences is not None else plan.flags
        if self.parse.document is not None and self.sentences is not None:
            edits = withdrawals.withdrawn(text, self.parse.document, edits)
            flags = [*flags, *withdrawals.left_over(plan)]
            corrected = apply_edits(text, edits)
        if self.sentences is not None:
            flags = [*flags, *withdrawals.unedited(plan, self.settled, [*edits, *flags])]
        return corrected, sorted([*edits, *_apart(flags, edits)], key=lambda edit: (edit.start, edit.end))


def _apart(flags: Sequence[Edit], edits: Sequence[Edit]) -> list[Edit]:
    """The flags that overlap neither an edit nor an earlier flag."""
    apart: list[Edit] = []
    for flag in flags:
        if all(flag.end <= other.start or other.end <= flag.start for other in [*edits, *apart]):
            apart.append(flag)
    return apart


def _reason(edit: Edit, verdicts: Sequence[Verdict]) -> str:
    return "; ".join(dict.fromkeys(verdicts[i].reason for i in edit.verdicts))
