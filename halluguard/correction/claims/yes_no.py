"""Answers "yes" and "no": they claim what the question asks.

"Is there a dog in the image?"   "Yes"                     answer claim: a dog, asserted
"Is the car red?"                "No, it is blue."         answer claim: the car is red, denied
"Can you see a dog?"             "Absolutely!", "I do."    answer claim: a dog, asserted
(no question)                    "Yes, there is a dog."    answer claim: a dog, asserted, restated after the word
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from halluguard.correction.claims import polarity as polarities
from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim, Polarity

YES = frozenset(("yes", "yeah", "yep", "yup"))
NO = frozenset(("no", "nope", "nah"))
_AGREEING = frozenset("absolutely certainly definitely indeed sure surely correct right true affirmative".split())
_DISAGREEING = frozenset("incorrect wrong false negative".split())
"""Words that answer a question that was asked; elsewhere they say something else."""
_HELPING = frozenset("is are was were do does did can could has have 's 're ca".split())
_STAND_INS = frozenset("it they he she there i you we this that these those".split())
_NEGATIONS = frozenset("not n't".split())
_ONES = frozenset("one some any none".split())
_VERBS = frozenset((
    "is", "are", "was", "were", "do", "does", "did", "can", "could", "has", "have", "will", "would", "isn't", "aren't",
))  # fmt: skip
_ASKING = frozenset(("what", "which", "who", "whose", "where", "when", "why", "how"))
_MOST_PHRASES = 3
"""A question begins with its verb after at most two phrases."""
_LEADS = frozenset("the my final correct so therefore answer is would be to your question this".split())
_CONCLUDING = frozenset(("so", "therefore", "thus", "hence", "overall", "in", "conclusion"))
_LONGEST_LEAD = 12
_OPENING_MARKS = frozenset(("*", "**", "_", "__", "`", '"', "'", "“", "‘", "(", "-", "•"))
_CLAUSE_STARTS = frozenset(("EX", "PRP", "DT", "MD", "VBZ", "VBP", "VBD", "PRP$", "CC", "WDT"))


def word(parse: Parse, *, asked: bool = False) -> int | None:
    """The token that answers yes or no: it opens the text, is what "the answer is" says, or closes an argument.

    Args:
        asked: whether the text answers a question of yes or no; then "Absolutely!" and the like answer, too.
    """
    start = _start(parse)
    if start is None:
        return None
    opening = _opening(parse, start, asked=asked)
    return _conclusion(parse) if opening is None else opening


def _conclusion(parse: Parse) -> int | None:
    """The answer in the last sentence of an argument: "Therefore, yes.", "So the answer is: no.", "Yes"."""
    first, end = parse.sentences[-1]
    if first == 0:
        return None
    for i in range(first, min(first + _LONGEST_LEAD, end)):
        lead = {word for word in parse.words[first:i] if word.isalpha()}
        if not lead <= _LEADS | _CONCLUDING:
            return None
        if parse.words[i] in YES | NO:
            alone = not any(word.isalnum() for word in parse.words[first:i] + parse.words[i + 1 : end])
            concludes = alone or bool(lead & _CONCLUDING) or "answer" in lead
            closed = i + 1 == end or not parse.words[i + 1].isalnum()
            return i if concludes and closed else None
    return None


def _opening(parse: Parse, start: int, *, asked: bool) -> int | None:
    """The answer at the opening of a text."""
    if parse.words[start] in _LEADS:
        end = parse.sentences[parse.sentence[start]][1]
        for i in range(start, min(start + _LONGEST_LEAD, end)):
            if parse.words[i] in YES | NO and (i + 1 == end or not parse.words[i + 1].isalnum()):
                lead = [word for word in parse.words[start:i] if word.isalpha()]
                return i if "answer" in lead and set(lead) <= _LEADS else None
    follows = start + 1
    alone = follows >= len(parse) or parse.sentence[follows] > parse.sentence[start]
    alone = alone or not parse.words[follows].isalnum()
    if parse.words[start] not in YES | NO:
        return start if asked and alone and parse.words[start] in _AGREEING | _DISAGREEING else None
    # "No dogs are visible" is a sentence about dogs, "No there are not" is an answer.
    alone = alone or parse.tags[follows] in _CLAUSE_STARTS
    return start if alone or parse.words[start] != "no" else None


def _start(parse: Parse) -> int | None:
    """The first word of the answer, after its marks and the letter of a choice: "(A) Yes"."""
    start = next((i for i in range(len(parse)) if parse.words[i] not in _OPENING_MARKS), None)
    if start is not None and len(parse.words[start]) == 1 and parse.words[start + 1 : start + 2] == [")"]:
        start = next((i for i in range(start + 2, len(parse)) if parse.words[i] not in _OPENING_MARKS), None)
    return start


def _short_clause(parse: Parse) -> tuple[int, int] | None:
    """First and last token of a clause that answers like a word: "I do", "There isn't", "There is one"."""
    first, end = parse.sentences[0] if parse.sentences else (0, 0)
    tokens = [i for i in range(first, end) if parse.words[i].isalnum() or parse.words[i][0] in "n'"]
    words = [parse.words[i] for i in tokens]
    if len(words) < 2 or words[0] not in _STAND_INS or words[1] not in _HELPING:
        return None
    rest = words[2:]
    return (tokens[0], tokens[-1]) if set(rest) <= _NEGATIONS | _ONES and len(rest) < 3 else None


def _spoken(parse: Parse, *, asked: bool) -> tuple[int, int, Polarity] | None:
    """First and last token of what answers yes or no, and which of the two it says."""
    token = word(parse, asked=asked)
    if token is not None:
        return token, token, "denied" if parse.words[token] in NO | _DISAGREEING else "asserted"
    clause = _short_clause(parse) if asked else None
    if clause is None:
        return None
    negative = any(parse.words[i] in _NEGATIONS | {"none"} for i in range(clause[0], clause[1] + 1))
    return *clause, "denied" if negative else "asserted"


def read(answer: ParsedAnswer, existence: Sequence[Claim]) -> list[Claim]:
    """The answer claims, if the text answers yes or no to something that can be judged.

    Usually one claim; a yes to "a dog and a cat?" gives one claim per thing.
    """
    parse = answer.parse
    spoken = _spoken(parse, asked=answer.question is not None)
    if spoken is None:
        return []
    propositions = question(*answer.question()) if answer.question is not None else []
    if not propositions and parse.words[spoken[0]] not in YES | NO:
        return []  # "Indeed, a dog." to "What is on the couch?"
    first, last, polarity = spoken
    sentence = parse.sentence[first]
    in_sentence = [n for n, claim in enumerate(existence) if claim.sentence == sentence]
    own = in_sentence[0] if in_sentence else None
    if len(propositions) > 1 and polarity == "denied":
        return []  # which of them is missing is not said
    if propositions and polarity == "denied" and not _asks_for_presence(answer, propositions[0]):
        return []  # "Is the dog asleep?" "No": there is a dog
    if not propositions:
        if own is None or existence[own].polarity != polarity or not _of_main_clause(parse, existence[own]):
            return []
        propositions = [existence[own]]
    claims = []
    for proposition in propositions:
        names = {proposition.name, *proposition.alternatives}
        restated = next((n for n in in_sentence if existence[n].name in names), None)
        claims.append(
            replace(
                proposition,
                kind="answer",
                phrase=parse.span(first, last),
                start=parse.starts[first],
                end=parse.ends[last],
                sentence=sentence,
                polarity=polarity,
                modality="asserted",
                source_rule="question" if answer.question is not None else "restated",
                subject=restated,
                other=None,
                trigger=None,
                same_as=None,
            )
        )
    return claims


def _asks_for_presence(answer: ParsedAnswer, claim: Claim) -> bool:
    """Whether the question asks whether the thing is there, and nothing about it."""
    if answer.question is None or claim.kind != "existence":
        return True
    parse, _ = answer.question()
    noun = next((i for i in range(len(parse)) if parse.ends[i] == claim.end), None)
    return noun is None or polarities.only_present(parse, noun)


def _of_main_clause(parse: Parse, claim: Claim) -> bool:
    """Whether the clause after the answer says that the thing is there: no aside ("an issue for pipes")."""
    noun = next((i for i in range(len(parse)) if parse.ends[i] == claim.end), None)
    if noun is None:
        return False
    noun = parse.first_conjunct(noun)
    verb = parse.heads[noun]
    main = parse.deps[verb] in ("ROOT", "ccomp", "conj") or noun == verb
    return main and parse.deps[noun] in ("attr", "nsubj", "nsubjpass", "dobj", "ROOT", "expl", "npadvmod", "appos")


def question(parse: Parse, claims: Sequence[Claim]) -> list[Claim]:
    """The claims that a yes to the question makes, all of them; none when it asks something else.

    Of several claims about a thing the most specific counts: claims stand in the order of the table of kinds,
    existence first. A question with "or" makes one claim with alternatives, one with "and" a claim for each thing.
    """
    sentence = next((n for n, (_, end) in enumerate(parse.sentences) if parse.words[end - 1] == "?"), None)
    if sentence is None:
        if len(parse.sentences) != 1:
            return []
        sentence = 0
    if not _asks_yes_or_no(parse, sentence):
        return []
    inside = [c for c in claims if c.sentence == sentence]
    if not inside or any(c.polarity == "denied" for c in inside):
        return []  # "Is there no dog?": yes and no both mean either
    if inside[-1].kind != "existence":
        return [next(c for c in inside if c.kind == inside[-1].kind)]
    first = inside[0]
    listed = _listed_with(parse, inside)
    if len(listed) < 2:
        return [first]
    if any(parse.words[j] == "or" for token in listed for j in parse.children[token] if parse.deps[j] == "cc"):
        return [replace(first, alternatives=tuple(claim.name for claim in listed.values() if claim is not first))]
    return list(listed.values())


def _asks_yes_or_no(parse: Parse, sentence: int) -> bool:
    """Whether the sentence begins with a verb, or does so after a phrase: "In the image, is there a dog?"."""
    start, end = parse.sentences[sentence]
    begins = [start, *(i + 1 for i in range(start, end - 1) if parse.words[i] in (",", ":"))]
    return any(parse.words[i] in _VERBS for i in begins[:_MOST_PHRASES]) and parse.words[start] not in _ASKING


def _listed_with(parse: Parse, claims: Sequence[Claim]) -> dict[int, Claim]:
    """Head token -> claim, for the claims whose things form one list with the first."""
    by_end = {claim.end: claim for claim in claims}
    head = next((i for i in range(len(parse)) if parse.ends[i] == claims[0].end), None)
    members = parse.conjuncts(head) if head is not None else []
    return {i: by_end[parse.ends[i]] for i in members if parse.ends[i] in by_end}
