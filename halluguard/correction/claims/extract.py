"""Claims of an answer about its image, with exact spans, read by rules from one parse.

    extract("Two dogs and possibly a red car.")
      existence "dogs" · count "Two dogs" = 2 · existence "car", hedged · attribute "red car" = red

A relation ("a cup on a table") and an answer ("Yes", to a question) are claims of their own as well.

No language model is needed. `halluguard.correction.kinds` lists the kinds of claims and the module that reads each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Literal

from halluguard.correction import kinds
from halluguard.correction.claims import other_languages, yes_no
from halluguard.correction.claims.predicates import ParsedAnswer, ParsedQuestion
from halluguard.correction.text.budget import MAX_SECONDS, Budget
from halluguard.correction.text.parse import Parse
from halluguard.correction.text.reading import parse_each, parse_many, readable
from halluguard.errors import HalluguardError
from halluguard.records import Claim

if TYPE_CHECKING:
    from spacy.language import Language


def extract(
    answer: str, query: str | None = None, *, nlp: Language | None = None, budget: float = MAX_SECONDS
) -> list[Claim]:
    """The claims of one answer: the existence claims in reading order, then the others.

    Args:
        answer: English text; spans of the claims index into exactly this string.
        query: the question it answers, needed to read "Yes", "No" and fragments.
        nlp: a spaCy pipeline with tagger and parser; default the best one installed.
        budget: processor seconds that reading the answer may take.

    Returns:
        `Claim` records with `answer[claim.start:claim.end] == claim.phrase`. Indices inside them (`subject`, `other`,
        `same_as`) point into this list.

    Raises:
        InputError: not a string, longer than 200,000 characters, or not valid Unicode.
        BudgetError: reading takes longer than the budget.
        MissingExtraError: no English spaCy pipeline is installed.

    >>> [(c.kind, c.phrase, c.name) for c in extract("A man rides two horses.")][:2]
    [('existence', 'man', 'man'), ('existence', 'horses', 'horse')]
    """
    ((parse, _),) = parses([answer], nlp=nlp, budget=budget)
    assert isinstance(parse, Parse)
    return from_parse(parse, query, nlp=nlp)


def extract_many(
    texts: Iterable[str],
    queries: Iterable[str | None] | None = None,
    *,
    batch_size: int = 64,
    nlp: Language | None = None,
    errors: Literal["raise", "yield"] = "raise",
    budget: float = MAX_SECONDS,
) -> Iterator[list[Claim] | HalluguardError]:
    """The claims of a stream of answers, in order, in flat memory. What one text gives never depends on the others.

    Args:
        texts: answers; read `batch_size` at a time.
        queries: their questions, one per text, None where there is none.
        batch_size: texts parsed together; 16 to 128 are equally fast.
        errors: "raise" at a text that cannot be read, or "yield" the error in its place and go on.
        budget: processor seconds that reading one text may take.
    """
    for parse, query in parses(texts, queries, batch_size=batch_size, nlp=nlp, errors=errors, budget=budget):
        claims = parse if isinstance(parse, HalluguardError) else claims_or_error(parse, query, nlp=nlp)
        if isinstance(claims, HalluguardError) and errors == "raise":
            raise claims
        yield claims


def claims_or_error(
    parse: Parse, query: str | None = None, *, nlp: Language | None = None
) -> list[Claim] | HalluguardError:
    """The claims of a parsed answer, or why they cannot be read."""
    try:
        return from_parse(parse, query, nlp=nlp)
    except HalluguardError as error:
        return error


def parses(
    texts: Iterable[str],
    queries: Iterable[str | None] | None = None,
    *,
    batch_size: int = 64,
    nlp: Language | None = None,
    errors: Literal["raise", "yield"] = "raise",
    budget: float = MAX_SECONDS,
) -> Iterator[tuple[Parse | HalluguardError, str | None]]:
    """The parse (or the error) and the question of each text: what `extract_many` reads its claims from."""
    stream = iter(texts)
    questions = iter(queries) if queries is not None else repeat(None)
    while shard := list(islice(stream, batch_size)):
        shard_queries = [next(questions) for _ in shard]
        checked = [_checked(text, Budget(budget)) for text in shard]
        if errors == "raise" and (failed := next((one for one in checked if isinstance(one, HalluguardError)), None)):
            raise failed
        good = parse_each((one for one in checked if isinstance(one, tuple)), batch_size=batch_size, nlp=nlp)
        for item, query in zip(checked, shard_queries, strict=True):
            parse = next(good) if isinstance(item, tuple) else item
            if errors == "raise" and isinstance(parse, HalluguardError):
                raise parse
            yield parse, query


def _checked(text: str, budget: Budget) -> tuple[str, Budget] | HalluguardError:
    """A text that can be read, with what is left of its budget."""
    try:
        with budget.running():
            return readable(text), budget
    except HalluguardError as error:
        return error


def from_parse(parse: Parse, query: str | None = None, *, nlp: Language | None = None) -> list[Claim]:
    """The claims of a parsed answer.

    Raises:
        BudgetError: the budget of the parse is used up.
    """
    with parse.budget.running():
        answer = ParsedAnswer.of(parse, partial(_question, query, nlp) if query else None)
        existence = kinds.KINDS["existence"].extract(answer, ())
        others = (kind.extract(answer, existence) for name, kind in kinds.KINDS.items() if name != "existence")
        claims = [*existence, *chain.from_iterable(others)]
        return [*claims, *other_languages.read(parse, query, len(claims))]


def asked_for(query: str | None, *, nlp: Language | None = None) -> list[Claim]:
    """What a yes to the question would claim; nothing where it is no question of yes or no."""
    return yes_no.question(*_question(query, nlp)) if query else []


def _question(query: str, nlp: Language | None) -> ParsedQuestion:
    return _parsed_question(readable(query)) if nlp is None else _parsed_question.__wrapped__(query, nlp)


@lru_cache(maxsize=4096)
def _parsed_question(query: str, nlp: Language | None = None) -> ParsedQuestion:
    (parse,) = parse_many([query], nlp=nlp)
    return parse, from_parse(parse)
