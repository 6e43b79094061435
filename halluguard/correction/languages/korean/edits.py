"""Corrections of a Korean text: whole sentences and clauses, members of lists, numbers, yes and no; otherwise flags.

    개가 있고 고양이가 앉아 있다.   no dog      고양이가 앉아 있다.
    개와 고양이가 있다.             no cat      개가 있다.
    고양이는 없습니다.              a cat       고양이는 있습니다.
    개 세 마리가 있다.              two dogs    개 두 마리가 있다.

What was edited is read again: where a thing that must stay is gone, or a false one is left, the words stay and are
flagged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from halluguard.correction.languages.korean.phrases import Phrase, Reading, read
from halluguard.correction.languages.korean.reading import YES, answer_word, claims_of
from halluguard.correction.languages.korean.tokens import Token, joined
from halluguard.records import Claim, Edit, Verdict, apply_edits

_TURNED = {"네": "아니요", "예": "아니요", "응": "아니", "아니": "응"}
_NATIVE = "한 두 세 네 다섯 여섯 일곱 여덟 아홉 열".split()
_ALONE = "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열".split()
_PARTICLES = [("이", "가"), ("은", "는"), ("을", "를"), ("과", "와"), ("이나", "나"), ("이랑", "랑")]
"""Particles after a consonant, and the same after a vowel."""
_STRESSED = frozenset("하나 전혀 아무 결코 조차".split())


@dataclass(frozen=True, slots=True)
class _Change:
    """Characters start..end become `after`, because of claims `why`."""

    start: int
    end: int
    after: str
    why: frozenset[int]


def corrections(text: str, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[Edit]:
    """The edits of a block, and flags for what no sound edit takes away."""
    wrong = {verdict.claim: n for n, verdict in enumerate(verdicts) if verdict.decision == "contradicted"}
    if not wrong:
        return []
    changes = _apart(_Plan(text, claims, verdicts, wrong).changes())
    if not _sound(text, claims, verdicts, wrong, changes):
        changes = []
    edits = [
        Edit(c.start, c.end, text[c.start : c.end], c.after, tuple(sorted(wrong[i] for i in c.why))) for c in changes
    ]
    settled = {i for change in changes for i in change.why}
    flags = [
        Edit(claims[i].start, claims[i].end, claims[i].phrase, claims[i].phrase, (n,), decision="flagged")
        for i, n in wrong.items()
        if i not in settled and claims[i].subject not in settled
    ]
    return sorted([*edits, *_not_over(flags, edits)], key=lambda edit: (edit.start, edit.end))


def _not_over(flags: Iterable[Edit], edits: Sequence[Edit]) -> list[Edit]:
    kept: list[Edit] = []
    for flag in flags:
        if all(flag.end <= other.start or other.end <= flag.start for other in [*edits, *kept]):
            kept.append(flag)
    return kept


def _apart(changes: Iterable[_Change]) -> list[_Change]:
    """The changes that overlap no wider one, in reading order."""
    kept: list[_Change] = []
    for change in sorted(changes, key=lambda c: (c.start - c.end, c.start)):
        if all(change.end <= other.start or other.end <= change.start for other in kept):
            kept.append(change)
    return sorted(kept, key=lambda c: c.start)


def _sound(
    text: str,
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    wrong: dict[int, int],
    changes: Sequence[_Change],
) -> bool:
    """Whether the edited text still says what must stay, and says nothing new."""
    after = apply_edits(text, [Edit(c.start, c.end, text[c.start : c.end], c.after) for c in changes])
    settled = {i for change in changes for i in change.why}
    now = Counter((c.name, c.polarity) for c in claims_of(after) if c.kind == "existence")
    before = Counter((c.name, c.polarity) for c in claims if c.kind == "existence")
    turned = {(claims[i].name, "asserted" if claims[i].polarity == "denied" else "denied") for i in settled}
    stays = Counter((c.name, c.polarity) for i, c in enumerate(claims) if c.kind == "existence" and i not in wrong)
    return not stays - now and all(key in before or key in turned for key in now)


class _Plan:
    """The changes of one block."""

    def __init__(self, text: str, claims: Sequence[Claim], verdicts: Sequence[Verdict], wrong: dict[int, int]) -> None:
        self.text, self.claims, self.verdicts, self.wrong = text, claims, verdicts, wrong
        self.reading: Reading = read(text)
        self.found: Sequence[Token] = self.reading.tokens
        self.phrase_of = {p.end: p for p in self.reading.phrases if p.name}
        self.claim_of = {c.end: i for i, c in enumerate(claims) if c.kind == "existence"}

    def changes(self) -> Iterator[_Change]:
        """All changes; wider ones win over those inside them."""
        answered = set[int]()
        for i in self.wrong:
            claim = self.claims[i]
            if claim.kind == "answer":
                for change in self._answer(i):
                    answered |= change.why
                    yield change
        for i, n in self.wrong.items():
            claim = self.claims[i]
            if claim.kind == "count" and claim.subject not in self.wrong:
                yield from self._number(i, self.verdicts[n].replacement)
            elif claim.kind == "existence" and claim.polarity == "denied" and i not in answered:
                yield from self._affirm(i)
        for sentence in range(len(self.reading.sentences)):
            doomed = {
                i
                for i in self.wrong
                if self.claims[i].kind == "existence"
                and self._sentence(self.claims[i]) == sentence
                and self.claims[i].polarity == "asserted"
                and i not in answered
            }
            if doomed:
                yield from self._cut(sentence, doomed)

    def _sentence(self, claim: Claim) -> int:
        """The index of the sentence in which a claim stands."""
        sentences = self.reading.sentences
        return next((n for n, (_, end) in enumerate(sentences) if claim.start < self.found[end - 1].end), 0)

    # -- yes and no ----------------------------------------------------------------------------------------------------

    def _answer(self, i: int) -> Iterator[_Change]:
        """The opposite word, and its clause with the opposite verb, or without the clause."""
        word = answer_word(self.reading)
        if word is None:
            return
        token, why = self.found[word], {i}
        end = self.found[self.reading.sentences[0][1] - 1]
        inside = [n for n, c in enumerate(self.claims) if c.kind == "existence" and self._sentence(c) == 0]
        others = [n for n in inside if self.claims[n].name != self.claims[i].name]
        if any(n not in self.wrong for n in others):
            return
        yield _Change(token.start, token.end, _TURNED.get(token.form, "네"), frozenset(why))
        rest = (token.end, end.start if end.tag == "SF" else end.end)
        if rest[0] >= rest[1]:
            return
        verbs = [t for t in self.found[word + 1 : self.reading.sentences[0][1]] if t.form in ("있", "없")]
        counted = any(c.kind == "count" and self._sentence(c) == 0 for c in self.claims)
        plain = len(verbs) == 1 and not counted and not others
        plain = plain and not any(
            t.form in _STRESSED or t.form == "않" for t in self.found[: self.reading.sentences[0][1]]
        )
        if plain and (verbs[0].form == "있") == (token.form in YES):
            turned = "없" if verbs[0].form == "있" else "있"
            yield _Change(verbs[0].start, verbs[0].end, turned, frozenset({i, *inside}))
        else:
            yield _Change(*rest, "", frozenset({i, *inside}))

    # -- numbers and denials -------------------------------------------------------------------------------------------

    def _number(self, i: int, replacement: str | None) -> Iterator[_Change]:
        trigger = self.claims[i].trigger
        if replacement is None or not replacement.isdecimal() or trigger is None:
            return
        token = next((t for t in self.found if t.start == trigger[0]), None)
        count = int(replacement)
        if token is None or not count > 0:
            return
        words = _ALONE if token.tag == "NR" else _NATIVE
        after = replacement if token.tag == "SN" else words[count - 1] if count <= len(words) else ""
        if after:
            yield _Change(token.start, token.end, after, frozenset({i}))

    def _affirm(self, i: int) -> Iterator[_Change]:
        """Turn a denial into a statement: "고양이는 없다" becomes "고양이는 있다", "보이지 않는다" becomes "보인다"."""
        phrase = self.phrase_of.get(self.claims[i].end)
        if phrase is None or phrase.other or phrase.count is not None:
            return
        clause = self.reading.clauses[phrase.clause]
        inside = self.found[clause[0] : clause[1]]
        denied = [n for n, p in self._named(clause) if self.claims[n].polarity == "denied"]
        if any(t.form in _STRESSED for t in inside) or any(n not in self.wrong for n in denied):
            return
        for j in range(phrase.after, clause[1]):
            token = self.found[j]
            if token.form == "없" and token.tag in ("VA", "VV") and self.found[j - 1].form != "수":
                yield _Change(token.start, token.end, "있", frozenset(denied))
                return
            shown = [t.form for t in self.found[j : j + 3]] == ["보이", "지", "않"]
            if shown and j + 3 < len(self.found) and self.found[j + 3].tag in ("EF", "EC", "ETM"):
                ending = self.found[j + 3]
                words = joined(("보이", "VV"), (ending.form, ending.tag))
                yield _Change(token.start, ending.end, words, frozenset(denied))
                return

    # -- what is not there ---------------------------------------------------------------------------------------------

    def _named(self, part: tuple[int, int]) -> list[tuple[int, Phrase]]:
        """Claims and phrases of the things that tokens first..end name."""
        return [
            (self.claim_of[p.end], p)
            for p in self.reading.phrases
            if p.name and p.end in self.claim_of and part[0] <= p.last < part[1]
        ]

    def _cut(self, sentence: int, doomed: set[int]) -> Iterator[_Change]:
        part = self.reading.sentences[sentence]
        if all(n in self.wrong for n, _ in self._named(part)):
            yield _Change(*self._with_space(part), "", frozenset(n for n, _ in self._named(part)))
            return
        clauses = [c for c in self.reading.clauses if part[0] <= c[0] and c[1] <= part[1]]
        left = set(doomed)
        for n, clause in enumerate(clauses):
            named = self._named(clause)
            if len(clauses) > 1 and named and all(i in doomed for i, _ in named):
                change = self._clause(clauses, n, frozenset(i for i, _ in named))
                if change is not None:
                    left -= change.why
                    yield change
        for i in left:
            phrase = self.phrase_of.get(self.claims[i].end)
            change = self._member(phrase, frozenset({i}), doomed) if phrase is not None else None
            if change is not None:
                yield change

    def _with_space(self, part: tuple[int, int]) -> tuple[int, int]:
        """The characters of a sentence and of the space that parts it from the next, or from the one before."""
        start, end = self.found[part[0]].start, self.found[part[1] - 1].end
        after = end
        while after < len(self.text) and self.text[after].isspace():
            after += 1
        if after < len(self.text) and after > end:
            return start, after
        while start > 0 and self.text[start - 1].isspace():
            start -= 1
        return start, end

    def _clause(self, clauses: Sequence[tuple[int, int]], n: int, why: frozenset[int]) -> _Change | None:
        """The change that deletes a clause; if it was the last, the clause before it gets a sentence ending."""
        first, end = clauses[n]
        if n + 1 < len(clauses):
            following = [p for p in self.reading.phrases if clauses[n + 1][0] <= p.last < clauses[n + 1][1]]
            own = any({"이", "가", "은", "는", "도"} & p.particles and not p.is_place for p in following)
            if not own or self.found[clauses[n + 1][0]].form in ("그", "이", "저"):
                return None
            return _Change(self.found[first].start, self.found[clauses[n + 1][0]].start, "", why)
        joint = next((j for j in range(first - 1, clauses[n - 1][0], -1) if self.found[j].tag == "EC"), None)
        final = next((j for j in range(end - 1, first, -1) if self.found[j].tag == "EF"), None)
        if joint is None or final is None or self.found[joint].form not in ("고", "며", "으며", "지만"):
            return None
        before = self.found[joint - 1]
        if before.tag not in ("VV", "VA", "VX", "EP", "VCP", "VCN", "XSV", "XSA"):
            return None
        words = joined((before.form, before.tag), (_final(self.found[final].form, before), "EF"))
        return _Change(before.start, self.found[final].end, words, why)

    def _member(self, phrase: Phrase, why: frozenset[int], doomed: set[int]) -> _Change | None:
        """The change that deletes a list member; if it was the last, the member before it gets its particle."""
        phrases = self.reading.phrases
        at = next(n for n, other in enumerate(phrases) if other is phrase)
        before = phrases[at - 1] if at and phrases[at - 1].after == _begin(self.found, phrase) else None
        before = before if before is not None and before.listed else None
        if phrase.listed and at + 1 < len(phrases):
            following = phrases[at + 1]
            opens = _begin(self.found, following)
            if phrase.after != opens or not (before or self._opens(phrase)):
                return None
            return _Change(self.found[_begin(self.found, phrase)].start, self.found[opens].start, "", why)
        if before is None or self.claim_of.get(before.end) in doomed or phrase.listed:
            return None
        start = max(before.end, before.number[1] if before.number else 0)
        end = max(phrase.end, phrase.number[1] if phrase.number else 0)
        end = max(end, *(t.end for t in self.found[phrase.last : phrase.after] if t.tag != "SP"))
        words = "".join(form for form, tag in phrase.particle)
        return _Change(start, end, _adapted(self.text[:start], words, phrase.particle), why)

    def _opens(self, phrase: Phrase) -> bool:
        """Whether nothing before the phrase belongs to it: it opens its clause, or follows a place or an ending."""
        begin = _begin(self.found, phrase)
        clause = self.reading.clauses[phrase.clause]
        return begin == clause[0] or self.found[begin - 1].tag in ("JKB", "JX", "SP", "SO", "EC")


def _begin(found: Sequence[Token], phrase: Phrase) -> int:
    """The first token of a phrase with a number before it."""
    if phrase.number is not None and phrase.number[0] < phrase.start:
        return next(i for i, token in enumerate(found) if token.start == phrase.number[0])
    return phrase.first


def _final(ending: str, verb: Token) -> str:
    """The ending of a sentence in the style of `ending`, for another verb."""
    if ending not in ("다", "ᆫ다", "는다"):
        return ending
    return "는다" if verb.tag in ("VV", "XSV") and verb.form not in ("있", "없", "계시") else "다"


def _adapted(before: str, words: str, particles: Sequence[tuple[str, str]]) -> str:
    """Particles as they follow a word: "개" + "이" is "개가"."""
    last = ord(before[-1]) - 0xAC00 if before else -1
    if not particles or not 0 <= last < 11172:
        return words
    form, rest = particles[0][0], "".join(form for form, _ in particles[1:])
    for consonant, vowel in _PARTICLES:
        if form in (consonant, vowel):
            return (consonant if last % 28 else vowel) + rest
    return words
