"""Claims of an answer about its picture, with exact spans, read by rules from one parse.

    extract("Two dogs and possibly a red car.")
      existence "dogs" · count "Two dogs" = 2 · existence "car", hedged · attribute "red car" = red

A relation ("a cup on a table") and an answer ("Yes", to a question) are claims of their own as well.

Nothing here needs a language model. An existence claim is made per mention, so that a text's objects can be counted;
later mentions of the same thing point to the first by `same_as`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Literal

from halluguard.correction.claims import attributes, coreference, counts, mentions, modality, relations, yes_no
from halluguard.correction.claims.mentions import Mention
from halluguard.correction.claims.predicates import Reading
from halluguard.correction.text.parse import Parse, parse_many, readable
from halluguard.errors import HalluguardError
from halluguard.records import Claim


def extract(answer: str, query: str | None = None, *, nlp: Any = None) -> list[Claim]:
    """The claims of one answer: the existence claims in reading order, then the others.

    Args:
        answer: English text; spans of the claims index into exactly this string.
        query: the question it answers, needed to read "Yes", "No" and fragments.
        nlp: a spaCy pipeline with tagger and parser; default the best one installed.

    Returns:
        `Claim` records with `answer[claim.start:claim.end] == claim.phrase`. Indices inside them (`subject`, `other`,
        `same_as`) point into this list.

    Raises:
        InputError: not a string, longer than 200,000 characters, or not valid Unicode.
        MissingExtraError: no English spaCy pipeline is installed.

    >>> [(c.kind, c.phrase, c.name) for c in extract("A man rides two horses.")][:2]
    [('existence', 'man', 'man'), ('existence', 'horses', 'horse')]
    """
    (claims,) = extract_many([answer], [query], nlp=nlp)
    return claims  # type: ignore[return-value]  # errors="raise" yields lists only


def extract_many(
    texts: Iterable[str],
    queries: Iterable[str | None] | None = None,
    *,
    batch_size: int = 64,
    nlp: Any = None,
    errors: Literal["raise", "yield"] = "raise",
) -> Iterator[list[Claim] | HalluguardError]:
    """The claims of a stream of answers, in order, in flat memory. What one text gives never depends on the others.

    Args:
        texts: answers; read `batch_size` at a time.
        queries: their questions, one per text, None where there is none.
        batch_size: texts parsed together; 16 to 128 are equally fast.
        errors: "raise" at a text that cannot be read, or "yield" the error in its place and go on.
    """
    for parse, query in parses(texts, queries, batch_size=batch_size, nlp=nlp, errors=errors):
        yield parse if isinstance(parse, HalluguardError) else from_parse(parse, query, nlp=nlp)


def parses(
    texts: Iterable[str],
    queries: Iterable[str | None] | None = None,
    *,
    batch_size: int = 64,
    nlp: Any = None,
    errors: Literal["raise", "yield"] = "raise",
) -> Iterator[tuple[Parse | HalluguardError, str | None]]:
    """The parse (or the error) and the question of each text: what `extract_many` reads its claims from."""
    stream = iter(texts)
    questions = iter(queries) if queries is not None else None
    while shard := list(islice(stream, batch_size)):
        asked = [next(questions) for _ in shard] if questions is not None else [None] * len(shard)
        checked: list[str | HalluguardError] = []
        for text in shard:
            try:
                checked.append(readable(text))
            except HalluguardError as error:
                if errors == "raise":
                    raise
                checked.append(error)
        good = parse_many([text for text in checked if isinstance(text, str)], batch_size=batch_size, nlp=nlp)
        for item, query in zip(checked, asked, strict=True):
            yield (next(good) if isinstance(item, str) else item), query


def from_parse(parse: Parse, query: str | None = None, *, nlp: Any = None) -> list[Claim]:
    """The claims of a parsed answer."""
    reading = Reading.of(parse, mentions.find(parse))
    existence = [_existence(parse, mention) for mention in reading.mentions]
    for n, first in coreference.repeats(parse, reading.mentions).items():
        existence[n] = replace(existence[n], same_as=first)
    counted = [claim for n, mention in enumerate(reading.mentions) for claim in _count(parse, mention, existence[n], n)]
    asked = partial(_asked, query, nlp) if query else None
    return [
        *existence,
        *counted,
        *attributes.read(reading, existence),
        *relations.read(reading, existence),
        *(claim for n, mention in enumerate(reading.mentions) for claim in _placed(parse, mention, existence[n], n)),
        *yes_no.read(parse, existence, asked),
    ]


def _asked(query: str, nlp: Any) -> tuple[Parse, list[Claim]]:
    return _read_question(readable(query)) if nlp is None else _read_question.__wrapped__(query, nlp)


@lru_cache(maxsize=4096)
def _read_question(query: str, nlp: Any = None) -> tuple[Parse, list[Claim]]:
    (parse,) = parse_many([query], nlp=nlp)
    return parse, from_parse(parse)


def _existence(parse: Parse, mention: Mention) -> Claim:
    kind, side = modality.modality(parse, mention), modality.polarity(parse, mention)
    if kind == "disjunctive" and side == "denied":
        kind = "asserted"  # "no cars or bikes" denies both
    others = modality.alternatives(parse, mention.last) if kind == "disjunctive" else []
    return Claim(
        kind="existence",
        phrase=parse.span(mention.first, mention.last),
        name=mention.name,
        start=parse.starts[mention.first],
        end=parse.ends[mention.last],
        sentence=parse.sentence[mention.last],
        polarity=side,
        modality=kind,
        alternatives=tuple(mentions.singular(parse.words[i]) for i in others),
        source_rule=mention.rule,
        category=mention.category,
        written_box=next(iter(parse.boxes.get(mention.last, ())), None),
    )


def _placed(parse: Parse, mention: Mention, existence: Claim, index: int) -> list[Claim]:
    """One claim per box that the answer writes for a mention: relation "at"."""
    return [
        replace(existence, kind="relation", relation="at", source_rule="written box", subject=index, written_box=box)
        for box in parse.boxes.get(mention.last, ())
    ]


def _count(parse: Parse, mention: Mention, existence: Claim, index: int) -> list[Claim]:
    quantity = None if mention.part or mention.rule == "stuff" else counts.quantity(parse, mention.last)
    if quantity is None or quantity.count == 0 or existence.polarity == "denied":
        return []
    first, last = min(quantity.first, mention.first), max(quantity.last, mention.last)
    return [
        replace(
            existence,
            kind="count",
            phrase=parse.span(first, last),
            start=parse.starts[first],
            end=parse.ends[last],
            count=quantity.count,
            bound=quantity.bound,
            source_rule="vague" if quantity.vague else "total" if counts.total(parse, mention.last) else "numeral",
            subject=index,
            trigger=(parse.starts[quantity.first], parse.ends[quantity.last]),
        )
    ]
