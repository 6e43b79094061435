"""Existence claims: one per mention, so that a text's objects can be counted."""

from __future__ import annotations

from collections.abc import Sequence

from halluguard.correction.claims import coreference, modality, polarity
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.budget import check_now
from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim
from halluguard.vocabulary import singular

_GENERIC = words("generic")


def read(answer: ParsedAnswer, existence: Sequence[Claim] = ()) -> list[Claim]:
    """One claim per mention: claim n is about mention n. A repeated mention points to the first by `same_as`."""
    first = coreference.repeats(answer.parse, answer.mentions)
    return [_claim(answer.parse, mention, first.get(n)) for n, mention in enumerate(answer.mentions)]


def _claim(parse: Parse, mention: Mention, same_as: int | None) -> Claim:
    check_now()
    side = polarity.polarity(parse, mention)
    manner = modality.modality(parse, mention, side)
    if manner == "disjunctive" and side == "denied":
        manner = "asserted"  # "no cars or bikes" denies both
    others = modality.alternatives(parse, mention.last) if manner == "disjunctive" else []
    return Claim(
        kind="existence",
        phrase=parse.span(mention.first, mention.last),
        name=mention.name,
        start=parse.starts[mention.first],
        end=parse.ends[mention.last],
        sentence=parse.sentence[mention.last],
        polarity=side,
        modality=manner,
        alternatives=tuple(singular(parse.words[i]) for i in others if parse.words[i] not in _GENERIC),
        source_rule=mention.rule,
        category=mention.category,
        same_as=same_as,
        written_box=next(iter(parse.boxes.get(mention.last, ())), None),
    )
