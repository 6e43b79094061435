"""Claims of a Korean text: existence, denial, number, yes and no.

A phrase claims that its thing is there, unless a negated predicate denies it:

    고양이가 없다 / 보이지 않는다 / 안 보인다 / 찾을 수 없다 / 아니다, 고양이 없이      denied
    모자를 쓰지 않은 남자                                          the hat is denied of this man only
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

from halluguard.correction.languages.korean.phrases import Phrase, Reading, read
from halluguard.records import Claim, Modality, Polarity
from halluguard.vocabulary import category

YES = frozenset("네 예 응 그렇습니다 맞습니다".split())
NO = frozenset("아니요 아니오 아뇨 아니".split())
_SEEN = frozenset("보이 있 존재 나오 나타나 확인 발견 포함 등장 관찰 식별 찾아볼 띄".split())
_FOUND = frozenset("찾 보 확인 발견 관찰 식별 찾아보".split())
_WORN = frozenset("쓰 입 매 신 들 끼 착용 가지 차 메 걸치 타 하".split())
_PREDICATES = ("VV", "VA", "VCN", "XSV", "XSA")
_MAYBE = frozenset("아마 아마도 혹시 듯 듯하 추정 추측 모르".split())
_ASKS = re.compile(r"(?:까|나요|가요|니|는가|냐)$")
_WAITED = frozenset("기다리 기다려지".split())
_SHOWN = frozenset("그려지 그리 새기 새겨지 인쇄 프린트 닮".split())
_LABEL = re.compile(r"\A\W*(?P<label>[^:：\n]{1,30})[:：][ \t*]*(?P<value>[^\n]*)\Z", re.DOTALL)
_NONE = re.compile(r"\W*(?:없음|없다|없습니다|없어요|0|무|아니요|아니오|해당 ?없음|안 ?보임|보이지 ?않음)\W*")
_ABSENT_LABEL = re.compile(r"없는|보이지 않는|찾을 수 없는|부재|없음")
_NUMBER = re.compile(r"\W*(\d{1,4})\s*(?:마리|명|대|개|그루|권|척|병|잔|장)?\W*")


def claims_of(text: str, question: str | None = None) -> list[Claim]:
    """The claims of a block: existence, then numbers, then yes or no."""
    reading = read(text)
    phrases = [phrase for phrase in reading.phrases if phrase.name]
    judged = [(phrase, *_manner(reading, phrase)) for phrase in phrases]
    judged = [one for one in judged if one[1] is not None]
    existence = [_existence(text, phrase, side, manner) for phrase, side, manner in judged if side is not None]
    if label := _LABEL.match(text):
        existence = [_labelled(claim, label) for claim in existence]
    counts = [
        _count(text, existence[n], phrase, n, label)
        for n, (phrase, _, _) in enumerate(judged)
        if existence[n].polarity == "asserted" and existence[n].modality not in ("question", "depicted")
    ]
    return [*existence, *(claim for claim in counts if claim is not None), *_answers(reading, existence, question)]


def _existence(text: str, phrase: Phrase, side: Polarity, manner: Modality) -> Claim:
    return Claim(
        "existence",
        text[phrase.start : phrase.end],
        phrase.name,
        phrase.start,
        phrase.end,
        sentence=phrase.sentence,
        polarity=side,
        modality=manner,
        source_rule="korean",
        category=category(phrase.name),
    )


def _labelled(claim: Claim, label: re.Match[str]) -> Claim:
    """The claim, denied where a label or its value denies it: "개: 없음", "없는 것: 개, 고양이"."""
    in_label = claim.end <= label.end("label")
    denied = _NONE.fullmatch(label["value"]) if in_label else _ABSENT_LABEL.search(label["label"])
    return replace(claim, polarity="denied") if denied else claim


def _count(text: str, existence: Claim, phrase: Phrase, subject: int, label: re.Match[str] | None) -> Claim | None:
    count, number = phrase.count, phrase.number
    if label and existence.end <= label.end("label") and (value := _NUMBER.fullmatch(label["value"])):
        count = int(value[1])
        number = (label.start("value") + value.start(1), label.start("value") + value.end(1))
    if count is None or number is None or count == 0:
        return None
    start, end = min(phrase.start, number[0]), max(phrase.end, number[1])
    bound = cast(Literal["exact", "at_least", "at_most", "about"], phrase.bound)
    return replace(
        existence,
        kind="count",
        phrase=text[start:end],
        start=start,
        end=end,
        count=count,
        bound=bound,
        subject=subject,
        trigger=number,
    )


# -- how a phrase is meant ---------------------------------------------------------------------------------------------


def _manner(reading: Reading, phrase: Phrase) -> tuple[Polarity | None, Modality]:
    """Polarity and modality of a phrase; no polarity where it names nothing that is claimed."""
    tokens, (first, end) = reading.tokens, reading.sentences[phrase.sentence]
    if {"처럼", "같이", "만큼"} & phrase.particles or _next_form(reading, phrase) in ("같", "닮", "모양"):
        return "asserted", "depicted"
    if tokens[phrase.after - 1].form == "없이" or _next_form(reading, phrase) == "없이":
        return "denied", "restricted"
    pronoun = tokens[phrase.last].tag == "NP" or tokens[phrase.last].form in ("아무", "누구")
    is_question = _is_question(reading, phrase.sentence)
    denial = _denial(reading, phrase)
    if pronoun and denial is None:
        return None, "asserted"
    if is_question:
        return "asserted", "question"
    if denial is not None:
        return "denied", "restricted" if phrase.other else denial
    stems = {token.form for token in tokens[phrase.after : reading.clauses[phrase.clause][1]]}
    if "를" in phrase.particles or "을" in phrase.particles:
        verb = _predicate(reading, phrase.after, end)
        if verb is not None and tokens[verb].form in _WAITED:
            return "asserted", "irrealis"
        if verb is not None and tokens[verb].form == "닮":
            return "asserted", "depicted"
    if stems & _SHOWN and not phrase.is_place and not any(tag == "JKB" for _, tag in phrase.particle):
        verb = _predicate(reading, phrase.after, end)
        if verb is not None and (tokens[verb].form in _SHOWN or tokens[verb - 1].form in _SHOWN):
            return "asserted", "depicted"
    forms = {token.form for token in tokens[first:end]}
    maybe = forms & _MAYBE or re.search(r"수도 있|것 같|인 듯|로 보[이여인]", reading.text[tokens[first].start :])
    return "asserted", "hedged" if maybe else "asserted"


def _next_form(reading: Reading, phrase: Phrase) -> str:
    return reading.tokens[phrase.after].form if phrase.after < len(reading.tokens) else ""


def _is_question(reading: Reading, sentence: int) -> bool:
    first, end = reading.sentences[sentence]
    last = reading.tokens[end - 1]
    if last.tag == "SF" and last.form.endswith("?"):
        return True
    ending = next((token for token in reversed(reading.tokens[first:end]) if token.tag == "EF"), None)
    wondered = any(
        token.tag == "EC" and token.form.endswith(("는지", "ᆫ지", "은지")) for token in reading.tokens[first:end]
    )
    return wondered or (ending is not None and _ASKS.search(ending.form) is not None)


def _predicate(reading: Reading, i: int, end: int) -> int | None:
    """The first predicate from token i on, with the noun of a verb such as 존재하다 in its place."""
    tokens = reading.tokens
    for j in range(i, end):
        if tokens[j].tag in ("XSV", "XSA") and j > 0:
            return j - 1
        if tokens[j].tag in _PREDICATES:
            return j
    return None


def _denial(reading: Reading, phrase: Phrase) -> Modality | None:
    """The denial of the phrase by a predicate: whole ("asserted") or of some only; None where it denies nothing."""
    tokens, end = reading.tokens, reading.clauses[phrase.clause][1]
    tail = _last_of_list(reading, phrase)
    if tail.is_place or any(tag == "JKB" or (form, tag) == ("의", "JKG") for form, tag in tail.particle):
        return None
    verb = _predicate(reading, tail.after, min(len(tokens), end + 2))
    if verb is None or verb >= end:
        return None
    if any(other is not tail and _is_nearer(other, tail, verb) for other in reading.phrases):
        return None
    if tokens[verb].tag == "VCN":
        return "asserted"
    if tokens[verb].form == "없":
        return "asserted"
    negated, before = _negated(reading, verb, end), tokens[verb - 1].form == "안"
    if tokens[verb].form in _FOUND and _cannot(reading, verb):
        return "asserted"
    if not (negated or before):
        return None
    if tokens[verb].form in _SEEN and not (tokens[verb].form == "있" and tokens[verb].tag == "VX"):
        return "asserted"
    return "restricted" if tokens[verb].form in _WORN and {"를", "을", "는", "은", "도"} & tail.particles else None


def _is_nearer(other: Phrase, phrase: Phrase, verb: int) -> bool:
    """Whether another phrase stands between the phrase and the verb and may be what the verb speaks of."""
    where = other.is_place or any(tag == "JKB" for _, tag in other.particle)
    return phrase.after <= other.first and other.last < verb and not where and bool(other.particle)


def _last_of_list(reading: Reading, phrase: Phrase) -> Phrase:
    """The last member of the list that the phrase is in: "개나 고양이는", "개도 고양이도"."""
    tail = phrase
    for other in reading.phrases:
        if other.first < tail.after or other is tail:
            continue
        both = "도" in tail.particles and "도" in other.particles
        if other.first == tail.after and (tail.listed or both):
            tail = other
        else:
            break
    return tail


def _negated(reading: Reading, verb: int, end: int) -> bool:
    """Whether the verb is negated: "보이지 않", "존재하지 않", "쓰고 있지 않"."""
    tokens = reading.tokens
    for j in range(verb + 1, min(verb + 7, end)):
        if tokens[j].tag in ("EF", "ETM", "SF"):
            return False
        if tokens[j].form == "지" and any(tokens[k].form in ("않", "못하") for k in (j + 1, j + 2) if k < len(tokens)):
            return True
    return False


def _cannot(reading: Reading, verb: int) -> bool:
    """Whether the verb is in the form "cannot": "찾을 수 없", "확인할 수가 없"."""
    forms = [token.form for token in reading.tokens[verb + 1 : verb + 7]]
    return "수" in forms and "없" in forms[forms.index("수") :]


# -- yes and no --------------------------------------------------------------------------------------------------------


def answer_word(reading: Reading) -> int | None:
    """The token that answers yes or no: it opens the text and stands alone or before a comma or full stop."""
    if not reading.tokens or reading.tokens[0].form not in YES | NO or reading.tokens[0].tag not in ("IC", "MM", "VCN"):
        return None
    following = reading.tokens[1].tag if len(reading.tokens) > 1 else "SF"
    return 0 if following in ("SP", "SF", "EF", "SE", "SO") or reading.tokens[0].tag == "IC" else None


def _answers(reading: Reading, existence: Sequence[Claim], question: str | None) -> list[Claim]:
    word = answer_word(reading)
    if word is None:
        return []
    token = reading.tokens[word]
    polarity: Polarity = "asserted" if token.form in YES else "denied"
    answered = [claim for claim in claims_of(question) if claim.kind == "existence"] if question else []
    if len(answered) > 1:
        either = re.search(r"(?:이나|나|또는|혹은) ", question or "")
        if either:
            answered = [replace(answered[0], alternatives=tuple(claim.name for claim in answered[1:]))]
        elif polarity == "denied":
            return []  # which of them is missing is not said
    if not question:
        answered = [claim for claim in existence if claim.sentence <= 1 and claim.polarity == polarity][:1]
    return [
        replace(
            claim,
            kind="answer",
            phrase=reading.text[token.start : token.end],
            start=token.start,
            end=token.end,
            sentence=0,
            polarity=polarity,
            modality="asserted",
            source_rule="question" if question else "restated",
            subject=next((n for n, own in enumerate(existence) if own.name == claim.name), None),
        )
        for claim in answered
    ]
