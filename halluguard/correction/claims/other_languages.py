"""Claims of blocks in other languages, read by the extractors of `correction/languages/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from halluguard.correction.text.budget import check_now
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.passages import passages
from halluguard.records import Claim


def read(parse: Parse, question: str | None, first: int) -> Iterator[Claim]:
    """The claims of all blocks in other languages, in reading order, with spans in the answer.

    Args:
        parse: the parse of the answer.
        question: the question that was asked; it is put to the extractor of the block that opens the answer.
        first: the number of claims before these.
    """
    document = parse.document
    if document is None or not document.in_other_languages():
        return
    opens = next((leaf for leaf in document.root.leaves() if leaf.reads and leaf.start < leaf.end), None)
    sentence = len(parse.sentences)
    for passage in passages(document):
        check_now()
        answers = question if opens is not None and passage.holds(opens.start, opens.end) else None
        claims = passage.extractor.extract(passage.words.text, answers)
        for claim in claims:
            start, end = passage.place(claim.start, claim.end)
            yield replace(
                claim,
                phrase=document.text[start:end],
                start=start,
                end=end,
                sentence=claim.sentence + sentence,
                trigger=None if claim.trigger is None else passage.place(*claim.trigger),
                subject=_moved(claim.subject, first),
                other=_moved(claim.other, first),
                same_as=_moved(claim.same_as, first),
            )
        first += len(claims)
        sentence += 1 + max((claim.sentence for claim in claims), default=0)


def _moved(index: int | None, first: int) -> int | None:
    return None if index is None else index + first
