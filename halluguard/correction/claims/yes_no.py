"""Answers "yes" and "no": they claim what the question asks.

"Is there a dog in the image?"   "Yes"                     answer claim: a dog, asserted
"Is the car red?"                "No, it is blue."         answer claim: the car is red, denied
(no question)                    "Yes, there is a dog."    answer claim: a dog, asserted, restated after the word
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim, Polarity

YES = frozenset(("yes", "yeah", "yep", "yup"))
NO = frozenset(("no", "nope", "nah"))
_OPENERS = frozenset((
    "is", "are", "was", "were", "do", "does", "did", "can", "could", "has", "have", "will", "would", "isn't", "aren't",
))  # fmt: skip


def word(parse: Parse) -> int | None:
    """The token that answers yes or no: the first word of the text, when it stands as an answer."""
    if not len(parse) or parse.words[0] not in YES | NO:
        return None
    # "No dogs are visible" is a sentence about dogs.
    follows = parse.words[1] if len(parse) > 1 else ""
    alone = len(parse) == 1 or follows in (",", ".", "!", ";", ":", "-", "–", "—") or parse.sentence[1] > 0
    return 0 if alone or parse.words[0] not in ("no",) else None


def read(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """The answer claim, if the text answers yes or no to something that can be judged."""
    parse = answer.parse
    token = word(parse)
    if token is None:
        return []
    side: Polarity = "asserted" if parse.words[token] in YES else "denied"
    own = next((n for n, c in enumerate(existence) if c.sentence == 0), None)
    proposition = question(*answer.question()) if answer.question is not None else None
    if proposition is None:
        if own is None or existence[own].polarity != side:
            return []
        proposition = existence[own]
    restated = own if own is not None and existence[own].name == proposition.name else None
    return [
        replace(
            proposition,
            kind="answer",
            phrase=parse.span(token, token),
            start=parse.starts[token],
            end=parse.ends[token],
            sentence=0,
            polarity=side,
            modality="asserted",
            source_rule="question" if answer.question is not None else "restated",
            subject=restated,
            other=None,
            trigger=None,
            same_as=None,
        )
    ]


def question(parse: Parse, claims: Sequence[Claim]) -> Claim | None:
    """The claim that a yes-no question asks about; None when it asks something else.

    Of several claims the most specific counts: claims stand in the order of the table of kinds, existence first.
    """
    sentence = next((n for n, (_, end) in enumerate(parse.sentences) if parse.words[end - 1] == "?"), None)
    if sentence is None:
        if len(parse.sentences) != 1:
            return None
        sentence = 0
    first = parse.sentences[sentence][0]
    if parse.words[first] not in _OPENERS:
        return None
    inside = [c for c in claims if c.sentence == sentence]
    if any(c.polarity == "denied" for c in inside):
        return None  # "Is there no dog?": yes and no both mean either
    return next((c for c in inside if c.kind == inside[-1].kind), None)
