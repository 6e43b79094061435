"""Edits of blocks in other languages, made by the extractors of `correction/languages/`.

A block whose words are all deleted is removed with its marker, like an English block; if that is impossible, it is
flagged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from halluguard.correction.rewriting.token_editor import Span
from halluguard.correction.text.budget import check_now
from halluguard.correction.text.document import Block, Document
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.passages import Passage, passages
from halluguard.records import Claim, Edit, Verdict


class OtherLanguages:
    """The edits of an answer's blocks in other languages.

    Args:
        spans: characters that change inside blocks.
        gone: blocks that go whole.
        flags: contradicted words that stay.
        causes: place and verdicts of each block that goes.
    """

    def __init__(self, parse: Parse, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> None:
        self.claims, self.verdicts = claims, verdicts
        self.spans: list[Span] = []
        self.gone: list[Block] = []
        self.flags: list[Edit] = []
        self.causes: list[tuple[int, int, frozenset[int]]] = []
        self.passages: list[Passage] = []
        if parse.document is None or not parse.document.in_other_languages():
            return
        self.document: Document = parse.document
        self.parent = dict(_parents(parse.document.root))
        self.passages = passages(parse.document)
        for passage in self.passages:
            check_now()
            self._correct(passage)
        if len(self.gone) == len(self.passages) and not parse.leaves:
            self._keep_all()

    def english(self) -> list[Verdict]:
        """The verdicts for the rules of English: those on other languages are made neutral."""
        return [
            replace(v, decision="unverifiable") if self._passage(self.claims[v.claim]) is not None else v
            for v in self.verdicts
        ]

    def _passage(self, claim: Claim) -> Passage | None:
        return next((passage for passage in self.passages if passage.holds(claim.start, claim.end)), None)

    def _correct(self, passage: Passage) -> None:
        numbers = [n for n, v in enumerate(self.verdicts) if passage.holds(*_place(self.claims[v.claim]))]
        if not any(self.verdicts[n].decision == "contradicted" for n in numbers):
            return
        indices = [self.verdicts[n].claim for n in numbers]
        claims = [_inside(passage, self.claims[i], indices) for i in indices]
        judged = [replace(self.verdicts[n], claim=local) for local, n in enumerate(numbers)]
        for edit in passage.extractor.correct(passage.words.text, claims, judged):
            why = frozenset(numbers[i] for i in edit.verdicts)
            place = passage.whole(edit.start, edit.end)
            if edit.decision == "flagged":
                self._flag(*passage.place(edit.start, edit.end), why, "no sound edit takes it away")
            elif _takes_all(passage, edit):
                self._remove(passage.block, why)
            elif place is None:
                self._flag(*passage.place(edit.start, edit.end), why, "it would tear the markup")
            else:
                self.spans.append(Span(*place, edit.after, why))

    def _remove(self, block: Block, why: frozenset[int]) -> None:
        """Remove a block with its marker; a line of a paragraph goes with the space that parts it from the next."""
        unit, above = block if block.removable else None, self.parent[id(block)]
        while above.removable and len(above.children) == 1:
            unit, above = above, self.parent[id(above)]
        if unit is not None and above.kind not in ("member", "pair", "item", "cell", "row"):
            self.gone.append(unit)
            self.causes.append((*unit.outer, why))
        elif above.kind == "paragraph" and len(above.children) > 1:
            lines = above.children
            n = next(n for n, line in enumerate(lines) if line is block)
            end = lines[n + 1].outer[0] if n + 1 < len(lines) else block.outer[1]
            self.spans.append(Span(block.outer[0] if n + 1 < len(lines) else lines[n - 1].outer[1], end, "", why))
        else:
            self._flag(block.start, block.end, why, "its entry would be left without words")

    def _keep_all(self) -> None:
        """Flags that replace edits after which no words would be left."""
        for start, end, why in self.causes:
            self._flag(start, end, why, "nothing would be left of the answer")
        self.gone, self.causes = [], []

    def _flag(self, start: int, end: int, why: frozenset[int], reason: str) -> None:
        words = self.document.text[start:end]
        reasons = "; ".join(dict.fromkeys(self.verdicts[n].reason for n in sorted(why)))
        note = f"{reasons}; left as it was: {reason}"
        self.flags.append(Edit(start, end, words, words, tuple(sorted(why)), note, "flagged"))


def _parents(block: Block) -> Iterator[tuple[int, Block]]:
    for child in block.children:
        yield id(child), block
        yield from _parents(child)


def _place(claim: Claim) -> tuple[int, int]:
    return claim.start, claim.end


def _inside(passage: Passage, claim: Claim, indices: Sequence[int]) -> Claim:
    """A claim with its places and indices as the extractor gave them."""
    start, end = passage.words_at(claim.start), passage.words_at(claim.end - 1) + 1
    trigger = None
    if claim.trigger is not None:
        trigger = passage.words_at(claim.trigger[0]), passage.words_at(claim.trigger[1] - 1) + 1
    subject = indices.index(claim.subject) if claim.subject in indices else None
    return replace(
        claim, phrase=passage.words.text[start:end], start=start, end=end, trigger=trigger, subject=subject, other=None
    )


def _takes_all(passage: Passage, edit: Edit) -> bool:
    rest = passage.words.text[: edit.start] + edit.after + passage.words.text[edit.end :]
    return not any(sign.isalnum() for sign in rest)
